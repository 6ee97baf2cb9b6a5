"""Combinations of parts from several papers: one line each."""

from hf_vasso.methods.asam import AdaptiveBall
from hf_vasso.methods.base import Method
from hf_vasso.methods.vasso import PAPER, MovingAverage

__all__ = ["vasso_asam"]


def vasso_asam(rho: float = 0.5, theta: float = 0.4, eta: float = 0.01) -> Method:
    """
    VASSO's moving average on ASAM's ball.

    Cost: two passes per step; two extra copies of the trainable weights, and a third one for a moment.

    The combination is not from a paper; the numbers are those of its two halves, untuned.

    Args:
        rho: Radius in units of |w| + eta, >= 0. About ten times a radius for VASSO.
        theta: Weight of the new gradient in the average, in (0, 1]. 1 is ASAM.
        eta: What is added to |w|, in weight units, >= 0.
    """
    return Method(direction=MovingAverage(theta), geometry=AdaptiveBall(eta), rho=rho, paper=PAPER)

"""Combinations of parts from several papers: one line each."""

from hf_vasso.methods.aesam import WhereSharp
from hf_vasso.methods.asam import AdaptiveBall
from hf_vasso.methods.base import EveryKth
from hf_vasso.methods.esam import RandomSubset, Sharpest
from hf_vasso.methods.looksam import PlusKeptOrthogonal
from hf_vasso.methods.method import Method
from hf_vasso.methods.vasso import PAPER, MovingAverage

__all__ = ["vasso_aesam", "vasso_asam", "vasso_esam", "vasso_looksam", "vasso_quarter"]


def vasso_asam(rho: float = 0.03, theta: float = 0.4, eta: float = 0.01) -> Method:
    """
    VASSO's moving average on ASAM's ball.

    Cost: two passes per step; two extra copies of the trainable weights, and a third one for a moment.

    The combination is not from a paper; the numbers are those of its two halves, untuned.

    Args:
        rho: Radius in units of |w| + eta, >= 0. Three to ten times one for VASSO.
        theta: Weight of the new gradient in the average, in (0, 1]. 1 is ASAM.
        eta: What is added to |w|, in weight units, >= 0.
    """
    return Method(direction=MovingAverage(theta), geometry=AdaptiveBall(eta), rho=rho, paper=PAPER)


def vasso_aesam(
    rho: float = 0.01, theta: float = 0.4, delta: float = 0.9, lambda1: float = -1.0, lambda2: float = 1.0
) -> Method:
    """
    VASSO's moving average at the steps that AE-SAM chooses.

    Cost: 1 + share passes per step, where share is the part of the steps that ascend; two extra copies of the
    trainable weights.

    Every step's gradient feeds the average. The combination is not from a paper; its numbers are those of its two
    halves, untuned.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0.
        theta: Weight of the new gradient in the average, in (0, 1]. 1 is AE-SAM.
        delta: Weight of the old mean and variance, in [0, 1].
        lambda1: Standard deviations above the mean from which a step ascends, at the end of the training.
        lambda2: The same at its beginning.
    """
    schedule = WhereSharp(delta, lambda1, lambda2)
    return Method(direction=MovingAverage(theta), schedule=schedule, rho=rho, paper=PAPER)


def vasso_esam(rho: float = 0.01, theta: float = 0.4, beta: float = 0.6, gamma: float = 0.5) -> Method:
    """
    VASSO's moving average in ESAM.

    Cost: 1 + gamma passes per step, and one forward pass more, which ranks the examples; two extra copies of the
    trainable weights, and a third one for a moment.

    The combination is not from a paper; its numbers are those of its two halves, untuned.

    Args:
        rho: beta times the radius of the perturbation, in weight units, >= 0.
        theta: Weight of the new gradient in the average, in (0, 1]. 1 is ESAM.
        beta: Probability with which a tensor is perturbed, in (0, 1].
        gamma: Share of the examples in the pass at w + eps, in (0, 1].
    """
    geometry, selection = RandomSubset(beta), Sharpest(gamma)
    return Method(direction=MovingAverage(theta), geometry=geometry, selection=selection, rho=rho, paper=PAPER)


def vasso_looksam(rho: float = 0.01, theta: float = 0.4, alpha: float = 0.1, k: int = 5) -> Method:
    """
    VASSO's moving average in LookSAM.

    Cost: 1 + 1/k passes per step; four extra copies of the trainable weights.

    Every step's gradient feeds the average. The combination is not from a paper; its numbers are those of its two
    halves, untuned.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0.
        theta: Weight of the new gradient in the average, in (0, 1]. 1 is LookSAM.
        alpha: Size of the kept part in a step without an ascent, in units of ||g||, >= 0.
        k: Steps from one ascent to the next, >= 1. 1 is VASSO.
    """
    descent = PlusKeptOrthogonal(alpha)
    return Method(direction=MovingAverage(theta), schedule=EveryKth(k), descent=descent, rho=rho, paper=PAPER)


def vasso_quarter(rho: float = 0.01, theta: float = 0.4) -> Method:
    """
    VASSO whose pass at w is made with the first quarter of the examples.

    Cost: 1 + 1/4 passes per step; two extra copies of the trainable weights.

    The ascent on a quarter of the batch is that of Bahri et al. 2021 (arXiv 2110.08529) for SAM on language models,
    with rho 0.15 as later papers report.
    The average takes in the gradient of that quarter, whose noise it also suppresses. Not from a paper, untuned.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0.
        theta: Weight of the new gradient in the average, in (0, 1].
    """
    return Method(direction=MovingAverage(theta), rho=rho, ascent_fraction=0.25, paper=PAPER)

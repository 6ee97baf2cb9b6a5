"""
VASSO-free: the average is fed by the gradients that the optimizer gets, so that a step costs one pass. It is ours.

    eps = rho d / ||d|| ;  g_p = gradient at w + eps ;  w <- BaseOpt(w, g_p) ;  d = (1 - theta) d + theta g_p

Momentum-SAM (`msam.py`) is its nearest kin; it follows the optimizer's momentum, with the other sign.
"""

from dataclasses import dataclass
from typing import Any

import torch

from hf_vasso.methods.base import Context, Vector, recall
from hf_vasso.methods.method import Method
from hf_vasso.methods.msam import OnlyPerturbed
from hf_vasso.methods.vasso import MovingAverage

__all__ = ["DescentAverage", "vasso_free"]


@dataclass(frozen=True)
class DescentAverage(MovingAverage):
    """
    The moving average of the gradients at w + eps, begun at the first one.

    Args:
        theta: Weight of the new gradient, in (0, 1].
    """

    remembers = False

    def update(self, context: Context, state: dict[str, Any], gradient: Vector) -> Vector:
        average = self.reuse(context, state)
        return gradient if average is None else average

    def after(self, context: Context, state: dict[str, Any], gradient: Vector) -> None:
        average = recall(state, context.names, start=gradient)
        torch._foreach_lerp_(average, gradient, self.theta)


def vasso_free(rho: float = 0.01, theta: float = 0.4) -> Method:
    """
    VASSO in one pass per step: the adversary follows the average of the descent gradients.

    Cost: one pass per step; two extra copies of the trainable weights (one is the average, in fp32 or wider, saved
    with the checkpoint).

    It is ours and from no paper: the average lags by a step and is that of points w + eps. The first step is not
    perturbed. The logged loss is that at w + eps. Where we compared it (a probe on SST-2 with noisy labels, 20 seeds)
    it was worse than AdamW, by 2.1 and 2.4 points.

    When not to use it: as a stand-in for VASSO in a comparison, or in the hope of more than AdamW. `msam` is the
    published method at this price.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer. The method is our own.
        theta: Weight of the new gradient, in (0, 1].
    """
    return Method(direction=DescentAverage(theta), schedule=OnlyPerturbed(), rho=rho)

"""
SAGM: a smaller loss at w and at w + eps, and the two gradients made to agree.

    eps = (rho / ||g|| - alpha) g ;  w <- BaseOpt(w, (g + g_p) / 2)         Wang et al. 2023, arXiv 2303.10353
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_vasso.methods.base import NORM_FLOOR, Context, Descent, Geometry, Vector
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["MeanOfBoth", "ShiftedBall", "sagm"]

PAPER = Paper(
    title="Sharpness-Aware Gradient Matching for Domain Generalization",
    url="https://arxiv.org/abs/2303.10353",
    bibtex="""@inproceedings{wang2023sharpness,
  title     = {Sharpness-Aware Gradient Matching for Domain Generalization},
  author    = {Wang, Pengfei and Zhang, Zhaoxiang and Lei, Zhen and Zhang, Lei},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2023},
  url       = {https://arxiv.org/abs/2303.10353}
}""",
)


@dataclass(frozen=True)
class ShiftedBall(Geometry):
    """
    eps = (rho / ||v|| - alpha) v: the ball around w - alpha v, so that ||eps + alpha v|| = rho.

    Args:
        alpha: Length of the step down from which the ball is entered, in units of the vector, >= 0. 0 is the ball.
    """

    alpha: float

    def __post_init__(self) -> None:
        check_range("alpha is the step down from which the ball is entered", self.alpha, minimum=0.0)

    def perturbation(self, context: Context, rho: float, vector: Vector) -> tuple[Vector, Tensor]:
        return vector, rho / (context.norm(vector) + NORM_FLOOR) - self.alpha


@dataclass(frozen=True)
class MeanOfBoth(Descent):
    """(g + g_p) / 2."""

    def combine(self, context: Context, state: dict[str, Any], clean: Vector, perturbed: Vector) -> Vector:
        torch._foreach_lerp_(perturbed, clean, 0.5)
        return perturbed


def sagm(rho: float = 0.01, alpha: float = 0.001) -> Method:
    """
    SAGM: the mean of the gradients at w and at w + eps, with a ball around w - alpha g.

    Cost: two passes per step; two extra copies of the trainable weights (one is the gradient at w, kept through the
    second pass).

    Follows Wang-pengfei/SAGM at 69d4d9d, and agrees with it to 7e-16 (50 steps, float64). The code halves the sum of
    the gradients; the paper, as others restate it, adds them, which for the learning rate is a factor of two. Tested
    by its authors on images (DomainBed), not on language.

    When not to use it: for the gradient at w + eps alone, which is SAM.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. The authors' code has 0.05.
        alpha: Step down from which the ball is entered, >= 0. 0 is SAM's ball with the mean of both gradients.
    """
    return Method(geometry=ShiftedBall(alpha), descent=MeanOfBoth(), rho=rho, paper=PAPER)

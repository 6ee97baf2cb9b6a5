"""
LookSAM: SAM every k steps; in between the part that SAM added, kept from the last ascent, is added again.

    every k steps   g_p by SAM ;  g_v = g_p - (g_p . g / ||g||^2) g ;  w <- BaseOpt(w, g_p)
    in between      w <- BaseOpt(w, g + alpha (||g|| / ||g_v||) g_v)        Liu et al. 2022, arXiv 2203.02714
"""

from dataclasses import dataclass
from typing import Any

import torch

from hf_vasso.methods.base import Context, Descent, EveryKth, Vector, by_parameter, filled
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["PlusKeptOrthogonal", "looksam"]

PAPER = Paper(
    title="Towards Efficient and Scalable Sharpness-Aware Minimization",
    url="https://arxiv.org/abs/2203.02714",
    bibtex="""@inproceedings{liu2022towards,
  title     = {Towards Efficient and Scalable Sharpness-Aware Minimization},
  author    = {Liu, Yong and Mai, Siqi and Chen, Xiangning and Hsieh, Cho-Jui and You, Yang},
  booktitle = {IEEE/CVF Conference on Computer Vision and Pattern Recognition},
  year      = {2022},
  url       = {https://arxiv.org/abs/2203.02714}
}""",
)
_LEAST_TURN = 1e-5  # in units of ||g||: what turns the gradient by less is rounding


@dataclass(frozen=True)
class PlusKeptOrthogonal(Descent):
    """
    With both passes g_p, of which the part orthogonal to g is kept; with the clean one g and the kept part, scaled to
    alpha ||g||.

    Args:
        alpha: Size of the kept part in a step without an ascent, in units of ||g||, >= 0.
    """

    alpha: float

    keeps = 1

    def __post_init__(self) -> None:
        check_range("alpha is the size of the kept part", self.alpha, minimum=0.0)

    def combine(self, context: Context, state: dict[str, Any], clean: Vector, perturbed: Vector) -> Vector:
        along = context.projection(perturbed, onto=clean)
        rounding = _LEAST_TURN * context.norm(clean)
        torch._foreach_mul_(clean, -along)
        torch._foreach_add_(clean, perturbed)
        size = context.norm(clean)
        if (rounding < size) & size.isfinite():  # the host waits here, once per ascent
            by_parameter(state).update(zip(context.names, clean, strict=True))
        return perturbed

    def alone(self, context: Context, state: dict[str, Any], clean: Vector) -> Vector:
        orthogonal = filled(list(map(by_parameter(state).get, context.names)), like=clean)
        if orthogonal is None:
            return clean  # before the first ascent
        scale = self.alpha * context.norm(clean) / context.norm(orthogonal)
        return list(torch._foreach_add(clean, torch._foreach_mul(orthogonal, scale)))


def looksam(rho: float = 0.01, alpha: float = 0.1, k: int = 5) -> Method:
    """
    LookSAM: SAM every k steps, whose change of the gradient is used again in between.

    Cost: 1 + 1/k passes per step; three extra copies of the trainable weights (one is the kept part, in fp32 or wider,
    saved with the checkpoint, one the gradient at w, kept through the second pass).

    The authors published no code. Of the ports we follow MarlonBecker/MSAM at 780fa4f, with one projection and one
    norm over all parameters, and agree with it to 2e-11 (50 steps, float64); rollovd/LookSAM and pytorch_optimizer
    project tensor by tensor, and the latter makes both passes at every step, which saves nothing. alpha is 0.1: the
    authors of Momentum-SAM report in their appendix that the paper's 0.7 was not suitable and that they took 0.1. A
    kept part that is rounding, as in a warm-up of rho, and one that is not finite are not kept; to see it, an ascent
    waits for the device a second time. Tested by its authors on images, not on language.

    When not to use it: where the gradient turns fast, as the kept part is then that of another place.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. There is no code of the authors; the port
            Leminhbinh0209/LookSAM has 0.1.
        alpha: Size of the kept part in a step without an ascent, in units of ||g||, >= 0.
        k: Steps from one ascent to the next, >= 1. 1 is SAM.
    """
    return Method(schedule=EveryKth(k), descent=PlusKeptOrthogonal(alpha), rho=rho, paper=PAPER)

"""
VASSO: the adversary follows a moving average of the gradients, because one mini-batch's gradient is noisy and its
adversary over-friendly.

    d = (1 - theta) d + theta g ;  eps = rho d / ||d||         Li, Zhang and Giannakis 2025, arXiv 2509.02433, Alg. 1

The method was first published as Li and Giannakis 2023 (NeurIPS), arXiv 2309.15639.
"""

from dataclasses import dataclass
from typing import Any

import torch

from hf_vasso.methods.base import Context, Direction, Vector, by_parameter, filled, recall
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["MovingAverage", "vasso"]

PAPER = Paper(
    title="VASSO: Variance Suppression for Sharpness-Aware Minimization",
    url="https://arxiv.org/abs/2509.02433",
    bibtex="""@article{li2025vasso,
  title   = {{VASSO}: Variance Suppression for Sharpness-Aware Minimization},
  author  = {Li, Bingcong and Zhang, Yilang and Giannakis, Georgios B.},
  journal = {arXiv preprint arXiv:2509.02433},
  year    = {2025},
  url     = {https://arxiv.org/abs/2509.02433}
}

@inproceedings{li2023enhancing,
  title     = {Enhancing Sharpness-Aware Optimization Through Variance Suppression},
  author    = {Li, Bingcong and Giannakis, Georgios B.},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2023},
  url       = {https://arxiv.org/abs/2309.15639}
}""",
)


@dataclass(frozen=True)
class MovingAverage(Direction):
    """
    d = (1 - theta) d + theta g, begun at the first gradient.

    Args:
        theta: Weight of the new gradient, in (0, 1]. 1 follows the batch gradient alone.
    """

    theta: float

    keeps = 1

    def __post_init__(self) -> None:
        check_range("theta weighs the new gradient", self.theta, minimum=0.0, maximum=1.0, exclude_minimum=True)

    def update(self, context: Context, state: dict[str, Any], gradient: Vector) -> Vector:
        average = recall(state, context.names, start=gradient)  # d_0 = g_0: the first lerp leaves it as it is
        torch._foreach_lerp_(average, gradient, self.theta)
        return average

    def reuse(self, context: Context, state: dict[str, Any]) -> Vector | None:
        return filled(list(map(by_parameter(state).get, context.names)), like=context.parameters)


def vasso(rho: float = 0.01, theta: float = 0.4) -> Method:
    """
    VASSO: SAM along a moving average of the gradients.

    Cost: two passes per step; two extra copies of the trainable weights (one is the average, in fp32 or wider, saved
    with the checkpoint).

    Published first at NeurIPS 2023 (Li and Giannakis, Enhancing Sharpness-Aware Optimization Through Variance
    Suppression, arXiv 2309.15639), then as the paper of 2025 that is cited here (arXiv 2509.02433).

    Follows BingcongLi/VaSSO at 3524bad: the average begins at the first gradient, takes in one gradient per optimizer
    step, the unperturbed one, and the norm runs over all parameters. Run beside ours, its step is the same to 3.4e-8
    (50 steps, float64), the size of what it adds to the norm, 1e-7. Where we differ: theta is 0.4, as in the
    configurations of lk-eg/Computationally-Efficient-SAM, where the authors' configuration file has 0.9; weights are
    restored from a copy, not by subtraction. Tested by its authors on images and on translation.

    When not to use it: when SAM does not help either. An independent study on CIFAR, in that repository, found no gain
    of VASSO over SAM. The average weighs raw gradients, so a batch with a large gradient weighs more.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer. The authors' configuration
            file has 0.05, their example on CIFAR-100 0.2.
        theta: Weight of the new gradient, in (0, 1]. 1 is SAM; 0.9 is a mild change from it, because the noise of the
            average has theta / (2 - theta) of the variance of one gradient.
    """
    return Method(direction=MovingAverage(theta), rho=rho, paper=PAPER)

"""
SS-SAM: a coin decides at each step whether SAM is made.

    with probability p SAM, else BaseOpt(w, g)                      Zhao, Zhang and Hu 2022, arXiv 2203.09962
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from hf_vasso.methods.base import Context, PassesOfStep, Schedule
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["AtRandom", "ss_sam"]

PAPER = Paper(
    title="SS-SAM: Stochastic Scheduled Sharpness-Aware Minimization for Efficiently Training Deep Neural Networks",
    url="https://arxiv.org/abs/2203.09962",
    bibtex="""@article{zhao2022sssam,
  title   = {{SS-SAM}: Stochastic Scheduled Sharpness-Aware Minimization for Efficiently Training Deep Neural
             Networks},
  author  = {Zhao, Yang and Zhang, Hao and Hu, Xiuyuan},
  journal = {arXiv preprint arXiv:2203.09962},
  year    = {2022},
  url     = {https://arxiv.org/abs/2203.09962}
}""",
)


@dataclass(frozen=True)
class AtRandom(Schedule):
    """
    Both passes with probability p, else the one at w.

    Args:
        p: Probability of an ascent, in [0, 1].
    """

    p: float

    between: ClassVar[PassesOfStep] = "clean"
    ascents = "p"

    @property
    def mean_ascents(self) -> float:
        return self.p

    @property
    def reuses(self) -> bool:
        return self.between == "perturbed"

    def __post_init__(self) -> None:
        check_range("p is the probability of an ascent", self.p, minimum=0.0, maximum=1.0)

    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        # One number at each step, whatever it decides. The generator is on the CPU, so nothing waits for a device.
        return "both" if torch.rand((), generator=context.generator).item() < self.p else self.between


def ss_sam(rho: float = 0.01, p: float = 0.5) -> Method:
    """
    SS-SAM: SAM at steps that a coin chooses, the base optimizer at the others.

    Cost: 1 + p passes per step; one extra copy of the trainable weights.

    Written from the paper's abstract. The coin is seeded by the training's seed, falls alike on all processes, and
    goes on where it was when a training is resumed. p is constant, and 0.5 is our choice. Tested by its authors on
    images, not on language.

    When not to use it: to compare methods on few steps, as the number of ascents is itself random.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer. We do not know what
            the authors use.
        p: Probability of an ascent, in [0, 1]. 1 is SAM, 0 the base optimizer.
    """
    return Method(schedule=AtRandom(p), rho=rho, paper=PAPER)

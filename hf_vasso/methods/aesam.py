"""
AE-SAM: the second pass only where the gradient is large, since the loss is then sharp.

    mu = delta mu + (1 - delta) ||g||^2 ;  s^2 = delta s^2 + (1 - delta) (||g||^2 - mu)^2
    c_t = (t / T) lambda1 + (1 - t / T) lambda2 ;  SAM where ||g||^2 >= mu + c_t s, else BaseOpt(w, g)
                                                                        Jiang et al. 2023, arXiv 2304.14647
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from hf_vasso.methods.base import Context, PassesOfStep, Schedule
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method, Paper

__all__ = ["WhereSharp", "aesam"]

PAPER = Paper(
    title="An Adaptive Policy to Employ Sharpness-Aware Minimization",
    url="https://arxiv.org/abs/2304.14647",
    bibtex="""@inproceedings{jiang2023adaptive,
  title     = {An Adaptive Policy to Employ Sharpness-Aware Minimization},
  author    = {Jiang, Weisen and Yang, Hansi and Zhang, Yu and Kwok, James},
  booktitle = {International Conference on Learning Representations},
  year      = {2023},
  url       = {https://arxiv.org/abs/2304.14647}
}""",
)


@dataclass(frozen=True)
class WhereSharp(Schedule):
    """
    Both passes where the squared norm of the gradient is at least its mean plus c_t standard deviations.

    Args:
        delta: Weight of the old mean and variance, in [0, 1].
        lambda1: c_t at the end of the training.
        lambda2: c_t at its beginning.
    """

    delta: float
    lambda1: float
    lambda2: float

    ascents = "share"

    def __post_init__(self) -> None:
        check_range("delta weighs the old mean and variance", self.delta, minimum=0.0, maximum=1.0)
        for name in ("lambda1", "lambda2"):
            check_range(f"{name} is a number of standard deviations", getattr(self, name), minimum=-math.inf)

    def check(self, context: Context) -> None:
        if context.total_steps < 1:
            raise ValueError(f"c_t runs over the whole training, got total_steps={context.total_steps}: give it")

    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        return "both"

    def after(self, context: Context, state: dict[str, Any], norm: float) -> Literal["both", "clean"]:
        squared = norm**2
        mean = state.get("mean", squared)
        mean += (1.0 - self.delta) * (squared - mean)  # exactly the first value at first, so that it ascends
        variance = self.delta * state.get("variance", 0.0) + (1.0 - self.delta) * (squared - mean) ** 2
        state.update(mean=mean, variance=variance)
        progress = context.step / context.total_steps
        deviations = progress * self.lambda1 + (1.0 - progress) * self.lambda2
        return "both" if squared >= mean + deviations * math.sqrt(variance) else "clean"


def aesam(rho: float = 0.01, delta: float = 0.9, lambda1: float = -1.0, lambda2: float = 1.0) -> Method:
    """
    AE-SAM: SAM at the steps whose gradient is large, few at first and most in the end.

    Cost: 1 + share passes per step, where share is the part of the steps that ascend (42 % of 200 steps on a small
    network with the default numbers, from 5 % in the first fifth to 80 % in the last); one extra copy of the trainable
    weights.

    Written from the formulas and numbers as others restate them, not checked against the paper; the mean begins at the
    first value and the variance at 0, so the first step ascends. The norm is the global one, so all processes decide
    alike; it is that of all gradients, whatever `no_perturb` leaves out. A step without an ascent is that of the base
    optimizer. Tested by its authors on images, not on language.

    When not to use it: where the number of steps is not known, which c_t needs.

    Args:
        rho: Radius of the perturbation, in weight units, >= 0. 0 is the base optimizer. We do not know what
            the authors use.
        delta: Weight of the old mean and variance, in [0, 1].
        lambda1: Standard deviations above the mean from which a step ascends, at the end of the training.
        lambda2: The same at its beginning; in between it runs linearly.
    """
    return Method(schedule=WhereSharp(delta, lambda1, lambda2), rho=rho, paper=PAPER)

"""No perturbation: the base optimizer alone, for comparison in the same engine."""

from dataclasses import dataclass
from typing import Any

from hf_vasso.methods.base import Context, PassesOfStep, Schedule
from hf_vasso.methods.method import Method

__all__ = ["Never", "none"]


@dataclass(frozen=True)
class Never(Schedule):
    """One pass, at w, at every step."""

    perturbs = False
    ascents = "0"
    mean_ascents = 0.0

    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        return "clean"


def none() -> Method:
    """
    The base optimizer without a perturbation.

    Cost: one pass per step, no extra memory. It is the stock `Trainer` bit for bit with one micro-batch per step on
    one process; with several, the loss is the mean over the step's items, as for every other method.
    """
    return Method(schedule=Never(), rho=0.0)

"""How the radius rho runs over the training: a warm-up, then a schedule."""

import math
from collections.abc import Callable
from dataclasses import dataclass

from hf_vasso.methods.base import Context
from hf_vasso.methods.checks import check_range
from hf_vasso.spelling import unknown_name

__all__ = ["RHO_SCHEDULERS", "WARMUP_SHARE", "RhoSchedule"]

WARMUP_SHARE = 0.1
"""Share of the steps over which rho grows unless told otherwise."""


def _learning_rate_share(context: Context, progress: float) -> float:
    group = context.optimizer.param_groups[0]
    # Schedulers that follow a curve leave what they multiply in the group, one that climbs its top as well; one that
    # reacts, on a plateau, only changes "lr".
    peak = float(group.get("max_lr", group.get("initial_lr", context.optimizer.defaults["lr"])))
    return min(context.learning_rate / peak, 1.0) if peak > 0 else 1.0


RHO_SCHEDULERS: dict[str, Callable[[Context, float], float]] = {
    "constant": lambda context, progress: 1.0,
    "linear": lambda context, progress: 1.0 - progress,
    "cosine": lambda context, progress: 0.5 * (1.0 + math.cos(math.pi * progress)),
    "learning_rate": _learning_rate_share,
}
"""Share of rho by name, from the context and the share of the steps after the warm-up that are done, in [0, 1]."""


@dataclass(frozen=True)
class RhoSchedule:
    """
    The share of rho that a step uses.

    Args:
        total_steps: Optimizer steps of the whole training, 0 where unknown.
        warmup_steps: Steps over which rho grows linearly from 0, >= 0. Below 1 it is a share of `total_steps`. None is
            `WARMUP_SHARE`, and 0 where the number of steps is unknown.
        scheduler_type: A key of `RHO_SCHEDULERS`.

    Raises:
        ValueError: For an unknown scheduler, a negative warm-up, or one that needs an unknown number of steps.
    """

    total_steps: int
    warmup_steps: float | None = None
    scheduler_type: str = "constant"

    def __post_init__(self) -> None:
        check_range("rho_warmup_steps is a count of steps or a share of them", self.warmup, minimum=0.0)
        if self.warmup > 1 and self.warmup != int(self.warmup):
            raise ValueError(
                f"rho_warmup_steps must be a whole number of steps or a share of them below 1, got {self.warmup}"
            )
        if self.scheduler_type not in RHO_SCHEDULERS:
            raise ValueError(unknown_name("rho_scheduler_type", self.scheduler_type, RHO_SCHEDULERS))
        needs_total = 0 < self.warmup < 1 or self.scheduler_type in ("linear", "cosine")
        if needs_total and self.total_steps < 1:
            raise ValueError(
                f"rho_warmup_steps={self.warmup:g} with rho_scheduler_type={self.scheduler_type!r} needs the "
                f"number of steps, got total_steps={self.total_steps}: give total_steps, or a count of warm-up steps "
                "with a constant rho"
            )

    @property
    def warmup(self) -> float:
        """`warmup_steps`, and what it is where nobody gives it."""
        if self.warmup_steps is not None:
            return self.warmup_steps
        return WARMUP_SHARE if self.total_steps > 0 else 0.0

    def radius(self, context: Context, low: float, high: float) -> float:
        """
        rho at a step.

        Args:
            context: It names the step, and holds the learning rate.
            low: What a schedule ends at.
            high: What the warm-up ends at and a schedule begins at.

        Returns:
            From 0 to `high` in the warm-up, then from `low` to `high`.
        """
        warmup = math.ceil(self.warmup * self.total_steps) if self.warmup < 1 else int(self.warmup)
        if context.step < warmup:
            return high * context.step / warmup
        progress = min((context.step - warmup) / max(self.total_steps - warmup, 1), 1.0)
        return low + (high - low) * RHO_SCHEDULERS[self.scheduler_type](context, progress)

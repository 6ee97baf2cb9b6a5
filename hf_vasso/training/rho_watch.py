"""Say once that rho is too large to train with, where the loss and its gap show it."""

import logging
import math

from torch import Tensor

from hf_vasso.engine import StepResult
from hf_vasso.methods import Method

__all__ = ["RhoWatch"]

logger = logging.getLogger(__name__)

_TENTHS = 10
_FEWEST_STEPS = 20  # a tenth of fewer is a single batch, whose loss tells nothing
_FALL = 0.02  # a loss that has fallen by a smaller share of what it was counts as one that stays
# The gap, as a share of the loss, above which rho is called too large. MiniLM on SST-2 has a loss of 0.69 at the
# beginning, with a gap of 0.005 at rho 0.01, which trains, and of 0.023 at rho 0.05, which does not.
_GAP = 0.02


class RhoWatch:
    """
    Compares each tenth of a training with the first; warns once where the loss stays and the perturbation raises it.

    The losses are read from the device ten times in a training. Methods that measure no gap are not watched, and
    neither are resumed trainings, of which the first tenth is not known.

    Args:
        method: The warning names it and its rho.
    """

    def __init__(self, method: Method) -> None:
        self._method = method
        self._seen = 0
        self._beginning: float | None = None
        self._has_warned = False
        self._start_a_tenth()

    def _start_a_tenth(self) -> None:
        self._loss: Tensor | float = 0.0
        self._gap: Tensor | float = 0.0
        self._steps = self._ascents = 0

    def add(self, result: StepResult, step: int, total_steps: int) -> None:
        """
        Take in one step, and warn if it is the last one of a tenth in which rho was too large.

        Args:
            result: The result of the step.
            step: Optimizer steps before this one.
            total_steps: Those of the whole training.
        """
        if self._has_warned or total_steps < _FEWEST_STEPS or step != self._seen:
            return
        self._seen += 1
        self._loss = self._loss + result.loss.detach().float()
        self._steps += 1
        if result.gap is not None:
            self._gap = self._gap + result.gap.detach().float()
            self._ascents += 1
        if self._steps == math.ceil(total_steps / _TENTHS):
            self._judge(float(self._loss) / self._steps, total_steps)
            self._start_a_tenth()

    def _judge(self, loss: float, total_steps: int) -> None:
        if self._beginning is None:
            self._beginning = loss
            return
        gap = float(self._gap) / self._ascents if self._ascents else 0.0
        if loss > (1.0 - _FALL) * self._beginning and gap > _GAP * loss:
            self._has_warned = True
            logger.warning(
                "After %d of %d steps the loss is %.3f, where it began with %.3f, and the perturbation of %s raises "
                "it by %.3f: rho=%g is probably too large for this training. Halve it until the loss falls "
                "(docs/tuning.md).",
                self._seen,
                total_steps,
                loss,
                self._beginning,
                self._method.name,
                gap,
                self._method.rho,
            )

"""What the Trainer logs about sharpness, kept on the device until logging time."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from hf_vasso.engine import StepResult

__all__ = ["SharpnessLog"]

_MEASURED = ("perturbation_norm", "cosine")


class SharpnessLog:
    """
    Collects the results of the steps since the last log, in sums: what it keeps does not grow with their number.

    Keys, all of them numbers: `sharpness/gap`, loss at w + eps minus loss at w, the mean over the steps that made both
    passes and where it is finite; `sharpness/perturbation_norm` and `sharpness/cosine` (adversary to batch gradient),
    of the last measured step, the mean over ranks where each follows a gradient of its own; `sharpness/skipped`, steps
    so far that met a gradient that was not finite; `sharpness/loss_at_perturbed`, the share of the steps whose logged
    loss is the one at w + eps, where there are any.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._steps = self._perturbed_losses = 0
        self._gaps: Tensor | None = None  # the sum of the finite ones, and how many these are
        self._measured: dict[str, Tensor] = {}
        self._loss: Tensor | None = None

    def add(self, result: StepResult) -> None:
        """Take in one step, without waiting for the device."""
        self._steps += 1
        self._perturbed_losses += result.loss_at == "perturbed"
        self._loss = result.loss.detach()
        if result.gap is not None:
            gap = _widened(result.gap.detach())
            finite = gap.isfinite()  # as the Trainer leaves NaN out of its loss
            row = torch.stack([gap.where(finite, 0.0), finite.to(gap.dtype)])
            self._gaps = row if self._gaps is None else self._gaps + row
        for name in _MEASURED:
            value = getattr(result, name)
            if value is not None:
                self._measured[name] = value

    def flush(self, skipped: int, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """
        The entries for the log, after which the collection starts again.

        Args:
            skipped: Steps so far that met a gradient that was not finite.
            gather: Brings the numbers of all ranks together; called on every rank or on none.
        """
        if self._loss is None:
            return {}
        ranks = gather(self._row(self._loss)[None])
        (total, count), measured = ranks[:, :2].sum(0).tolist(), ranks[:, 2:].nanmean(0).tolist()
        logs: dict[str, float] = {
            f"sharpness/{name}": value
            for name, value in zip(_MEASURED, measured, strict=True)
            if not math.isnan(value)
        }
        if self._gaps is not None:
            logs["sharpness/gap"] = total / count if count else math.nan
        if logs or skipped:
            logs["sharpness/skipped"] = skipped
        if self._perturbed_losses:
            logs["sharpness/loss_at_perturbed"] = self._perturbed_losses / self._steps
        self._start()
        return logs

    def _row(self, loss: Tensor) -> Tensor:
        """The sum of the finite gaps, how many there are, and what was measured; as long on every rank."""
        loss = _widened(loss)  # of one type on every rank
        unknown = loss.new_full((), math.nan)
        measured = [self._measured.get(name, unknown).to(loss.dtype) for name in _MEASURED]
        gaps = loss.new_zeros(2) if self._gaps is None else self._gaps.to(loss.dtype)
        return torch.cat([gaps, torch.stack(measured)])


def _widened(number: Tensor) -> Tensor:
    """In fp32 or wider, in which a sum over many steps does not lose them."""
    return number.to(torch.promote_types(number.dtype, torch.float32))

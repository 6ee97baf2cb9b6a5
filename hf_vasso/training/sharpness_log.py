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
    Collects the results of the steps since the last log.

    Keys: `sharpness/gap`, loss at w + eps minus loss at w, the mean over the steps that made both passes and where it
    is finite; `sharpness/perturbation_norm` and `sharpness/cosine` (adversary to batch gradient), of the last measured
    step, the mean over ranks where each follows a gradient of its own; `sharpness/skipped`, steps so far whose
    gradient at w was not finite; `sharpness/loss_at`, "perturbed" where the logged loss is the one at w + eps.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._gaps: list[Tensor] = []
        self._measured: dict[str, Tensor] = {}
        self._last: StepResult | None = None

    def add(self, result: StepResult) -> None:
        """Take in one step."""
        if result.gap is not None:
            self._gaps.append(result.gap.detach())
        for name in _MEASURED:
            value = getattr(result, name)
            if value is not None:
                self._measured[name] = value
        self._last = result

    def flush(self, skipped: int, gather: Callable[[Tensor], Tensor]) -> dict[str, float | str]:
        """
        The entries for the log, after which the collection starts again.

        Args:
            skipped: Steps so far whose gradient at w was not finite.
            gather: Brings the numbers of all ranks together; called on every rank or on none.
        """
        last = self._last
        if last is None:
            return {}
        ranks = gather(self._row(last.loss)[None])
        (total, count), measured = ranks[:, :2].sum(0).tolist(), ranks[:, 2:].nanmean(0).tolist()
        logs: dict[str, float | str] = {
            f"sharpness/{name}": value
            for name, value in zip(_MEASURED, measured, strict=True)
            if not math.isnan(value)
        }
        if self._gaps:
            logs["sharpness/gap"] = total / count if count else math.nan
        if logs or skipped:
            logs["sharpness/skipped"] = skipped
        if last.loss_at == "perturbed":
            logs["sharpness/loss_at"] = "perturbed"
        self._start()
        return logs

    def _row(self, loss: Tensor) -> Tensor:
        """The sum of the finite gaps, how many there are, and what was measured; as long on every rank."""
        gaps = torch.stack(self._gaps) if self._gaps else loss.new_zeros(0)
        finite = gaps.isfinite()  # as the Trainer leaves NaN out of its loss
        unknown = loss.new_full((), math.nan)
        row = [gaps.where(finite, 0.0).sum(), finite.sum(), *(self._measured.get(name, unknown) for name in _MEASURED)]
        wide = torch.promote_types(loss.dtype, torch.float32)  # the same on every rank
        return torch.stack([number.to(wide) for number in row])

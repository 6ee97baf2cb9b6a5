"""What the Trainer logs about sharpness, kept on the device until logging time."""

from collections.abc import Callable

import torch
from torch import Tensor

from hf_vasso.engine import StepResult

__all__ = ["SharpnessLog"]


class SharpnessLog:
    """
    Collects the results of the steps since the last log.

    Keys: `sharpness/gap`, loss at w + eps minus loss at w, the mean over the steps that made both
    passes and where it is finite;
    `sharpness/perturbation_norm` and `sharpness/cosine` (adversary to batch gradient), of the last measured step;
    `sharpness/skipped`, steps so far whose gradient at w was not finite; `sharpness/loss_at`, "perturbed" where the
    logged loss is the one at w + eps.
    """

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self._gaps: list[Tensor] = []
        self._measured: dict[str, Tensor] = {}
        self._perturbed_loss = False

    def add(self, result: StepResult) -> None:
        """Take in one step."""
        if result.gap is not None:
            self._gaps.append(result.gap.detach())
        for name in ("perturbation_norm", "cosine"):
            value = getattr(result, name)
            if value is not None:
                self._measured[f"sharpness/{name}"] = value
        self._perturbed_loss = result.loss_at == "perturbed"

    def flush(self, skipped: int, gather: Callable[[Tensor], Tensor]) -> dict[str, float | str]:
        """
        The entries for the log, after which the collection starts again.

        Args:
            skipped: Steps so far whose gradient at w was not finite.
            gather: Brings the gaps of all ranks together; called on every rank or on none.
        """
        logs: dict[str, float | str] = {name: value.item() for name, value in self._measured.items()}
        if self._gaps:
            gaps = torch.stack(self._gaps)
            finite = torch.isfinite(gaps)  # as the Trainer leaves NaN out of its loss
            total, count = gather(torch.stack([gaps.where(finite, 0.0).sum(), finite.sum()])[None]).sum(0).tolist()
            logs["sharpness/gap"] = total / count if count else float("nan")
        if logs or skipped:
            logs["sharpness/skipped"] = skipped
        if self._perturbed_loss:
            logs["sharpness/loss_at"] = "perturbed"
        self._start()
        return logs

"""What a training costs: wall-clock time over all interruptions, passes and memory."""

import resource
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from hf_vasso.training.trainer import VassoTrainer

__all__ = ["NO_COST", "TrainingClock", "device_name", "training_cost", "training_history"]

NO_COST: dict[str, float] = {
    "train_seconds": 0.0,
    "seconds_per_step": 0.0,
    "forward_passes": 0,
    "backward_passes": 0,
    "steps": 0,
    "peak_memory_bytes": 0,
}


class TrainingClock(TrainerCallback, ExportableState):
    """
    Count the seconds of training, in the checkpoints too, so that they add up over interruptions.

    It is wall-clock time inside the training loop, with evaluation and checkpoints where there are any in it; steps
    that were lost and done again after a crash count once.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._started: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        callbacks: Any = state.stateful_callbacks
        # The state of a checkpoint that was written without this clock does not know it.
        kept = callbacks.setdefault(type(self).__name__, self.state())
        self.seconds = kept["attributes"]["seconds"]
        self._started = time.perf_counter()
        _reset_peak_memory(args.device)  # of an earlier run in this process

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.seconds = self._total()
        self._started = None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        return {"args": {}, "attributes": {"seconds": self._total()}}

    def _total(self) -> float:
        running = 0.0 if self._started is None else time.perf_counter() - self._started
        return self.seconds + running


def training_cost(trainer: VassoTrainer, clock: TrainingClock) -> dict[str, float]:
    """
    What a finished training has cost.

    Args:
        trainer: It has trained.
        clock: It ran meanwhile.

    Returns:
        The "cost" of a record.
    """
    passes = trainer.sharpness_passes()
    steps = trainer.state.global_step
    return {
        "train_seconds": clock.seconds,
        "seconds_per_step": clock.seconds / steps if steps else 0.0,
        "forward_passes": passes["forward"],
        "backward_passes": passes["backward"],
        "steps": steps,
        "peak_memory_bytes": _peak_memory_bytes(trainer),
    }


def _reset_peak_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with suppress(OSError):  # only Linux can: 5 is the peak of the resident set
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory_bytes(trainer: Trainer) -> int:
    """The most memory that was in use at once: the GPU's tensors, or without one the whole process."""
    if trainer.args.device.type == "cuda":
        return torch.cuda.max_memory_allocated(trainer.args.device)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def training_history(trainer: Trainer) -> dict[str, list[float | None]]:
    """The columns of a record's history from what a trainer has logged."""
    rows = [entries for entries in trainer.state.log_history if "loss" in entries]
    return {
        name: [entries.get(name) for entries in rows]
        for name in ("step", "loss", "sharpness/gap")
        if any(name in entries for entries in rows)
    }


def device_name(device: torch.device) -> str:
    """What a record calls a device: a graphics card by its name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type

"""Turn the first Ctrl-C or SIGTERM during training into a checkpoint and an orderly end."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

__all__ = ["StopOnSignal", "stop_on_signal"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopOnSignal(TrainerCallback):
    """
    End the training with a checkpoint at the end of the step during which a signal came.

    From that checkpoint the training is continued exactly, so it is a whole one and it stays, whatever the flags say
    about the checkpoints of an undisturbed training.

    `received` is the signal's number, None until one came.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def install(self) -> None:
        """Take the signals."""
        self._previous = {number: signal.signal(number, self._receive) for number in _SIGNALS}

    def restore(self) -> None:
        """Give the signals back to who had them before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        self.received = number
        self.restore()  # so that a second signal stops at once
        # print() may be in the middle of writing when a signal comes, and must not be entered twice
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nending the running step; once more stops at once\n"
        )

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.received is not None:
            args.save_only_model = False
            args.save_total_limit = None  # with 1, the Trainer ends by deleting all checkpoints but the best
            control.should_save = True
            control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # The Trainer ends the epoch also when it stops inside; what belongs to its end is done when it is continued.
        if self.received is not None and not float(state.epoch).is_integer():
            control.should_evaluate = False
            control.should_save = False


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[StopOnSignal]:
    """
    Take Ctrl-C and SIGTERM while a trainer trains.

    Under several processes the signals keep their usual meaning: each process would end at another step, and the
    others would wait for it for ever.

    Args:
        trainer: It gets the callback that this yields.
    """
    callback = StopOnSignal()
    if trainer.args.world_size > 1:
        yield callback
        return
    trainer.add_callback(callback)
    callback.install()
    try:
        yield callback
    finally:
        callback.restore()

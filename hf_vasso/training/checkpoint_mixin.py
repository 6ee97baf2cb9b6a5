"""
How a Trainer writes checkpoints that are whole or known not to be, and resumes from those that are.

A checkpoint is sealed, which is to bring it to the disk and write its manifest, after the callbacks of the save have
had it, in a thread beside the next steps; then older ones are deleted. The Trainer waits for that before it saves the
next one and at its end.
"""

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

from transformers import Trainer
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_vasso.training.checkpoints import checkpoint_fault, last_checkpoint, rotate, set_aside, whole_checkpoint
from hf_vasso.training.manifest import MANIFEST, begin_manifest, write_manifest

__all__ = ["CheckpointMixin"]

logger = logging.getLogger(__name__)

_Base = Trainer if TYPE_CHECKING else object


@dataclass(frozen=True)
class _Saved:
    """A checkpoint that was written and not sealed yet."""

    folder: Path
    step: int
    ranks: int

    def seal(self, limit: int | None, best: str | None) -> None:
        try:
            write_manifest(self.folder, self.step, self.ranks)
        except FileNotFoundError as error:  # a callback or another process has deleted it
            logger.warning("%s was changed while it was written, and is not whole: %s", self.folder, error)
            return
        rotate(self.folder.parent, self.folder, limit, best)


@dataclass(frozen=True)
class _Sealing:
    """A thread at work, which copies of the trainer leave out."""

    future: Future[None]

    def __reduce__(self) -> tuple[type, tuple[()]]:
        return NoneType, ()


class CheckpointMixin(_Base):
    """Whole checkpoints for a `Trainer`. Stands before it among the base classes."""

    _saved: _Saved | None = None
    _sealing: "_Sealing | None" = None
    _is_saving = False
    _is_training = False

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """
        The Trainer's own, from a checkpoint that is whole.

        Args:
            resume_from_checkpoint: A checkpoint, or True for the last one in the output folder that is whole; the log
                names those that are not.
            *args: The Trainer's own.
            **kwargs: The Trainer's own.

        Raises:
            ValueError: The named checkpoint is not whole, or none is.
        """
        if resume_from_checkpoint is True:
            resume_from_checkpoint = last_checkpoint(self.args)
            if resume_from_checkpoint is None:
                raise ValueError(
                    f"{self.args.output_dir} holds no whole checkpoint: leave out resume_from_checkpoint to start over"
                )
        elif resume_from_checkpoint:
            resume_from_checkpoint = whole_checkpoint(self.args, str(resume_from_checkpoint))
        return super().train(resume_from_checkpoint, *args, **kwargs)

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        """The Trainer's own."""
        super().save_model(*args, **kwargs)
        if self._is_saving:  # from here on; the arguments are saved with the model, and as they are
            self.args.save_total_limit = None

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """The Trainer's own. The log of the end is the last it does before it deletes all checkpoints but the best."""
        super().log(logs, *args, **kwargs)
        if "train_runtime" in logs:
            self._seal_and_wait()
            best, limit = self.state.best_model_checkpoint, self.args.save_total_limit
            if self.args.should_save and best is not None and limit == 1:
                self._check_best()
                rotate(self._run_folder, None, limit, best)

    def _load_callback_state(self) -> None:
        try:
            super()._load_callback_state()
        except (TypeError, AttributeError) as error:
            raise ValueError(
                f"{TRAINER_STATE_NAME} has stateful_callbacks that do not fit this training ({error}): "
                "give it those with which it began, or resume from another checkpoint"
            ) from error

    def _load_best_model(self) -> None:
        self._seal_and_wait()
        self._check_best()
        super()._load_best_model()

    def _check_best(self) -> None:
        best = str(self.state.best_model_checkpoint)
        fault = checkpoint_fault(Path(best)) if Path(best).exists() else None  # else the Trainer tells of it
        if fault is not None:
            raise ValueError(
                f"{best} is the best checkpoint, and is not whole: {fault}; put its files back, or resume with "
                "load_best_model_at_end=False"
            )

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        self._seal_and_wait()
        step = self.state.global_step
        folder = Path(self._get_output_dir(trial=trial), f"{PREFIX_CHECKPOINT_DIR}-{step}")
        if self.args.should_save:
            if (folder / MANIFEST).exists():
                set_aside(folder)  # until the new one is whole
            begin_manifest(folder)
        self.accelerator.wait_for_everyone()  # other ranks write into the folder, too
        with self._without_rotation():
            super()._save_checkpoint(model, trial)
        self._saved = _Saved(folder, step, self.args.world_size)
        if not self._is_training:
            self._seal_and_wait()

    def _maybe_log_save_evaluate(self, *args: Any, **kwargs: Any) -> None:
        super()._maybe_log_save_evaluate(*args, **kwargs)  # calls the callbacks after it has saved
        self._seal_saved()

    def _inner_training_loop(self, *args: Any, **kwargs: Any) -> Any:
        self._run_folder = Path(self._get_output_dir(trial=kwargs.get("trial")))
        self._is_training = True
        try:
            return super()._inner_training_loop(*args, **kwargs)
        except BaseException:
            if self.args.world_size > 1:
                self._saved = None  # it is not known whether the other ranks have written theirs
            raise
        finally:
            self._is_training = False
            self._seal_and_wait()

    @contextmanager
    def _without_rotation(self) -> Iterator[None]:
        """Keep the Trainer from deleting older checkpoints before the new one is sealed."""
        limit, self._is_saving = self.args.save_total_limit, True
        try:
            yield
        finally:
            self._is_saving, self.args.save_total_limit = False, limit

    def _seal_saved(self) -> None:
        """Begin to seal what was saved, once all ranks have written their files."""
        saved, self._saved = self._saved, None
        if saved is None:
            return
        self.accelerator.wait_for_everyone()
        if self.args.should_save:
            thread = ThreadPoolExecutor(1, thread_name_prefix="seal-checkpoint")
            best = self.state.best_model_checkpoint
            self._sealing = _Sealing(thread.submit(saved.seal, self.args.save_total_limit, best))
            thread.shutdown(wait=False)

    def _seal_and_wait(self) -> None:
        self._seal_saved()
        self._wait_for_seal()

    def _wait_for_seal(self) -> None:
        """Wait for the thread, and raise what it raised."""
        sealing, self._sealing = self._sealing, None
        if sealing is not None:
            sealing.future.result()

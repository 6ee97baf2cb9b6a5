"""The output folder of a run: what was asked for, how far it came, and whether a command may go on with it."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import TrainerState
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_vasso.results.files import write_json
from hf_vasso.results.record import RESULT_FILE, Record, read_record
from hf_vasso.tasks.glue import Task

__all__ = ["RunFolder"]

_RUN_FILE = "run.json"


class RunFolder:
    """
    A run's output folder.

    `run.json` in it has the "arguments" with which the run began and, once it has trained, the record's entries about
    that as "training".

    Args:
        path: The folder, which need not exist.
        task: The task that is run in it.
    """

    def __init__(self, path: str, task: Task) -> None:
        self.path = Path(path)
        self.task = task

    def check_owner(self) -> None:
        """
        Refuse a folder with the results of something else.

        Raises:
            ValueError: It has a record or checkpoints, and no run of this command wrote them.
        """
        if not self._file.exists() and (self.is_finished or self._checkpoint_steps()):
            raise ValueError(f"{self.path} holds the results of something else; choose another --output_dir")

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """
        Refuse to go on with a run in another way than it began.

        Args:
            arguments: What `result_arguments` gives for the command.

        Raises:
            ValueError: The run in this folder began with other arguments; the message names them.
        """
        if not self._file.exists():
            return
        before = self._read()["arguments"]
        now = json.loads(json.dumps(arguments))
        # A flag that only one version of Transformers knows has no counterpart to compare it with.
        differences = [
            f"  --{name}: was {before[name]}, is {now[name]}"
            for name in sorted(before.keys() & now.keys())
            if before[name] != now[name]
        ]
        if differences:
            raise ValueError(
                "\n".join([f"the run in {self.path} began with other flags:", *differences])
                + "\nrepeat it with the same flags, choose another --output_dir, or start over with --fresh"
            )

    def begin(self, arguments: dict[str, Any], fresh: bool) -> None:
        """
        Keep the arguments with which the run begins, unless it has begun before.

        Args:
            arguments: What `result_arguments` gives for the command.
            fresh: Delete what the run before wrote. Its model stays until the next one replaces it.
        """
        if fresh and self._file.exists():
            for step in self._checkpoint_steps():
                shutil.rmtree(self.path / f"{PREFIX_CHECKPOINT_DIR}-{step}")
            self.clear_results()
            self._file.unlink()
        if not self._file.exists():
            write_json(self._file, {"arguments": arguments, "training": None})

    def clear_results(self) -> None:
        """Delete the results, which are about to come from another model."""
        results = [RESULT_FILE, *(f"{stage}_results.json" for stage in ("train", "eval", "all"))]
        for path in (*(self.path / name for name in results), *self.prediction_files.values()):
            path.unlink(missing_ok=True)

    def last_checkpoint(self) -> str | None:
        """
        The checkpoint from which to continue, None where there is none.

        One whose writing was cut off is passed over, and so is one of the last step: from there the Trainer takes one
        step too many where that step does not end an epoch. The steps since the checkpoint before give the same bits.
        """
        for step in sorted(self._checkpoint_steps(), reverse=True):
            checkpoint = self.path / f"{PREFIX_CHECKPOINT_DIR}-{step}"
            state_file = checkpoint / TRAINER_STATE_NAME  # the last file of a checkpoint to be written
            if state_file.exists():
                state = TrainerState.load_from_json(str(state_file))
                if state.global_step < state.max_steps:
                    return str(checkpoint)
        return None

    @property
    def training(self) -> dict[str, Any] | None:
        """The record's entries about the training, None until it has ended and its model is saved."""
        return self._read()["training"] if self._file.exists() else None

    def keep_training(self, entries: dict[str, Any]) -> None:
        """Note that the training has ended and its model is saved."""
        write_json(self._file, {**self._read(), "training": entries})

    @property
    def is_finished(self) -> bool:
        """Whether the run has a record."""
        return (self.path / RESULT_FILE).exists()

    @property
    def record(self) -> Record | None:
        """The run's record, None until it has one."""
        return read_record(self.path / RESULT_FILE) if self.is_finished else None

    @property
    def prediction_files(self) -> dict[str, Path]:
        """Test split to the file with its predictions."""
        return {split: self.path / f"predictions_{split}.tsv" for split in self.task.test_splits}

    @property
    def _file(self) -> Path:
        return self.path / _RUN_FILE

    def _checkpoint_steps(self) -> list[int]:
        names = [path.name for path in self.path.glob(f"{PREFIX_CHECKPOINT_DIR}-*")]
        return [int(step) for name in names if (step := name.rpartition("-")[2]).isdecimal()]

    def _read(self) -> dict[str, Any]:
        return json.loads(self._file.read_text(encoding="utf-8"))

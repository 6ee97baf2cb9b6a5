"""The output folder of a run: what was asked for, how far it came, and whether a command may go on with it."""

import json
import reprlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_vasso.results.failure import FAILURE_FILE
from hf_vasso.results.files import write_json
from hf_vasso.results.record import RESULT_FILE, Record, read_record
from hf_vasso.tasks.binding import without_folders
from hf_vasso.tasks.model_files import FINGERPRINT, MODEL_FILES

__all__ = ["MODEL_CARD", "RunFolder"]

MODEL_CARD = "README.md"

_RUN_FILE = "run.json"


class RunFolder:
    """
    A run's output folder.

    `run.json` in it has the "arguments" with which the run began and, once it has trained, as "training" the record's
    "entries" about that and the "fingerprints" of the splits that were loaded. "predicted" are the fingerprints of the
    test splits whose predictions lie beside it, where the task needs them.

    Args:
        path: The folder, which need not exist.
        prediction_files: Test split to the name of the file with its predictions.
    """

    def __init__(self, path: str, prediction_files: Mapping[str, str]) -> None:
        self.path = Path(path)
        self.prediction_files = {split: self.path / name for split, name in prediction_files.items()}
        """Test split to the file with its predictions."""

    def check_owner(self, pushes: bool = False) -> None:
        """
        Refuse a folder with the results of something else.

        Args:
            pushes: Whether it is going to be pushed. Then links are refused too: what they lead to would be read as a
                part of the model, and published.

        Raises:
            ValueError: It has a record or checkpoints, and no run of this command wrote them; or links.
        """
        links = sorted(path.name for path in self.path.glob("*") if path.is_symlink() and path.is_file())
        if pushes and links:
            raise ValueError(
                f"{self.path} has links ({reprlib.repr(links)}), and push_to_hub might publish what they lead to; put "
                "files in their place, or delete them"
            )
        if not self._file.exists() and (self.is_finished or self.checkpoint_steps):
            raise ValueError(f"{self.path} holds the results of something else; choose another --output_dir")

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """
        Refuse to go on with a run in another way than it began.

        Args:
            arguments: What `binding_arguments` gives for the command.

        Raises:
            ValueError: The run in this folder began with other arguments, which the message names, or `run.json` is
                broken.
        """
        if not self._file.exists():
            return
        before = without_folders(self.arguments)  # an earlier version wrote them
        now = json.loads(json.dumps(arguments))
        # A flag that only one version of Transformers knows has no counterpart to compare it with.
        differences = {name for name in before.keys() & now.keys() if before[name] != now[name]}
        flags = [f"  --{name}: was {before[name]}, is {now[name]}" for name in sorted(differences - {FINGERPRINT})]
        if flags:
            self._refuse("\n".join(["other flags:", *flags]), "repeat it with the same flags")
        if differences:
            was, is_now = before[FINGERPRINT], now[FINGERPRINT]
            self._refuse(f"other files in the folder of its model (fingerprint {was}, now {is_now})", "put them back")

    def _refuse(self, difference: str, remedy: str) -> NoReturn:
        raise ValueError(
            f"the run in {self.path} began with {difference}\n{remedy}, give this one a folder of its own "
            "(--method_label or --output_dir), or start over with --fresh, which deletes that run"
        )

    def begin(self, arguments: dict[str, Any], fresh: bool) -> None:
        """
        Keep the arguments with which the run begins, unless it has begun before.

        Args:
            arguments: What `binding_arguments` gives for the command.
            fresh: Delete what the run before wrote. Its model stays until the next one replaces it.
        """
        if fresh and self._file.exists():
            for step in self.checkpoint_steps:
                shutil.rmtree(self.checkpoint_folder(step))
            self.clear_results()
            self._file.unlink()
        for unfinished in self.path.glob(".*.json.*"):  # of a run that was killed while it wrote one
            unfinished.unlink()
        if not self._file.exists():
            write_json(self._file, {"arguments": arguments, "training": None})

    def clear_results(self) -> None:
        """Delete the results, which are about to come from another model."""
        results = [
            RESULT_FILE,
            MODEL_CARD,
            *(f"{stage}_results.json" for stage in ("train", "eval", "predict", "all")),
        ]
        for path in (*(self.path / name for name in results), *self.prediction_files.values()):
            path.unlink(missing_ok=True)

    def clear_failure(self) -> None:
        """Delete an earlier attempt's `failure.json`; next to a record it means that the run failed afterwards."""
        (self.path / FAILURE_FILE).unlink(missing_ok=True)

    def clear_model(self) -> None:
        """Delete the model, which is about to be replaced by one that may be of another kind: adapters, or whole."""
        for pattern in MODEL_FILES:
            for path in self.path.glob(pattern):
                path.unlink()

    @property
    def checkpoint_steps(self) -> list[int]:
        """The steps of the checkpoints, from which the training can be continued or not."""
        names = [path.name for path in self.path.glob(f"{PREFIX_CHECKPOINT_DIR}-*")]
        return [int(step) for name in names if (step := name.rpartition("-")[2]).isdecimal()]

    def checkpoint_folder(self, step: int) -> Path:
        """The folder of the checkpoint of a step."""
        return self.path / f"{PREFIX_CHECKPOINT_DIR}-{step}"

    @property
    def arguments(self) -> dict[str, Any]:
        """The flags with which the run in this folder began."""
        return self._read()["arguments"]

    @property
    def training_arguments(self) -> dict[str, Any]:
        """
        The entries of `arguments` that only the command that trained can know: "num_processes" and
        "model_fingerprint"; without those that an earlier version did not record, and empty before the run begins.
        """
        arguments = self.arguments if self._file.exists() else {}
        return {name: arguments[name] for name in ("num_processes", FINGERPRINT) if name in arguments}

    @property
    def training(self) -> dict[str, Any] | None:
        """What is known about the training, None until it has ended and its model is saved."""
        return self._read()["training"] if self._file.exists() else None

    def keep_training(self, training: dict[str, Any]) -> None:
        """
        Note that the training has ended and its model is saved.

        Args:
            training: The record's "entries" about it, and the "fingerprints" of the loaded splits.
        """
        write_json(self._file, {**self._read(), "training": training})

    @property
    def predicted(self) -> dict[str, str]:
        """Test split to the fingerprint of the data that were predicted; empty where nothing is known about that."""
        return self._read().get("predicted", {}) if self._file.exists() else {}

    def keep_predicted(self, fingerprints: dict[str, str]) -> None:
        """
        Note what was predicted.

        Args:
            fingerprints: Test split to that of its data.
        """
        write_json(self._file, {**self._read(), "predicted": fingerprints})

    @property
    def is_finished(self) -> bool:
        """Whether the run has a record."""
        return (self.path / RESULT_FILE).exists()

    @property
    def record(self) -> Record | None:
        """The run's record, None until it has one."""
        return read_record(self.path / RESULT_FILE) if self.is_finished else None

    @property
    def _file(self) -> Path:
        return self.path / _RUN_FILE

    def _read(self) -> dict[str, Any]:
        try:
            return json.loads(self._file.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self._file}: not a JSON file ({error}); start over with --fresh") from error

"""The output folder of a run: what was asked for, how far it came, what it wrote, and who may go on with it."""

import json
import os
import reprlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from hf_vasso.results.failure import delete_failure
from hf_vasso.results.files import write_json
from hf_vasso.results.record import RESULT_FILE, Record, read_record, write_record
from hf_vasso.tasks.binding import without_folders
from hf_vasso.tasks.model_files import FINGERPRINT
from hf_vasso.tasks.own_files import ALL_RESULTS, OwnFiles, is_checkpoint
from hf_vasso.tasks.run_file import RunFile

__all__ = ["RunFolder"]


class RunFolder(OwnFiles):
    """
    A run's output folder.

    Args:
        path: The folder, which need not exist.
        prediction_files: Test split to the name of the file with its predictions.
        replaces_model: Whether the run begins from the model in this folder, so that its own takes the place of that.
    """

    def check_below(self, named: Mapping[str, str | None]) -> None:
        """
        Refuse to start over where that might delete what the run begins from.

        Args:
            named: Flag to the folder that it names.

        Raises:
            ValueError: One lies below this folder.
        """
        for flag, folder in named.items():
            if folder is not None and self.path.resolve() in Path(folder).resolve().parents:
                raise ValueError(
                    f"--fresh starts over in {self.path}, and --{flag} names {folder} in it; leave out --fresh, or "
                    "move that away"
                )

    def check_links(self) -> None:
        """
        Refuse links in a folder that is going to be pushed: what they lead to would be published.

        Raises:
            ValueError: There are some.
        """
        links = sorted(path.name for path in self.path.glob("*") if path.is_symlink() and path.is_file())
        if links:
            raise ValueError(
                f"{self.path} has links ({reprlib.repr(links)}), and push_to_hub might publish what they lead to; put "
                "files in their place, or delete them"
            )

    def check_arguments(self, arguments: dict[str, Any]) -> None:
        """
        Refuse to go on with a run in another way than it began.

        Args:
            arguments: What `binding_arguments` gives for the command.

        Raises:
            ValueError: The run in this folder began with other arguments, which the message names, or `run.json` is
                broken.
        """
        if not self.has_begun:
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
        before = self._run_before(fresh)
        run = RunFile(arguments, files=[]) if before is None else replace(before, files=self._owned(before))
        if run != before:
            self._write(run)
        self._held = run
        if fresh and before is not None:
            self._delete(name for name in self._files if name in self._results or is_checkpoint(name))
            self._write(RunFile(arguments, files=self._files))
        self._delete_unfinished()

    def clear_results(self) -> None:
        """Delete the results, which are about to come from another model."""
        self._delete(self._results)

    def clear_failure(self) -> None:
        """Delete an earlier attempt's `failure.json`; next to a record it means that the run failed afterwards."""
        delete_failure(self.path)

    def delete_checkpoints(self) -> None:
        """Delete the checkpoints that the run wrote."""
        if self.has_begun and any(map(is_checkpoint, os.listdir(self.path))):
            self._hold_as_read()
            self._delete(name for name in self._files if is_checkpoint(name))
            self._held = None

    def keep_metrics(self, stage: str, metrics: Mapping[str, float]) -> None:
        """
        Write `<stage>_results.json`, and add to `all_results.json`, as the Trainer's `save_metrics` does.

        Args:
            stage: "train", "eval" or "predict".
            metrics: Name to value.
        """
        name, path = f"{stage}_results.json", self.path / ALL_RESULTS
        self.claim([name, ALL_RESULTS])
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        write_json(self.path / name, dict(sorted(metrics.items())))
        write_json(path, dict(sorted({**before, **metrics}.items())))

    def keep_record(self, record: Record) -> None:
        """
        Write `result.json`; a `failure.json` of an attempt before goes.

        Args:
            record: What to write.
        """
        self.claim([RESULT_FILE])
        self.clear_failure()
        write_record(record, self.path)

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
        return self._read().arguments

    @property
    def training_arguments(self) -> dict[str, Any]:
        """
        The entries of `arguments` that only the command that trained can know: "num_processes" and
        "model_fingerprint"; without those that an earlier version did not record, and empty before the run begins.
        """
        arguments = self.arguments if self.has_begun else {}
        return {name: arguments[name] for name in ("num_processes", FINGERPRINT) if name in arguments}

    @property
    def training(self) -> dict[str, Any] | None:
        """What is known about the training, None until it has ended and its model is saved."""
        return self._read().training if self.has_begun else None

    @property
    def predicted(self) -> dict[str, str]:
        """Test split to the fingerprint of the data that were predicted; empty where nothing is known about that."""
        return self._read().predicted if self.has_begun else {}

    def keep_predicted(self, fingerprints: dict[str, str]) -> None:
        """
        Note what was predicted.

        Args:
            fingerprints: Test split to that of its data.
        """
        assert self._held is not None
        self._write(replace(self._held, predicted=fingerprints))

    @property
    def is_finished(self) -> bool:
        """Whether the run has a record."""
        return (self.path / RESULT_FILE).exists()

    @property
    def record(self) -> Record | None:
        """The run's record, None until it has one."""
        return read_record(self.path / RESULT_FILE) if self.is_finished else None

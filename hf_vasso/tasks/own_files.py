"""The files of a run's folder: which of them the run has written, and so may replace and delete."""

import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from hf_vasso.results.files import TEMPORARY, write_text
from hf_vasso.results.record import RESULT_FILE, RecordError, read_record
from hf_vasso.tasks.errors import UserError
from hf_vasso.tasks.folder_lock import hold_folder
from hf_vasso.tasks.model_files import is_model_file, is_weights_file
from hf_vasso.tasks.run_file import RUN_FILE, RunFile, read_run_file, write_run_file
from hf_vasso.training.checkpoints import CHECKPOINT, delete_checkpoint, is_renamed_from

__all__ = ["ALL_RESULTS", "MODEL_CARD", "OwnFiles", "is_checkpoint"]

MODEL_CARD = "README.md"
ALL_RESULTS = "all_results.json"

_STAGING = ".hf_vasso-model"
_STAGE_RESULTS = {f"{stage}_results.json" for stage in ("train", "eval", "predict")}
_MOST_NAMED = 10


class OwnFiles:
    """
    The files that a run has in its folder.

    `run.json` holds what a `RunFile` holds, among that the names of the files that the run has written. It deletes and
    replaces no others: where a file of another origin has a name that it would write, it is refused.

    One process writes: that which holds the folder.

    Args:
        path: The folder, which need not exist.
        prediction_files: Test split to the name of the file with its predictions.
        replaces_model: Whether the run begins from the model in this folder, so that its own takes the place of that.
    """

    def __init__(self, path: str, prediction_files: Mapping[str, str], replaces_model: bool = False) -> None:
        self.path = Path(path)
        self.prediction_files = {split: self.path / name for split, name in prediction_files.items()}
        """Test split to the file with its predictions."""
        self._replaces_model = replaces_model
        self._results = {RESULT_FILE, MODEL_CARD, ALL_RESULTS, *_STAGE_RESULTS, *prediction_files.values()}
        self._held: RunFile | None = None  # what the one process that writes knows, whatever becomes of the file

    @contextmanager
    def hold(self, patience: float = 0.0) -> Iterator[None]:
        """
        Hold the folder as the one process that writes in it.

        Args:
            patience: How many seconds to wait for another process to end.

        Raises:
            ValueError: Another process holds it.
        """
        with hold_folder(self.path, patience):
            try:
                yield
            finally:
                self._held = None

    def check_files(self, fresh: bool) -> None:
        """
        Refuse a folder with files of another origin under names that the run would write.

        Args:
            fresh: Whether the run starts over.

        Raises:
            ValueError: There are some, which the message names, or `run.json` is broken.
        """
        # In this order: what is deleted or written meanwhile by a run that holds the folder is no surprise.
        names = os.listdir(self.path) if self.path.exists() else []
        run = self._run_before(fresh)
        has_model = run is not None and run.training is not None and not fresh
        self._refuse_foreign(
            (name for name in names if self._writes(name) and not (has_model and _is_of_training(name))), run
        )

    @property
    def has_begun(self) -> bool:
        """Whether a run has begun in this folder."""
        return self._held is not None or os.path.lexists(self._file)

    def claim(self, names: Collection[str]) -> None:
        """
        Note that files of these names, which are about to be written, are the run's.

        Args:
            names: Names of files and folders in this folder.

        Raises:
            UserError: There are files of these names that the run did not write.
        """
        assert self._held is not None
        if not set(names) <= set(self._files):
            try:
                self._refuse_foreign(names, self._held)
            except ValueError as error:
                raise UserError(str(error)) from error
            self._write(replace(self._held, files=sorted({*self._owned(self._held), *names})))

    def write(self, name: str, text: str) -> None:
        """
        Write a text file of the run, atomically.

        Args:
            name: Its name.
            text: Its whole content.
        """
        self.claim([name])
        write_text(self.path / name, text)

    def delete(self) -> None:
        """Delete all that the run wrote but the lock."""
        if self.has_begun:
            self._hold_as_read()
            self._delete(self._files)
            self._delete_unfinished()
            self._file.unlink(missing_ok=True)
        self._held = None

    @property
    def staging(self) -> Path:
        """The folder in which the model is saved before `keep_model` puts it in the place of the one before."""
        return self.path / _STAGING

    def stage_model(self) -> None:
        """Make room for a model that is about to be saved."""
        self.claim([_STAGING])

    def keep_model(self, training: dict[str, Any] | None) -> None:
        """
        Put the model that is saved in the staging folder in its place. Only then the one before is deleted, and if
        that is interrupted, the next command goes on with it.

        Args:
            training: The record's "entries" about the training that has ended, and the "fingerprints" of the loaded
                splits; None where there was none.
        """
        assert self._held is not None
        names = [path.name for path in self.staging.iterdir()] if self.staging.is_dir() else []
        for path in self.staging.rglob("*"):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
        replaced = [name for name in os.listdir(self.path) if self._replaces_model and is_model_file(name)]
        owned = {*self._files, *(name for name in replaced if name in names or is_weights_file(name))}
        # PEFT writes a card of its own.
        placing = sorted(set(names) - {MODEL_CARD})
        self._write(replace(self._held, training=training, placing=placing, files=sorted(owned)))
        self._place_model()

    def finish_model(self) -> None:
        """Move the files of a saved model to their places, where a command was killed before it had done so."""
        run = self._run_before(fresh=True)
        if run is not None and run.placing:
            self._write(replace(run, files=self._owned(run)))
            self._place_model()

    @property
    def _file(self) -> Path:
        return self.path / RUN_FILE

    @property
    def _files(self) -> list[str]:
        assert self._held is not None and self._held.files is not None
        return self._held.files

    def _read(self) -> RunFile:
        if self._held is not None:
            return self._held
        try:
            return read_run_file(self._file)
        except RecordError as error:
            raise ValueError(f"{error}; start over with --fresh, or choose another --output_dir") from error

    def _run_before(self, fresh: bool) -> RunFile | None:
        """What is known of the run before; one that starts over needs no more than its record."""
        if not self.has_begun:
            return None
        try:
            return self._read()
        except ValueError:
            if not fresh:
                raise
        if _is_record(self.path / RESULT_FILE):
            return RunFile({})
        raise ValueError(
            f"{self._file} is not what a run writes, and no {RESULT_FILE} of one is beside it; move it away, or "
            "choose another --output_dir"
        )

    def _write(self, run: RunFile) -> None:
        self._held = run
        write_run_file(run, self.path)

    def _hold_as_read(self) -> None:
        run = self._run_before(fresh=True)
        assert run is not None
        self._held = replace(run, files=self._owned(run))

    def _writes(self, name: str) -> bool:
        """Whether a run of this command writes a file or folder of this name."""
        return name in {RUN_FILE, _STAGING, *self._results} or _is_of_training(name)

    def _owned(self, run: RunFile) -> list[str]:
        """The names of what a run has written and what is still there."""
        names = os.listdir(self.path)
        if run.files is not None:
            return sorted(name for name in names if name in run.files or is_renamed_from(name, run.files))
        # An earlier version kept no list, and replaced what it found.
        return sorted(name for name in names if name in self._results or _is_of_training(name))

    def _is_foreign(self, name: str, run: RunFile | None) -> bool:
        path = self.path / name
        if not os.path.lexists(path):
            return False
        if (name in self._results or is_model_file(name)) and path.is_dir():  # no run makes such a folder
            return True
        if run is not None and (name == RUN_FILE or name in self._owned(run)):
            return False
        return not (self._replaces_model and is_model_file(name))

    def _refuse_foreign(self, names: Iterable[str], run: RunFile | None) -> None:
        foreign = sorted(name for name in names if self._is_foreign(name, run))
        if foreign:
            more = f" and {len(foreign) - _MOST_NAMED} more" if len(foreign) > _MOST_NAMED else ""
            raise ValueError(
                f"{self.path} holds what no run in it wrote and this one would replace: "
                f"{', '.join(foreign[:_MOST_NAMED])}{more}; choose another --output_dir, or move that away"
            )

    def _delete(self, names: Iterable[str]) -> None:
        """Delete those of some files and folders that the run has written, whatever else somebody has listed."""
        doomed = {name for name in set(names) & set(self._files) if self._writes(name)}
        for name in doomed:
            if not self._is_foreign(name, self._held):
                _remove(self.path / name)
        if doomed:
            assert self._held is not None
            self._write(replace(self._held, files=[name for name in self._files if name not in doomed]))

    def _delete_unfinished(self) -> None:
        """Delete what a run that was killed was just writing."""
        self._delete([_STAGING])
        for path in self.path.glob(f"{TEMPORARY}*"):
            if path.is_file():
                path.unlink(missing_ok=True)

    def _place_model(self) -> None:
        assert self._held is not None
        placing = self._held.placing
        left = [name for name in placing if os.path.lexists(self.staging / name)]  # others are in their place
        self.claim(left)
        for name in left:
            if (self.path / name).is_dir():
                _remove(self.path / name)
            os.replace(self.staging / name, self.path / name)
        kept = {_STAGING, *placing, *self._results}
        if placing:
            self._delete(name for name in self._files if name not in kept and not is_checkpoint(name))
        self._delete([_STAGING])
        self._write(replace(self._held, placing=[]))


def is_checkpoint(name: str) -> bool:
    """Whether a folder of this name is a checkpoint, or one that is to be deleted."""
    return CHECKPOINT.fullmatch(name) is not None


def _is_of_training(name: str) -> bool:
    return is_model_file(name) or is_checkpoint(name)


def _is_record(path: Path) -> bool:
    try:
        read_record(path)
    except RecordError:
        return False
    return True


def _remove(path: Path) -> None:
    if is_checkpoint(path.name):
        delete_checkpoint(path)
    elif path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)

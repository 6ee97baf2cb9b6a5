"""What is kept of a run that failed: `failure.json` in its folder, deleted when it is begun again or ends well."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

from hf_vasso.results.files import write_json
from hf_vasso.results.reading import NAME, SEED, RecordError, read_entries

__all__ = ["FAILURE_FILE", "Failure", "delete_failure", "read_failure", "write_failure"]

FAILURE_FILE = "failure.json"
_SCHEMA = 1


@dataclass(frozen=True)
class Failure:
    """
    A run that ended without a record.

    Args:
        task_label: What reports call the task with its data.
        model: The model's hub id, or the base name of its folder.
        label: What reports call the method.
        seed: The seed of the run.
        error: What went wrong, in words: the message of a user's mistake, the last line of a traceback, or the signal
            that ended the process.
        traceback: The whole traceback, empty for a user's mistake and for a signal.
        schema: Version of this layout.
    """

    task_label: str
    model: str
    label: str
    seed: int
    error: str
    traceback: str = ""
    schema: int = _SCHEMA


def write_failure(failure: Failure, folder: Path) -> None:
    """
    Write `failure.json` atomically, unless a file of that name is none that this package wrote.

    Args:
        failure: What to write.
        folder: The run's output folder.
    """
    path = folder / FAILURE_FILE
    if not os.path.lexists(path) or _is_failure(path):
        write_json(path, asdict(failure))


def delete_failure(folder: Path) -> None:
    """
    Delete `failure.json`, if there is one that this package wrote.

    Args:
        folder: The run's output folder.
    """
    path = folder / FAILURE_FILE
    if os.path.lexists(path) and _is_failure(path):
        path.unlink(missing_ok=True)


def read_failure(path: Path) -> Failure:
    """
    Read and check a `failure.json`.

    Args:
        path: The file.

    Returns:
        What is kept of the run.

    Raises:
        RecordError: The file is too large, broken, of another schema, or an entry is missing, unknown or wrong.
    """
    names = dict.fromkeys(("task_label", "model", "label"), NAME)
    return Failure(**read_entries(path, Failure, _SCHEMA, {**names, "seed": SEED}, "delete it or repeat the run"))


def _is_failure(path: Path) -> bool:
    try:
        read_failure(path)
    except RecordError:
        return False
    return True

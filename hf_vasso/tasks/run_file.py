"""What stands in a run's `run.json`, and how it is checked when it is read."""

import json
import reprlib
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_json
from hf_vasso.results.reading import COUNT, NAME, RecordError, is_dict_of, is_number, read_text

__all__ = ["RUN_FILE", "RunFile", "read_run_file", "write_run_file"]

RUN_FILE = "run.json"
_OF_TRAINING = {"train_examples", "cost", "history", "environment"}


@dataclass(frozen=True)
class RunFile:
    """
    What is known about a run.

    Args:
        arguments: The flags with which it began.
        training: Once it has trained, the record's "entries" about that and the "fingerprints" of the loaded splits.
        predicted: Test split to the fingerprint of the data that were predicted.
        files: The names of the files and folders in its folder that it has written, or is about to write; None where
            an earlier version has begun the run.
        placing: The names of the files of a model that is saved in the staging folder and whole, until all of them
            have been moved to their place.
    """

    arguments: dict[str, Any]
    training: dict[str, Any] | None = None
    predicted: dict[str, str] = field(default_factory=dict)
    files: list[str] | None = None
    placing: list[str] = field(default_factory=list)


def write_run_file(run: RunFile, folder: Path) -> None:
    """
    Write `run.json` atomically.

    Args:
        run: What to write.
        folder: The run's folder.
    """
    write_json(folder / RUN_FILE, asdict(run))


def read_run_file(path: Path) -> RunFile:
    """
    Read and check a `run.json`.

    Args:
        path: The file.

    Returns:
        What is known about the run.

    Raises:
        RecordError: The file cannot be read, is broken, or an entry is missing, unknown or wrong.
    """
    try:
        content = json.loads(read_text(path))
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise RecordError(path, f"not a JSON file ({error})") from error
    if not isinstance(content, dict):
        raise RecordError(path, f"must be a JSON object, got {reprlib.repr(content)}")
    for name in content:
        if name not in _RULES:
            raise RecordError(path, f"the entry {reprlib.repr(name)} is unknown to this version of hf_vasso")
    for name in ("arguments", "training"):
        if name not in content:
            raise RecordError(path, f"the entry {name!r} is missing")
    for name, value in content.items():
        words, holds = _RULES[name]
        if not holds(value):
            raise RecordError(path, f"{name} must be {words}, got {reprlib.repr(value)}")
    return RunFile(**content)


def _is_training(value: Any) -> bool:
    return value is None or (
        isinstance(value, dict)
        and value.keys() == {"entries", "fingerprints"}
        and is_dict_of(value["fingerprints"], NAME.holds)
        and is_dict_of(value["entries"], lambda entry: True)
        and {"train_examples", "cost"} <= value["entries"].keys() <= _OF_TRAINING
        and COUNT.holds(value["entries"]["train_examples"])
        and is_dict_of(value["entries"]["cost"], is_number)
        and is_dict_of(value["entries"].get("history", {}), lambda column: isinstance(column, list))
        and _is_environment(value["entries"].get("environment"))
    )


def _is_environment(value: Any) -> bool:
    return value is None or (
        is_dict_of(value, lambda entry: True)
        and NAME.holds(value.get("device"))
        and is_dict_of(value.get("packages"), NAME.holds)
    )


def _is_list_of_names(value: Any) -> bool:
    """What stands there is moved and deleted, so that it must not lead out of the folder."""
    return isinstance(value, list) and all(
        isinstance(name, str) and name not in ("", ".", "..") and not {"/", "\\", "\0"} & set(name) for name in value
    )


_RULES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "arguments": ("flag to value", lambda value: is_dict_of(value, lambda entry: True)),
    "training": ('null, or an object of "entries" and "fingerprints"', _is_training),
    "predicted": ("split to fingerprint", lambda value: is_dict_of(value, NAME.holds)),
    "files": ("names of files, or null", lambda value: value is None or _is_list_of_names(value)),
    "placing": ("names of files", _is_list_of_names),
}
assert _RULES.keys() == {entry.name for entry in fields(RunFile)}

"""Load a task's examples, from the Hugging Face hub or from the user's own files."""

import hashlib
import json
import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import datasets

from hf_vasso.results.words import listed
from hf_vasso.spelling import unknown_name
from hf_vasso.tasks.data_files import SUFFIXES, cached, find_file, place, rows
from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.glue.table import Task
from hf_vasso.tasks.hub import load_from_hub

__all__ = ["TaskData", "fingerprint", "joint_fingerprint", "load_task", "task_features"]

_LARGEST_IDX = 2**31 - 1  # what an int32 holds, as the column is on the hub
_MOST_DIGITS = 20
_HIDDEN = -1  # the label of test examples on the hub, for classes and numbers alike


@dataclass(frozen=True)
class TaskData:
    """
    The examples of a task.

    Args:
        splits: Split name to examples: the task's text columns, `label` and `idx`.
        source: The hub id, or "local files".
        fingerprints: Split name to what is equal for equal texts and labels, wherever they came from.
    """

    splits: datasets.DatasetDict
    source: str
    fingerprints: dict[str, str]


def load_task(task: Task, data_dir: str | None = None, splits: Sequence[str] | None = None) -> TaskData:
    """
    Load the examples of a task.

    Args:
        task: The task, from `get_task`.
        data_dir: A folder with `<task>/<split>` as .jsonl, .jsonl.gz, .csv or .parquet; None loads from the hub.
            Files hold the task's text columns, `label` (a number or the label's name) and, if wanted, `idx`, which
            in a test split counts the rows from 0. A test split needs no labels.
        splits: The splits to load; None loads all that the task has.

    Returns:
        The examples, where they came from and their fingerprint.

    Raises:
        DataError: A split, column or label is missing or wrong, a file is broken, or no data can be reached.
    """
    splits = task.splits if splits is None else splits
    for split in splits:
        if split not in task.splits:
            raise DataError(unknown_name(f"split of task {task.name}", split, task.splits))
    if data_dir is None:
        loaded, source = _load_from_hub(task, splits), str(task.hub_id)
    else:
        loaded, source = _load_from_files(task, Path(data_dir), splits), "local files"
    return TaskData(loaded, source, {str(name): fingerprint(task, examples) for name, examples in loaded.items()})


def task_features(task: Task) -> datasets.Features:
    """The columns of a task's examples and their types, as on the hub."""
    text = {column: datasets.Value("string") for column in task.columns}
    label = datasets.Value("float32") if task.is_regression else datasets.ClassLabel(names=list(task.label_names))
    return datasets.Features({**text, "label": label, "idx": datasets.Value("int32")})


def fingerprint(task: Task, examples: datasets.Dataset) -> str:
    """
    Hash the texts and labels of a split.

    `idx` is left out, so the same examples have one fingerprint from the hub and from files that do not number them.

    Args:
        task: The task to which the examples belong.
        examples: The split.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for batch in examples.select_columns([*task.columns, "label"]).iter(batch_size=1000):
        digest.update(json.dumps(batch, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def joint_fingerprint(task: Task, fingerprints: Mapping[str, str]) -> str:
    """
    The fingerprint of what a run was trained and judged on.

    Args:
        task: The task.
        fingerprints: Split name to fingerprint. Test splits count only where there are no others.

    Returns:
        16 hexadecimal digits.
    """
    decisive = {name: value for name, value in fingerprints.items() if name not in task.test_splits}
    content = json.dumps(decisive or dict(fingerprints), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _load_from_hub(task: Task, splits: Sequence[str]) -> datasets.DatasetDict:
    files = ", ".join(f"{task.name}/{split}" for split in splits)
    remedy = f"pass --data_dir with a folder that holds {files}, each as one file ({', '.join(SUFFIXES)})"
    if task.hub_id is None:
        raise DataError(f"task {task.name} is not on the hub; {remedy}")
    return load_from_hub(task.hub_id, task.name, splits, what=f"task {task.name}", remedy=remedy)


def _load_from_files(task: Task, data_dir: Path, splits: Sequence[str]) -> datasets.DatasetDict:
    found = {split: find_file(data_dir / task.name, split) for split in splits}
    return datasets.DatasetDict(
        {
            split: cached(partial(_examples, task, split), task_features(task), split, [path])
            for split, path in found.items()
        }
    )


def _examples(task: Task, split: str, paths: Sequence[Path], state: Any) -> Iterator[dict[str, Any]]:
    """The checked examples of a file."""
    (path,) = paths
    position = 0
    for number, row in rows(path):
        try:
            yield _example(task, split, row, position)
        except ValueError as error:
            raise DataError(f"{place(path, number)}: {error}") from error
        position += 1
    if position == 0:
        raise DataError(f"{path} is empty; it must hold the {split} examples of task {task.name}")


def _example(task: Task, split: str, row: dict[str, Any], position: int) -> dict[str, Any]:
    if split in task.test_splits and row.get("label") in (None, ""):
        row = {**row, "label": _HIDDEN}
    for column in (*task.columns, "label"):
        if column not in row:
            raise ValueError(
                f"column {column!r} of task {task.name} is missing; the row has {listed(map(_name, row))}"
            )
    for column in task.columns:
        if not isinstance(row[column], str):
            raise ValueError(f"column {column!r} must hold text, got {reprlib.repr(row[column])}")
    texts = {column: row[column] for column in task.columns}
    return {**texts, "label": _label(task, split, row["label"]), "idx": _idx(task, split, row, position)}


def _label(task: Task, split: str, value: Any) -> int | float:
    return _number_label(task, split, value) if task.is_regression else _class_label(task, split, value)


def _number_label(task: Task, split: str, value: Any) -> float:
    number = _number(value)
    if number is None or not math.isfinite(number):
        raise ValueError(f"the label of task {task.name} must be a finite number, got {reprlib.repr(value)}")
    low, high = task.label_range
    hidden = split in task.test_splits and number == _HIDDEN
    if not hidden and not low <= number <= high:
        raise ValueError(
            f"the label of task {task.name} must be from {low:g} to {high:g}, got {reprlib.repr(value)}; "
            "-1 (hidden) stands only in a test split"
        )
    return number


def _number(value: Any) -> float | None:
    """A number, or the one that a text spells in digits alone: Python also takes True, "1_0" and digits of others."""
    if isinstance(value, bool) or (isinstance(value, str) and not (value.isascii() and "_" not in value)):
        return None
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return None


def _name(column: str) -> str:
    """A column's name, cut where it is long."""
    return reprlib.repr(column)[1:-1]


def _class_label(task: Task, split: str, value: Any) -> int:
    if value in task.label_names:
        return task.label_names.index(value)
    label = int(value) if isinstance(value, str) and _is_digits(value) else value
    hidden = split in task.test_splits and label == _HIDDEN
    # JSON's true is an int to Python, but it is no label.
    if type(label) is int and (hidden or 0 <= label < task.num_labels):
        return label
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(task.label_names))
    raise ValueError(
        f"unknown label {reprlib.repr(value)}; give {known}, as number or name, and -1 (hidden) only in a test split"
    )


def _is_digits(text: str) -> bool:
    """Whether a text is a whole number that fits."""
    return text.isascii() and text.removeprefix("-").isdecimal() and len(text) <= _MOST_DIGITS


def _idx(task: Task, split: str, row: dict[str, Any], position: int) -> int:
    value = row.get("idx", position)
    if not _is_whole(value):
        raise ValueError(
            f"column 'idx' must hold integers, got {reprlib.repr(value)}; leave it out to number the rows"
        )
    idx = int(value)
    if abs(idx) > _LARGEST_IDX:
        raise ValueError(
            f"column 'idx' must hold integers below 2^31, got {reprlib.repr(value)}; number the rows anew"
        )
    if split in task.test_splits and idx != position:
        raise ValueError(
            f"idx must be {position} here, as predictions are numbered in the order of a test split, got {idx}; "
            "sort the file by idx, beginning with 0, and leave nothing out"
        )
    return idx


def _is_whole(value: Any) -> bool:
    """Whether a value is a whole number: an integer, as text in CSV, or as a float where a column has gaps."""
    if isinstance(value, str):
        return _is_digits(value)
    return type(value) is int or (isinstance(value, float) and value.is_integer())

"""Load a task's examples, from the Hugging Face hub or from the user's own files."""

import csv
import gzip
import hashlib
import json
import math
import queue
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import datasets.config
import pyarrow.parquet
from datasets.exceptions import DatasetGenerationError
from huggingface_hub import HfApi, constants

from hf_vasso.spelling import unknown_name
from hf_vasso.tasks.glue import Task

__all__ = ["DataError", "TaskData", "fingerprint", "joint_fingerprint", "load_task", "task_features"]

_HUB_PATIENCE_SECONDS = 5.0


class DataError(ValueError):
    """Data that cannot be used: the message names the file, the line and the remedy."""


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
            Files hold the task's text columns, `label` (a number or the label's name) and, if wanted, `idx`.
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


# The hub


def _load_from_hub(task: Task, splits: Sequence[str]) -> datasets.DatasetDict:
    if task.hub_id is None:
        raise DataError(f"task {task.name} is not on the hub; {_data_dir_remedy(task, splits)}")
    # Without the network the loader answers at once, from its cache if it can; with a silent one it retries for long.
    failure = None if datasets.config.HF_HUB_OFFLINE else _hub_failure(task.hub_id)
    if failure is None:
        try:
            loaded = datasets.load_dataset(task.hub_id, task.name)
            return datasets.DatasetDict({split: loaded[split] for split in splits})
        except Exception as error:  # the loader's exceptions differ by version and have no common base
            failure = _in_words(error)
    raise DataError(
        f"task {task.name} has no data: {task.hub_id} cannot be loaded from the hub ({failure}). Either make "
        f"{constants.ENDPOINT} reachable (HF_HUB_OFFLINE=1 uses only what was downloaded before), "
        f"or {_data_dir_remedy(task, splits)}"
    )


def _hub_failure(hub_id: str) -> str | None:
    """
    Ask the hub one question; return None if it answers in time, else what went wrong.

    A timeout of the HTTP client counts anew for every address and leaves out name resolution, so a thread bounds it.
    """
    failures: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def ask() -> None:
        try:
            HfApi().dataset_info(hub_id, timeout=_HUB_PATIENCE_SECONDS)
            failures.put(None)
        except Exception as error:  # from requests or httpx, by the version of huggingface_hub
            failures.put(_in_words(error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        return failures.get(timeout=_HUB_PATIENCE_SECONDS)
    except queue.Empty:
        return f"no answer within {_HUB_PATIENCE_SECONDS:g} s"


def _in_words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _data_dir_remedy(task: Task, splits: Sequence[str]) -> str:
    files = ", ".join(f"{task.name}/{split}" for split in splits)
    return f"pass --data_dir with a folder that holds {files}, each as one file ({', '.join(_READERS)})"


# Files


def _load_from_files(task: Task, data_dir: Path, splits: Sequence[str]) -> datasets.DatasetDict:
    paths = {split: _find_file(data_dir / task.name, split) for split in splits}
    return datasets.DatasetDict({split: _read_split(task, split, path) for split, path in paths.items()})


def _find_file(folder: Path, split: str) -> Path:
    looked_for = [folder / (split + suffix) for suffix in _READERS]
    found = [path for path in looked_for if path.is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has {_names(found)} for one split; keep the one that is meant")
    if not found:
        existing = sorted(folder.iterdir()) if folder.is_dir() else []
        raise DataError(
            f"{folder} has no data for split {split}: looked for {_names(looked_for)}, "
            f"{f'found only {_names(existing)}' if existing else 'but the folder is missing or empty'}; "
            "name the file after the split, or name another --data_dir"
        )
    return found[0]


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _read_split(task: Task, split: str, path: Path) -> datasets.Dataset:
    """Parse a file, or take it from the cache of `datasets` if it is the same as before."""
    state = path.stat()
    try:
        return datasets.Dataset.from_generator(
            _examples,
            gen_kwargs={
                "task": task,
                "split": split,
                "path": path.absolute(),
                "state": (state.st_size, state.st_mtime_ns),
            },
            features=task_features(task),
            split=datasets.NamedSplit(split),
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise


def _examples(task: Task, split: str, path: Path, state: tuple[int, int]) -> Iterator[dict[str, Any]]:
    """The checked examples of a file; `state`, its size and time, tells the cache whether it is still the same."""
    idx = 0
    for number, row in _rows(path):
        try:
            yield _example(task, split, row, default_idx=idx)
        except ValueError as error:
            raise DataError(f"{_place(path, number)}: {error}") from error
        idx += 1
    if idx == 0:
        raise DataError(f"{path} is empty; it must hold the {split} examples of task {task.name}")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Each row with the number of its (last) line, whatever the format."""
    number = 0
    try:
        for number, row in _READERS["".join(path.suffixes)](path):
            yield number, row
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise DataError(f"{_place(path, number + 1)}: {error}; mend the file or fetch it again") from error


def _place(path: Path, number: int) -> str:
    return f"{path}, {'row' if path.suffix == '.parquet' else 'line'} {number}"


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                raise ValueError(f"broken JSON at column {error.colno} ({error.msg})") from error
            if not isinstance(row, dict):
                raise ValueError(f"each line must be a JSON object, got {row!r}")
            yield number, row


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open("rb") as lines:
        # Decoded line by line, so that a wrong byte is reported with its own line; utf-8-sig drops Excel's mark.
        reader = csv.DictReader((line.decode("utf-8-sig") for line in lines), strict=True)
        for row in reader:
            # DictReader collects surplus cells under the key None and fills missing ones with the value None.
            if None in row or None in row.values():
                raise ValueError("the row has more or fewer cells than the header; quote texts that hold commas")
            yield reader.line_num, row


def _parquet_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with pyarrow.parquet.ParquetFile(path) as file:
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row


_READERS: dict[str, Callable[[Path], Iterator[tuple[int, dict[str, Any]]]]] = {
    ".jsonl": _json_rows,
    ".jsonl.gz": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}


# One row


def _example(task: Task, split: str, row: dict[str, Any], default_idx: int) -> dict[str, Any]:
    for column in (*task.columns, "label"):
        if column not in row:
            raise ValueError(f"column {column!r} of task {task.name} is missing; the row has {', '.join(row)}")
    for column in task.columns:
        if not isinstance(row[column], str):
            raise ValueError(f"column {column!r} must hold text, got {row[column]!r}")
    texts = {column: row[column] for column in task.columns}
    return {**texts, "label": _label(task, split, row["label"]), "idx": _idx(row.get("idx", default_idx))}


def _label(task: Task, split: str, value: Any) -> int | float:
    return _number_label(task, value) if task.is_regression else _class_label(task, split, value)


def _number_label(task: Task, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise ValueError(f"the label of task {task.name} must be a finite number, got {value!r}")
    return number


def _class_label(task: Task, split: str, value: Any) -> int:
    if value in task.label_names:
        return task.label_names.index(value)
    label = int(value) if isinstance(value, str) and value.removeprefix("-").isdecimal() else value
    hidden = split in task.test_splits and label == -1
    # JSON's true is an int to Python, but it is no label.
    if type(label) is int and (hidden or 0 <= label < task.num_labels):
        return label
    known = ", ".join(f"{number} ({name})" for number, name in enumerate(task.label_names))
    raise ValueError(f"unknown label {value!r}; give {known}, as number or name, and -1 (hidden) only in a test split")


def _idx(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        raise ValueError(f"column 'idx' must hold integers, got {value!r}; leave it out to number the rows") from None

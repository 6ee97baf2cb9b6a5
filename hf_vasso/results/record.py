"""The record of a run: what `result.json` holds, how it is written and how it is checked when it is read."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from hf_vasso.results.files import write_json
from hf_vasso.spelling import unknown_name

__all__ = [
    "RESULT_FILE",
    "SCHEMA",
    "Record",
    "RecordError",
    "describe_method",
    "display_name",
    "read_record",
    "write_record",
]

RESULT_FILE = "result.json"
SCHEMA = 2

_OPTIMIZERS = {"adamw": "AdamW", "adafactor": "Adafactor", "adagrad": "Adagrad", "sgd": "SGD", "rmsprop": "RMSprop"}


class RecordError(ValueError):
    """A record that cannot be used: the message names the file, the fact and the remedy."""


@dataclass(frozen=True)
class Record:
    """
    One finished run. Paths in it are base names, so that records can be committed.

    Args:
        task: The task's name.
        task_label: What reports call the task with its data: `--task_label`, else the task's name.
        model: The model's hub id, or the base name of its folder.
        label: What reports call the run: `--method_label`, else the method's name.
        method: Its "name", "numbers" and "paper" ("title", "url", "bibtex", or None).
        seed: The seed of the run.
        metrics: Metric name to value, only what repeats exactly; the task's headline metric is the first. A
            classification also has "loss" and "expected_calibration_error". A task with several validation splits has
            the names of the first one bare and those of another with its suffix: `accuracy` and `accuracy_mismatched`.
            NaN where a metric is not finite; the file then has null.
        directions: Metric name to "higher" or "lower", whichever is better.
        eval_examples: Examples in the (first) validation split.
        train_examples: Examples trained on.
        data: "source", and the "fingerprint" of the loaded splits.
        cost: "train_seconds" (wall clock inside training, over all interruptions), "seconds_per_step",
            "forward_passes" and "backward_passes" (micro-batches per process), "steps", "peak_memory_bytes" (since the
            training began or was continued: the GPU's tensors, without one the whole process; where the system cannot
            start that anew, as on macOS, since the process began).
        arguments: The flags that change the training or its evaluation.
        environment: "device", "threads" (of the CPU, per process), "packages" and "commit".
        collapsed: Whether the model gives one answer for all examples of the (first) validation split, or none that is
            a number; None where it was not evaluated.
        history: What was logged along the training, as columns of equal length: "step" and those of "loss" and
            "sharpness/gap" that there are, None where a step has no value.
        status: "finished".
        schema: Version of this layout.
    """

    task: str
    task_label: str
    model: str
    label: str
    method: dict[str, Any]
    seed: int
    metrics: dict[str, float]
    directions: dict[str, str]
    eval_examples: int
    train_examples: int
    data: dict[str, str]
    cost: dict[str, float]
    arguments: dict[str, Any]
    environment: dict[str, Any]
    collapsed: bool | None = None
    history: dict[str, list[float | None]] = field(default_factory=dict)
    status: str = "finished"
    schema: int = SCHEMA


def display_name(label: str, optimizer: str) -> str:
    """
    What tables call a run.

    Args:
        label: The run's label.
        optimizer: The `optim` of its arguments.

    Returns:
        The label; a run without a method goes by the name of its optimizer.

    Example:
        >>> display_name("none", "adamw_torch_fused")
        'AdamW'
    """
    return _OPTIMIZERS.get(optimizer.split("_")[0], optimizer) if label == "none" else label


def describe_method(label: str, numbers: Mapping[str, float], optimizer: str) -> str:
    """
    What tables call a run, with the numbers of its method.

    Args:
        label: The run's label.
        numbers: The method's numbers.
        optimizer: The `optim` of its arguments.

    Returns:
        The name, and the numbers if there is a method.

    Example:
        >>> describe_method("vasso", {"rho": 0.05, "theta": 0.4}, "adamw_torch")
        'vasso (rho 0.05, theta 0.4)'
    """
    name = display_name(label, optimizer)
    if name != label:
        return name
    return f"{name} ({', '.join(f'{key} {value:g}' for key, value in numbers.items())})"


def write_record(record: Record, folder: Path) -> None:
    """
    Write `result.json` atomically.

    Args:
        record: What to write.
        folder: The run's output folder.
    """
    content = asdict(record)
    write_json(folder / RESULT_FILE, {"schema": content.pop("schema"), **content})


def read_record(path: Path) -> Record:
    """
    Read and check a `result.json`.

    Args:
        path: The file.

    Returns:
        The record.

    Raises:
        RecordError: The file is broken, of another schema, or a key is missing, unknown or of a wrong type.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path}: not a JSON file ({error}); delete it and repeat the run") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path}: a record is a JSON object, got {type(content).__name__}; repeat the run")
    if content.get("schema") != SCHEMA:
        raise RecordError(
            f"{path}: this version reads schema {SCHEMA}, got {content.get('schema')!r}; "
            "read it with the version of hf_vasso that wrote it, or repeat the run"
        )
    _check_keys(path, content)
    return Record(**content)


def _check_keys(path: Path, content: dict[str, Any]) -> None:
    known = {entry.name: entry for entry in fields(Record)}
    for key in content:
        if key not in known:
            raise RecordError(f"{path}: {unknown_name('key', key, known)}")
    for key, entry in known.items():
        if key not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise RecordError(f"{path}: the key {key!r} is missing; repeat the run")
        types = _types(entry.type)
        if key in content and not isinstance(content[key], types):
            names = " or ".join(kind.__name__ for kind in types)
            raise RecordError(f"{path}: {key} must be of type {names}, got {content[key]!r}")


def _types(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation such as `dict[str, Any]` or `bool | None` allows."""
    if isinstance(annotation, UnionType):
        return get_args(annotation)
    return (get_origin(annotation) or annotation,)

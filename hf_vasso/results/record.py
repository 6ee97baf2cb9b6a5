"""The record of a run: what `result.json` holds, how it is written and how it is checked when it is read."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_json
from hf_vasso.results.method_labels import BASE
from hf_vasso.results.metric_ranges import metric_fault
from hf_vasso.results.reading import (
    COUNT,
    NAME,
    NUMBER_OR_NULL,
    SEED,
    TEXT,
    RecordError,
    Rule,
    finite_or_none,
    is_dict_of,
    is_number,
    read_entries,
)

__all__ = [
    "COST",
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
_MOST_ROWS = 1000
_MOST_COST = 1e18  # nothing takes as many seconds, passes or bytes

_OPTIMIZERS = {"adamw": "AdamW", "adafactor": "Adafactor", "adagrad": "Adagrad", "sgd": "SGD", "rmsprop": "RMSprop"}


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
            start that anew, as on macOS, since the process began). A translation also has "padding_share" (of its
            batches, in [0, 1)) and "tokens_per_second" (sources and targets without padding, each batch once).
        arguments: The flags that change the training or its evaluation; "num_processes"; and "model_fingerprint", that
            of the files of a model from a folder, None for one from the hub.
        environment: "device", "threads" (of the CPU, per process), "packages" and "commit".
        given: The names of those arguments that have another value than their default; empty where an earlier version
            wrote the record.
        collapsed: Whether the model gives one answer for all examples of the (first) validation split, or none that is
            a number; None where it was not evaluated.
        majority: What the most frequent label scores as the answer to all examples, by the names of `metrics`;
            empty for a regression and where nothing was evaluated.
        signatures: How metrics were computed, as sacreBLEU says it, by the names of `metrics`: those of the validation
            part are made in the same way. That of "bleu" names the tokenizer.
        history: What was logged along the training, as columns of equal length: "step" and those of "loss" and
            "sharpness/gap" that there are, None where a step has no value. The file keeps at most 1,000 of the steps,
            evenly spaced, the last one among them.
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
    given: list[str] = field(default_factory=list)
    collapsed: bool | None = None
    majority: dict[str, float] = field(default_factory=dict)
    signatures: dict[str, str] = field(default_factory=dict)
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
    return _OPTIMIZERS.get(optimizer.split("_")[0], optimizer) if label == BASE else label


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
    Write `result.json` atomically. A metric or logged value that is not finite becomes null, and a long history thin.

    Args:
        record: What to write.
        folder: The run's output folder.
    """
    content = asdict(record)
    content["metrics"] = {name: finite_or_none(value) for name, value in record.metrics.items()}
    content["history"] = _finite_columns(_thinned(record.history))
    write_json(folder / RESULT_FILE, {"schema": content.pop("schema"), **content})


def read_record(path: Path) -> Record:
    """
    Read and check a `result.json`: who uses a record may trust the structure of all its entries.

    Args:
        path: The file.

    Returns:
        The record. A metric that is not finite, which the file has as null, is NaN.

    Raises:
        RecordError: The file is too large, broken, of another schema, or an entry is missing, unknown or wrong.
    """
    content = read_entries(path, Record, SCHEMA, _RULES)
    if content["directions"].keys() != content["metrics"].keys():
        raise RecordError(path, "directions must name the same metrics as metrics does; repeat the run with --fresh")
    measured = [(name, value, content["directions"][name]) for name, value in content["metrics"].items()]
    of_majority = [(name, value, None) for name, value in content.get("majority", {}).items()]
    for name, value, direction in (*measured, *of_majority):
        if fault := metric_fault(name, value, direction):
            raise RecordError(path, f"{fault}; mend the file if you know what was measured, or repeat the run")
    content["metrics"] = {name: _number_or_nan(value) for name, value in content["metrics"].items()}
    return Record(**content)


def _number_or_nan(value: float | None) -> float:
    return math.nan if value is None else value + 0.0  # a float, and 0.0 for -0.0


def _thinned(history: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    """Whatever is logged, the file stays far below the size that is read."""
    last = max(map(len, history.values()), default=0) - 1
    if last < _MOST_ROWS:
        return history
    kept = [round(number * last / (_MOST_ROWS - 1)) for number in range(_MOST_ROWS)]
    return {name: [column[row] for row in kept] for name, column in history.items()}


def _finite_columns(history: dict[str, list[float | None]]) -> dict[str, list[float | None]]:
    return {name: [finite_or_none(value) for value in column] for name, column in history.items()}


def _is_method(method: dict[str, Any]) -> bool:
    return (
        method.keys() == {"name", "numbers", "paper"}
        and NAME.holds(method["name"])
        and is_dict_of(method["numbers"], is_number)
        and (method["paper"] is None or _is_paper(method["paper"]))
    )


def _is_paper(paper: Any) -> bool:
    return (
        is_dict_of(paper, TEXT.holds)
        and paper.keys() == {"title", "url", "bibtex"}
        and paper["url"].startswith(("https://", "http://"))  # a page makes it a link
    )


def _is_cost(cost: dict[str, Any]) -> bool:
    return (
        is_dict_of(cost, lambda value: is_number(value) and 0 <= value < _MOST_COST)
        and set(_COST) <= cost.keys()
        and all(COUNT.holds(cost[name]) for name in _COUNTED)  # passes may be over a share of the examples
    )


def _is_environment(environment: dict[str, Any]) -> bool:
    return (
        {"device", "packages", "commit"} <= environment.keys()
        and NAME.holds(environment["device"])
        and is_dict_of(environment["packages"], NAME.holds)
        and (environment["commit"] is None or NAME.holds(environment["commit"]))
        and COUNT.holds(environment.get("threads", 0))
    )


def _is_history(history: dict[str, Any]) -> bool:
    columns = list(history.values())
    return (
        is_dict_of(history, lambda column: isinstance(column, list))
        and all(len(column) == len(columns[0]) <= _MOST_ROWS for column in columns)
        and all(NUMBER_OR_NULL.holds(value) for column in columns for value in column)
        and all(is_number(step) for step in history.get("step", [None] if columns else []))
    )


_COUNTED = ("steps", "peak_memory_bytes")
_COST = ("train_seconds", "seconds_per_step", "forward_passes", "backward_passes", *_COUNTED)

COST = Rule(
    f"an object of {', '.join(_COST)}, each a number from 0 to {_MOST_COST:g}, the last two whole ones", _is_cost
)
"""What a training costs, as it stands in records and trials."""

_RULES = {
    **dict.fromkeys(("task", "task_label", "model", "label"), NAME),
    "method": Rule(
        'an object of "name", "numbers" (name to number) and "paper" (null, or "title", "bibtex" and "url", '
        "which begins with https://)",
        _is_method,
    ),
    "seed": SEED,
    "metrics": Rule("metric name to a number or null", lambda metrics: is_dict_of(metrics, NUMBER_OR_NULL.holds)),
    "directions": Rule(
        'metric name to "higher" or "lower"',
        lambda directions: is_dict_of(directions, lambda direction: direction in ("higher", "lower")),
    ),
    "eval_examples": COUNT,
    "train_examples": COUNT,
    "data": Rule(
        'an object of "source" and "fingerprint"',
        lambda data: is_dict_of(data, NAME.holds) and {"source", "fingerprint"} <= data.keys(),
    ),
    "cost": COST,
    "arguments": Rule(
        'flag to value, "optim" a printable name',  # the base goes by it in tables and figures
        lambda arguments: is_dict_of(arguments, lambda value: True) and NAME.holds(arguments.get("optim", "unknown")),
    ),
    "environment": Rule(
        'an object of "device", "packages" (name to version), "commit" (or null) and "threads"', _is_environment
    ),
    "given": Rule("names of arguments", lambda given: all(map(NAME.holds, given))),
    "majority": Rule("metric name to number", lambda majority: is_dict_of(majority, is_number)),
    "signatures": Rule("metric name to text", lambda signatures: is_dict_of(signatures, NAME.holds)),
    "history": Rule(
        f'columns of numbers or nulls, of equal length, at most {_MOST_ROWS:,} of them in each, one of them "step" '
        "without nulls",
        _is_history,
    ),
    "status": Rule('"finished"', lambda status: status == "finished"),
}

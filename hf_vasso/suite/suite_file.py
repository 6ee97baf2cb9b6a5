"""The file of a suite: its keys, what they may hold, and what is refused before anything starts."""

import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from hf_vasso.methods import METHODS
from hf_vasso.results.method_labels import default_contrasts
from hf_vasso.results.reading import NAME, is_number
from hf_vasso.spelling import shown, unknown_name
from hf_vasso.tasks.commands import TASK_NAMES, command_for
from hf_vasso.tasks.flag_values import MOST_SEED
from hf_vasso.tasks.labels import check_label
from hf_vasso.tasks.recipes import expand_variables
from hf_vasso.tasks.yaml_file import read_mapping

__all__ = ["Selection", "SuiteFile", "read_suite_file"]

Flags = dict[str, Any]

_KEYS = (
    "name",
    "output_dir",
    "tasks",
    "methods",
    "seeds",
    "defaults",
    "select",
    "contrasts",
    "threads_per_run",
)
_NEEDED = ("name", "output_dir", "tasks", "methods", "seeds")
_HOLDOUT_SAMPLES = 1000
_MOST_RUNS = 10_000
_MOST_SAMPLES = 2**31 - 1
_MOST_THREADS = 4096
_SELECTION_SEED = 1000  # whatever the suite's seeds are, so that a suite that gets more of them keeps its choices

# What a suite says in other words, or decides itself.
_REFUSED_FLAGS = {
    "config": "a recipe's lines are copied, so that the file says all",
    "do_eval": "every run of a suite is evaluated",
    "do_train": "every run of a suite trains",
    "dry_run": "pass it to the suite",
    "fresh": "pass it to the suite",
    "holdout_samples": "it stands under select",
    "method": "it stands under methods",
    "method_label": "the name under methods is the label",
    "output_dir": "it is a key of the suite, and each run has a folder below it",
    "resume_from_checkpoint": "repeating the suite continues its runs",
    "seed": "seeds is a key of the suite",
    "task_name": "it stands under tasks",
    "task_label": "the name under tasks is the label",
}


_OWN_LABELS = {
    "task_name": "a label of one's own says which one it means by `task_name:`, and a corpus of one's own has "
    "`source_lang:` and `target_lang:`",
    "method": "a label of one's own says which one it means by `method:`",
}


@dataclass(frozen=True)
class Selection:
    """
    How numbers are chosen on held-out training examples.

    Args:
        stages: Each maps flags to the values to try, all combinations of them; a stage is tried at the best of those
            before it.
        seeds: The seeds of every trial.
        holdout_samples: How many training examples are held out.
    """

    stages: list[dict[str, list[Any]]]
    seeds: list[int]
    holdout_samples: int = _HOLDOUT_SAMPLES


@dataclass(frozen=True)
class SuiteFile:
    """
    What the file of a suite says.

    Args:
        path: The file.
        name: The suite's name.
        output_dir: Where its runs land.
        tasks: Task label to flags.
        methods: Method label to flags.
        seeds: The seeds of every cell.
        defaults: Flags of all runs, which those of a task overrule, and those of a method both.
        select: What is chosen on held-out training examples, None for nothing.
        contrasts: Pairs of method labels, the first minus the second; the first pair is the primary one. Where the
            file names none, VASSO is compared with SAM and then with the base.
        threads_per_run: Threads with which each run computes on the CPU, whatever runs beside it.
        allowed: Flags that only the user may give and that the file may have, since the command line repeats them.
    """

    path: Path
    name: str
    output_dir: Path
    tasks: dict[str, Flags]
    methods: dict[str, Flags]
    seeds: list[int]
    defaults: Flags = field(default_factory=dict)
    select: Selection | None = None
    contrasts: list[list[str]] = field(default_factory=list)
    threads_per_run: int = 1
    allowed: tuple[str, ...] = ()


def read_suite_file(path: Path, allowed: tuple[str, ...] = ()) -> SuiteFile:
    """
    Read and check the file of a suite. Its flags are checked where its runs are planned.

    Args:
        path: A YAML file.
        allowed: Flags that only the user may give, "trust_remote_code" and "push_to_hub", as far as the user has.

    Returns:
        What it says.

    Raises:
        ValueError: A key is unknown, missing or holds something else than it should.
    """
    content = read_mapping(path)
    _check(path, content)
    seeds = _seeds(path, "seeds", content["seeds"])
    methods = _labelled(
        path, "methods", content["methods"], "method", METHODS, lambda flags: flags["method"] in METHODS
    )
    suite = SuiteFile(
        path=path,
        name=content["name"],
        output_dir=Path(os.path.expanduser(expand_variables(content["output_dir"], path))),
        tasks=_labelled(path, "tasks", content["tasks"], "task_name", TASK_NAMES, command_for),
        methods=methods,
        seeds=seeds,
        defaults=_flags(path, "defaults", content.get("defaults")),
        select=_selection(path, content["select"], seeds) if content.get("select") else None,
        contrasts=_contrasts(path, content.get("contrasts"), methods),
        threads_per_run=_count(path, "threads_per_run", content.get("threads_per_run", 1), _MOST_THREADS),
        allowed=allowed,
    )
    _refuse_many(suite)
    return suite


def _check(path: Path, content: Mapping[str, Any]) -> None:
    for key in content:
        if key not in _KEYS:
            raise ValueError(f"{path}: {unknown_name('key', key, _KEYS)}")
    for key in _NEEDED:
        if not content.get(key):
            raise ValueError(f"{path}: the key {key} is missing or empty; a suite needs {', '.join(_NEEDED)}")
    for key in ("name", "output_dir"):
        if not NAME.holds(content[key]):
            raise ValueError(f"{path}: {key} must be {NAME.words}, got {shown(content[key])}")


def _labelled(
    path: Path, key: str, content: Any, flag: str, names: Collection[str], is_known: Callable[[Flags], object]
) -> dict[str, Flags]:
    """Label to flags, among which `flag` says of which task or method the label is a setting."""
    if isinstance(content, list) and all(isinstance(label, str) for label in content):
        content = dict.fromkeys(_unique(path, key, content))
    if not isinstance(content, dict):
        raise ValueError(f"{path}: {key} must be a list of names or map labels to flags, got {shown(content)}")
    labelled = {}
    for label, flags in content.items():
        check_label(f"{path}: {key}: a label", label)
        if "${" in label:
            raise ValueError(f"{path}: {key}: a label holds no variables, got {shown(label)}; write the name itself")
        labelled[label] = {flag: label, **_flags(path, f"{key}: {label}", flags, allowed=flag)}
        name = labelled[label][flag]
        if not isinstance(name, str) or not is_known(labelled[label]):
            hint = f"; {_OWN_LABELS[flag]}" if flag not in (flags or {}) else ""
            raise ValueError(f"{path}: {key}: {unknown_name(flag, str(name), names)}{hint}")
    return labelled


def _flags(path: Path, place: str, flags: Any, allowed: str = "") -> Flags:
    flags = {} if flags is None else flags
    if not isinstance(flags, dict):
        raise ValueError(f"{path}: {place} must map flags to values, got {shown(flags)}")
    _unique(path, place, [flag.replace("-", "_") for flag in flags])
    flags = {flag.replace("-", "_"): value for flag, value in flags.items()}
    for flag in flags:
        if not flag.isidentifier():
            raise ValueError(f"{path}: {place}: {shown(flag)} is not the name of a flag")
        if flag in _REFUSED_FLAGS and flag != allowed:
            raise ValueError(f"{path}: {place}: {flag} has no place here: {_REFUSED_FLAGS[flag]}")
    return flags


def _selection(path: Path, content: Any, seeds: list[int]) -> Selection:
    """`select` is a grid, a list of grids, or a mapping with `stages`, `seeds` and `holdout_samples`."""
    if not isinstance(content, dict) or "stages" not in content:
        content = {"stages": content}
    known = ("stages", "seeds", "holdout_samples")
    for key in content:
        if key not in known:
            raise ValueError(f"{path}: select: {unknown_name('key', key, known)}")
    stages = content["stages"] if isinstance(content["stages"], list) else [content["stages"]]
    own_seeds = _seeds(path, "select: seeds", content.get("seeds", [_SELECTION_SEED]))
    taken = set(seeds)
    for seed in own_seeds:
        if seed in taken:
            raise ValueError(
                f"{path}: select: seeds: {seed} is one of the suite's own seeds; choose with others, such as "
                f"`select: {{seeds: [{max(seeds) + 1000}], stages: ...}}`"
            )
    selection = Selection(
        stages=[_grid(path, stage) for stage in stages],
        seeds=own_seeds,
        holdout_samples=_count(
            path, "select: holdout_samples", content.get("holdout_samples", _HOLDOUT_SAMPLES), _MOST_SAMPLES
        ),
    )
    _unique(path, "select: flags of the stages", list(chain(*selection.stages)))
    return selection


def _grid(path: Path, stage: Any) -> dict[str, list[Any]]:
    if not isinstance(stage, dict) or not all(isinstance(values, list) and values for values in stage.values()):
        raise ValueError(f"{path}: select must map flags to lists of values, got {shown(stage)}")
    return {
        flag: _unique(path, f"select: {flag}", [_tried(path, flag, value) for value in values])
        for flag, values in _flags(path, "select", stage).items()
    }


def _tried(path: Path, flag: str, value: Any) -> Any:
    """A value to try; YAML takes 1e-4 for text."""
    try:
        value = float(value) if isinstance(value, str) else value
    except ValueError:
        if value and not NAME.holds(value):
            raise ValueError(
                f"{path}: select: {flag}: a text to try must be {NAME.words}, got {shown(value)}"
            ) from None
    if isinstance(value, int | float) and not is_number(value) and not isinstance(value, bool):
        raise ValueError(f"{path}: select: {flag}: a number to try must be finite and measurable, got {shown(value)}")
    return value


def _contrasts(path: Path, content: Any, methods: Mapping[str, Flags]) -> list[list[str]]:
    if not content:
        return [list(pair) for pair in default_contrasts({label: methods[label]["method"] for label in methods})]
    pairs = content if isinstance(content, list) else [content]
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(
                f"{path}: contrasts must be pairs of two different method labels such as [sam, none], "
                f"got {shown(pair)}"
            )
        for label in pair:
            if not isinstance(label, str) or label not in methods:
                raise ValueError(f"{path}: contrasts: {unknown_name('method label', str(label), methods)}")
    return pairs


def _seeds(path: Path, key: str, content: Any) -> list[int]:
    is_list = isinstance(content, list) and content
    if not is_list or any(type(seed) is not int or not 0 <= seed <= MOST_SEED for seed in content):
        raise ValueError(
            f"{path}: {key} must be a list of whole numbers, at least 0 and at most {MOST_SEED}, got {shown(content)}"
        )
    return _unique(path, key, content)


def _count(path: Path, key: str, value: Any, most: int) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{path}: {key} must be a whole number, at least 1 and at most {most}, got {shown(value)}")
    return value


def _unique(path: Path, key: str, values: list[Any]) -> list[Any]:
    seen = set()
    for value in values:
        comparable = json.dumps(value, sort_keys=True) if isinstance(value, list | dict) else value
        if comparable in seen:
            raise ValueError(f"{path}: {key}: {shown(value)} stands twice")
        seen.add(comparable)
    return values


def _refuse_many(suite: SuiteFile) -> None:
    """Each is planned before the first starts, so millions would look like a program that hangs."""
    runs = len(suite.tasks) * len(suite.methods) * len(suite.seeds)
    select = suite.select
    trials = 0
    if select is not None:
        each = sum(math.prod(map(len, stage.values())) for stage in select.stages)
        trials = len(suite.tasks) * len(suite.methods) * len(select.seeds) * each
    for kind, count, remedy in (("runs", runs, "tasks, methods or seeds"), ("trials", trials, "values under select")):
        if count > _MOST_RUNS:
            raise ValueError(
                f"{suite.path}: {shown(count)} {kind} are asked for, and a suite has at most {_MOST_RUNS}; take fewer "
                f"{remedy}, or several suites"
            )

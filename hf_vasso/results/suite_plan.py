"""What a suite set out to do: `suite.json` in its output folder, which tells reports of contrasts and missing runs."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_json
from hf_vasso.results.reading import (
    COUNT,
    NAME,
    NUMBER_OR_NULL,
    OBJECT,
    REPEAT_SUITE,
    SEED,
    TEXT,
    Rule,
    is_dict_of,
    is_list_of,
    read_entries,
)

__all__ = ["SUITE_FILE", "PlannedRun", "SuitePlan", "read_suite_plan", "write_suite_plan"]

SUITE_FILE = "suite.json"
_SCHEMA = 1


@dataclass(frozen=True)
class PlannedRun:
    """
    One run of a suite.

    Args:
        task_label: What reports call the task with its data.
        model: The model's hub id, or the base name of its folder.
        label: What reports call the method.
        seed: The seed of the run.
        folder: Where it lies, relative to the suite's output folder.
    """

    task_label: str
    model: str
    label: str
    seed: int
    folder: str


@dataclass(frozen=True)
class SuitePlan:
    """
    What a suite set out to do.

    Args:
        name: The suite's name.
        contrasts: Pairs of method labels, the first minus the second; the first pair is the primary one. May be empty.
        runs: All runs of the grid.
        selection: Task label to method label to what was chosen on held-out training examples: "chosen" (flag to
            value), "trials" (how many), "metric", "holdout_samples", "seeds", "notes" (where the choice is an end of
            its grid), "score" on the held-out examples and "runner_up_score" (the nearest of the other values; None
            where there is none). Empty without a selection. Earlier versions wrote neither notes nor scores.
        schema: Version of this layout.
    """

    name: str
    contrasts: list[list[str]]
    runs: list[PlannedRun]
    selection: dict[str, dict[str, dict]]
    schema: int = _SCHEMA


def write_suite_plan(plan: SuitePlan, folder: Path) -> None:
    """
    Write `suite.json` atomically.

    Args:
        plan: What to write.
        folder: The suite's output folder.
    """
    write_json(folder / SUITE_FILE, asdict(plan))


def read_suite_plan(path: Path) -> SuitePlan:
    """
    Read and check a `suite.json`.

    Args:
        path: The file.

    Returns:
        The plan.

    Raises:
        RecordError: The file is too large, broken, of another schema, or an entry is missing, unknown or wrong.
    """
    content = read_entries(path, SuitePlan, _SCHEMA, _RULES, REPEAT_SUITE)
    return SuitePlan(**{**content, "runs": [PlannedRun(**run) for run in content["runs"]]})


def _is_planned_run(run: Any) -> bool:
    return (
        isinstance(run, dict)
        and run.keys() == {"task_label", "model", "label", "seed", "folder"}
        and all(NAME.holds(run[key]) for key in ("task_label", "model", "label"))
        and SEED.holds(run["seed"])
        and TEXT.holds(run["folder"])
    )


def _is_contrast(pair: Any) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(NAME.holds(label) for label in pair)


def _is_choice(choice: Any) -> bool:
    return (
        isinstance(choice, dict)
        and OBJECT.holds(choice.get("chosen"))
        and all(holds(choice[name]) for name, holds in _OF_CHOICE.items() if name in choice)
    )


# What sentences and numbers are made of; the rest of a choice is printed as it is.
_OF_CHOICE: dict[str, Callable[[Any], bool]] = {
    "trials": COUNT.holds,
    "metric": lambda metric: metric is None or NAME.holds(metric),
    "holdout_samples": lambda value: COUNT.holds(value) and value > 0,
    "seeds": lambda seeds: is_list_of(seeds, SEED.holds),
    "notes": lambda notes: is_list_of(notes, NAME.holds),
    "score": NUMBER_OR_NULL.holds,
    "runner_up_score": NUMBER_OR_NULL.holds,
}

_RULES = {
    "name": NAME,
    "contrasts": Rule("pairs of method labels", lambda pairs: all(map(_is_contrast, pairs))),
    "runs": Rule("objects of task_label, model, label, seed and folder", lambda runs: all(map(_is_planned_run, runs))),
    "selection": Rule(
        'task label to method label to an object with "chosen", and with "notes" and scores if any',
        lambda tasks: is_dict_of(tasks, lambda methods: is_dict_of(methods, _is_choice)),
    ),
}

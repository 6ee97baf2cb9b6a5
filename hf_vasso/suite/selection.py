"""Choose numbers per method and task on held-out training examples: never on the split that is reported."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_json
from hf_vasso.results.reading import Rule, is_dict_of, read_entries
from hf_vasso.suite.choosing import best_values, with_stage
from hf_vasso.suite.grids import Grid, combinations, count_trials, method_grids
from hf_vasso.suite.planning import Cell, Run, cells, recorded_arguments, run_state, trial_run
from hf_vasso.suite.suite_file import SuiteFile
from hf_vasso.suite.trials import read_trial

__all__ = ["SELECTION_FILE", "check_selection_file", "check_trials", "known_choices", "planned_trials", "select"]

SELECTION_FILE = "selection.json"
_SCHEMA = 1

Values = dict[str, Any]


@dataclass(frozen=True)
class _SelectionFile:
    """What stands in `selection.json`: task label to method label to choice."""

    tasks: dict[str, dict[str, dict[str, Any]]]
    schema: int = _SCHEMA


_CHOICES = Rule(
    "task label to method label to choice",
    lambda tasks: is_dict_of(tasks, lambda methods: is_dict_of(methods, lambda choice: isinstance(choice, dict))),
)


def planned_trials(suite: SuiteFile, fresh: bool = False) -> tuple[list[Run], bool]:
    """
    Plan the trials of a suite as far as they are known.

    Args:
        suite: The suite's file.
        fresh: Whether all are to be made anew: nothing that an earlier suite wrote is read, broken or not.

    Returns:
        The trials, cell by cell, and whether all are known: a stage is tried at the best of those before it. Where
        that is not known yet, their first values stand in for it. Of a choice that stands, only what was done.

    Raises:
        ValueError: A flag is unknown or has a wrong value; the message names file, task, method and flag.
    """
    planned: dict[Path, Run] = {}
    all_known = True
    kept = {} if fresh else known_choices(suite)
    for cell, grids in _grids(suite).items():
        values: Values = {}
        for number, grid in enumerate(grids):
            trials = _stage(suite, cell, grid, values)
            wanted = [trial for trial in trials if cell not in kept or run_state(trial) == "done"]
            planned |= {trial.folder: trial for trial in wanted if trial.folder not in planned}
            ended = not fresh and all(run_state(trial) == "done" for trial in trials)
            values = (best_values(trials) if ended else None) or dict(trials[0].tries or {})
            all_known = all_known and (ended or number == len(grids) - 1)
    return list(planned.values()), all_known


def check_trials(trials: Sequence[Run]) -> None:
    """
    Refuse trials that were made with other flags than the suite's file now asks for.

    Args:
        trials: Trials, made or not.

    Raises:
        ValueError: The message names the trial and the flag.
    """
    for trial in trials:
        result, asked = read_trial(trial.folder), recorded_arguments(trial)
        before = result.arguments if result else {}
        for name in sorted(before.keys() & asked.keys()):
            if before[name] != asked[name]:
                raise ValueError(
                    f"the trial in {trial.folder} was made with other flags: --{name}: was {before[name]}, is "
                    f"{asked[name]}; repeat it with the same flags, give the suite another output_dir, or start over "
                    "with --fresh, which deletes what it wrote"
                )


def check_selection_file(path: Path) -> dict[str, Any]:
    """
    Read a `selection.json`.

    Args:
        path: The file.

    Returns:
        Its checked entries.

    Raises:
        RecordError: The file is broken, of another schema, or an entry is missing, unknown or wrong.
    """
    return read_entries(path, _SelectionFile, _SCHEMA, {"tasks": _CHOICES})


def known_choices(suite: SuiteFile) -> dict[Cell, dict[str, Any]]:
    """
    What has been chosen.

    Args:
        suite: The suite's file.

    Returns:
        The choices in `selection.json` that are for what the file says, "chosen" among their entries; others are made
        anew.
    """
    path = suite.output_dir / SELECTION_FILE
    if not path.exists():
        return {}
    tasks = check_selection_file(path)["tasks"]
    kept = {}
    for cell, grids in _grids(suite).items():
        choice, new = tasks.get(cell.task, {}).get(cell.method, {}), _no_choice(suite, cell, grids)
        is_for_this = all(choice.get(name) == new[name] for name in ("asked", "seeds", "holdout_samples"))
        if is_for_this and choice["chosen"] is not None:
            kept[cell] = choice
    return kept


def select(suite: SuiteFile, make: Callable[[Sequence[Run]], None]) -> dict[Cell, dict[str, Any]]:
    """
    Choose the numbers of every cell, stage by stage, and write `selection.json`.

    A choice that stands there is kept: the runs made with it are not to change.

    Args:
        suite: The suite's file, with a selection.
        make: Makes the trials that it is given; one that fails leaves no `trial.json`.

    Returns:
        The choice of each cell: "chosen" is None where a trial failed, or none of a stage gave a finite score.
    """
    kept = known_choices(suite)
    choices = {cell: kept.get(cell) or _no_choice(suite, cell, grids) for cell, grids in _grids(suite).items()}
    open_cells = {cell: grids for cell, grids in _grids(suite).items() if cell not in kept}
    for number in range(max((len(grids) for grids in open_cells.values()), default=0)):
        stages = {
            cell: _stage(suite, cell, grids[number], choices[cell]["chosen"])
            for cell, grids in open_cells.items()
            if number < len(grids) and choices[cell]["chosen"] is not None
        }
        make([trial for trials in stages.values() for trial in trials if run_state(trial) != "done"])
        for cell, trials in stages.items():
            choices[cell] = with_stage(choices[cell], open_cells[cell][number], trials)
    _write_choices(suite, choices)
    return choices


def _grids(suite: SuiteFile) -> dict[Cell, list[Grid]]:
    if suite.select is None:
        return {}
    presets = {label: str(flags["method"]) for label, flags in suite.methods.items()}
    grids = method_grids(suite.select.stages, presets)
    return {cell: grids[cell.method] for cell in cells(suite)}


def _stage(suite: SuiteFile, cell: Cell, grid: Grid, before: Values) -> list[Run]:
    """The trials of a stage at the values chosen before, each value with all its seeds."""
    assert suite.select is not None
    return [
        trial_run(suite, cell, seed, {**before, **values})
        for values in combinations(grid)
        for seed in suite.select.seeds
    ]


def _no_choice(suite: SuiteFile, cell: Cell, grids: Sequence[Grid]) -> dict[str, Any]:
    """The choice before the first stage."""
    assert suite.select is not None
    return {
        "chosen": {},
        "trials": count_trials(grids),
        "metric": None,
        "holdout_samples": suite.select.holdout_samples,
        "seeds": suite.select.seeds,
        "notes": [],
        "scores": [],
        "asked": _asked(suite, cell, grids),
    }


def _asked(suite: SuiteFile, cell: Cell, grids: Sequence[Grid]) -> dict[str, Any]:
    """What the suite's file says about a cell."""
    flags = {**suite.defaults, **suite.tasks[cell.task], **suite.methods[cell.method]}
    return json.loads(json.dumps({"flags": flags, "stages": list(grids)}, default=str))


def _write_choices(suite: SuiteFile, choices: Mapping[Cell, dict[str, Any]]) -> None:
    tasks: dict[str, dict[str, Any]] = {}
    for cell, choice in choices.items():
        tasks.setdefault(cell.task, {})[cell.method] = choice
    write_json(suite.output_dir / SELECTION_FILE, asdict(_SelectionFile(tasks)))

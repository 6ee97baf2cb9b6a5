"""The runs of a suite before they are made: their flags, checked, their sizes, and how far each has come."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_vasso.results.failure import FAILURE_FILE
from hf_vasso.results.suite_plan import PlannedRun
from hf_vasso.spelling import one_line
from hf_vasso.suite.suite_file import SuiteFile
from hf_vasso.suite.trial_names import trial_name
from hf_vasso.suite.trials import TRIAL_FILE
from hf_vasso.tasks import binding
from hf_vasso.tasks.commands import Command, command_for, task_run
from hf_vasso.tasks.labels import place_key, run_place
from hf_vasso.tasks.recipes import flag_words
from hf_vasso.tasks.run_folder import RunFolder
from hf_vasso.tasks.task_arguments import base_name
from hf_vasso.tasks.task_run import TaskRun
from hf_vasso.tasks.trust import refuse_from_file
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = [
    "TRIALS_FOLDER",
    "TRIAL_RUN_FOLDER",
    "Cell",
    "Run",
    "cells",
    "grid_run",
    "grid_runs",
    "recorded_arguments",
    "refuse_shared_folders",
    "run_state",
    "trial_run",
]

TRIALS_FOLDER = ".select"
TRIAL_RUN_FOLDER = "run"

# What all runs of suites have unless the file says otherwise: their output goes to a file, where bars are noise.
_DEFAULTS = {"disable_tqdm": True, "report_to": "none"}
_PLATEAU = "reduce_lr_on_plateau"


@dataclass(frozen=True, order=True)
class Cell:
    """
    A cell of the suite's table.

    Args:
        task: The label of the task.
        method: The label of the method.
    """

    task: str
    method: str


@dataclass(frozen=True, eq=False)
class Run:
    """
    A run as it is planned.

    Args:
        planned: What identifies it.
        folder: Where its log lies, and `failure.json` if it fails.
        output_dir: Where its record lies.
        words: Its command line after `hf-vasso`.
        task: It, as its command makes it, with flags that are checked but for the output folder.
        steps: Optimizer steps.
        passes: Forward passes, at most.
        tries: Of a trial, flag to the value that it tries; None for a run of the grid.
    """

    planned: PlannedRun
    folder: Path
    output_dir: Path
    words: list[str]
    task: TaskRun
    steps: int
    passes: int
    tries: dict[str, Any] | None = None


def cells(suite: SuiteFile) -> list[Cell]:
    """The cells of a suite, task by task."""
    return [Cell(task, method) for task in suite.tasks for method in suite.methods]


def grid_run(suite: SuiteFile, cell: Cell, seed: int, chosen: Mapping[str, Any]) -> Run:
    """
    Plan a run of the grid, in `<output_dir>/<task label>/<model>/<method label>/seed-<n>`.

    Args:
        suite: The suite's file.
        cell: Task and method.
        seed: The seed.
        chosen: Flag to value, as chosen on held-out examples; they overrule those of the file.

    Returns:
        The run.

    Raises:
        ValueError: A flag is unknown or has a wrong value; the message names file, task, method and flag.
    """
    return _run(suite, cell, _flags(suite, cell, seed, chosen), f"seed-{seed}")


def grid_runs(suite: SuiteFile, chosen: Mapping[Cell, Mapping[str, Any]]) -> list[Run]:
    """
    Plan the grid, seed by seed, so that a suite that is stopped early has whole comparisons.

    Args:
        suite: The suite's file.
        chosen: Cell to what was chosen for it, flag to value.

    Returns:
        All its runs.

    Raises:
        ValueError: A flag is unknown or has a wrong value; the message names file, task, method and flag. Or two runs
            would lie in one folder.
    """
    runs = [grid_run(suite, cell, seed, chosen.get(cell, {})) for seed in suite.seeds for cell in cells(suite)]
    refuse_shared_folders(suite, runs)
    return runs


def trial_run(suite: SuiteFile, cell: Cell, seed: int, tries: Mapping[str, Any]) -> Run:
    """
    Plan a trial, in `<output_dir>/.select/<task label>/<model>/<method label>/<values>`.

    Values that the run would have anyway are not in the folder's name, so a trial that a stage before has made is not
    made again. It is judged on held-out training examples. What it leaves beside `trial.json` lies in a folder `run`
    in its own, which is deleted in the end.

    Args:
        suite: The suite's file, with a selection.
        cell: Task and method.
        seed: The seed.
        tries: Flag to value; they overrule those of the file.

    Returns:
        The run.

    Raises:
        ValueError: A flag is unknown or has a wrong value; the message names file, task, method and flag.
    """
    assert suite.select is not None
    flags = {**_flags(suite, cell, seed, tries), "holdout_samples": suite.select.holdout_samples, "do_predict": None}
    changed = _changed(suite, cell, seed, tries)
    return _run(suite, cell, flags, trial_name({**changed, "seed": seed}), dict(tries))


def refuse_shared_folders(suite: SuiteFile, runs: Iterable[Run]) -> None:
    """
    Refuse a plan in which two different runs would lie in one folder, where one would be taken for the other.

    Args:
        suite: The suite's file.
        runs: Its trials, or its grid. A trial that two stages have in common may stand there twice.

    Raises:
        ValueError: The message names both folders; they may differ in letters that some file systems hold for equal.
    """
    owners: dict[str, Run] = {}
    for run in runs:
        owner = owners.setdefault(place_key(run.folder), run)
        if owner is not run and (owner.folder != run.folder or _asked(owner) != _asked(run)):
            raise ValueError(
                f"{suite.path}: two different runs would lie in one folder, {owner.folder} and {run.folder}, at least "
                "where upper and lower case are not told apart; give one another label or value"
            )


def run_state(run: Run) -> str:
    """
    How far a run has come.

    Args:
        run: The run.

    Returns:
        "done", "failed", "interrupted" or "missing". A run that was done with other flags is not "done": what is to
        be said and done about it is known to the command that runs it, and so is a record that cannot be read.
    """
    if (run.folder / TRIAL_FILE).exists() if run.tries is not None else _is_done(run):
        return "done"
    if (run.folder / FAILURE_FILE).exists():
        return "failed"
    return "interrupted" if any(run.folder.glob("*")) else "missing"


def recorded_arguments(run: Run) -> dict[str, Any]:
    """The arguments that the record of a run will have."""
    return json.loads(json.dumps(binding.recorded_arguments(run.task.arguments, run.task.training)))


def _asked(run: Run) -> tuple[Any, ...]:
    """What a run does. Trials of two stages whose values come to the same are one."""
    return run.planned, binding.result_arguments(run.task.arguments, run.task.training)


def _flags(suite: SuiteFile, cell: Cell, seed: int, values: Mapping[str, Any]) -> dict[str, Any]:
    own = {"task_label": cell.task, "method_label": cell.method, "seed": seed, "do_train": True, "do_eval": True}
    of_file = {**suite.defaults, **suite.tasks[cell.task], **suite.methods[cell.method]}
    return {**_DEFAULTS, **dict.fromkeys(_command(suite, cell).stages, True), **of_file, **values, **own}


def _command(suite: SuiteFile, cell: Cell) -> Command:
    command = command_for(suite.tasks[cell.task])
    assert command is not None  # checked where the file is read
    return command


def _run(
    suite: SuiteFile,
    cell: Cell,
    flags: Mapping[str, Any],
    name: str,
    tries: dict[str, Any] | None = None,
) -> Run:
    with _naming(suite, cell):
        command = _command(suite, cell)
        refuse_from_file(flags, suite.allowed, "it", "hf-vasso suite")
        words = [command.name, *flag_words(flags, suite.path)]
        task = task_run(words)
        if not command.reports_test:
            _refuse_choice_by_reported_split(task.training)
        size = task.plan()
        if size is None:
            raise ValueError("only data on the hub can tell how many steps an epoch has; give max_steps, or data_dir")
        model = base_name(task.arguments.model)
        place = run_place(cell.task, model, cell.method, name)
    place, run = (place, "") if tries is None else (TRIALS_FOLDER / place, TRIAL_RUN_FOLDER)
    planned = PlannedRun(cell.task, model, cell.method, task.training.seed, place.as_posix())
    folder, output_dir = suite.output_dir / place, suite.output_dir / place / run
    words += ["--output_dir", str(output_dir)]
    return Run(planned, folder, output_dir, words, task, size.steps, size.passes, tries)


def _refuse_choice_by_reported_split(training: AnyTrainingArguments) -> None:
    if training.load_best_model_at_end:
        raise ValueError(
            "load_best_model_at_end has no place here: a best checkpoint is chosen on the split that is reported; "
            "suites report the last one"
        )
    if training.lr_scheduler_type == _PLATEAU:
        raise ValueError(f"lr_scheduler_type {_PLATEAU} follows the split that is reported; take another schedule")


@contextmanager
def _naming(suite: SuiteFile, cell: Cell) -> Iterator[None]:
    """Say of a mistake where it stands."""
    try:
        yield
    except (OSError, ValueError) as error:
        place = f"task {cell.task} with method {cell.method} and the defaults"
        raise ValueError(f"{suite.path}: {place}: {one_line(str(error))}") from error


def _changed(suite: SuiteFile, cell: Cell, seed: int, tries: Mapping[str, Any]) -> dict[str, Any]:
    """The values that are others than those without the trial: equal trials of two stages have one folder."""
    with _naming(suite, cell):
        words = [_command(suite, cell).name, *flag_words(_flags(suite, cell, seed, {}), suite.path)]
        task = task_run(words)
    without = binding.result_arguments(task.arguments, task.training)
    return {flag: value for flag, value in tries.items() if without.get(flag) != value}


def _is_done(run: Run) -> bool:
    folder = RunFolder(str(run.output_dir), run.task.prediction_files)
    try:
        record = folder.record
    except ValueError:
        return False
    if record is None:
        return False
    asked = recorded_arguments(run)
    same = all(record.arguments[name] == value for name, value in asked.items() if name in record.arguments)
    predicted = not run.task.training.do_predict or all(path.exists() for path in folder.prediction_files.values())
    return same and predicted

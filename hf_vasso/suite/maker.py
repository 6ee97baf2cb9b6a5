"""Go through a suite: its trials stage by stage, then its grid, telling and writing down what becomes of each run."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_vasso.results.failure import FAILURE_FILE, delete_failure, read_failure
from hf_vasso.results.reading import RecordError, finite_or_none
from hf_vasso.results.record import RESULT_FILE, read_record
from hf_vasso.results.suite_plan import SuitePlan, write_suite_plan
from hf_vasso.suite.choice_file import SELECTION_FILE
from hf_vasso.suite.choosing import leading_scores, why_none
from hf_vasso.suite.planning import TRIAL_RUN_FOLDER, TRIALS_FOLDER, Cell, Run, grid_runs, run_state
from hf_vasso.suite.processes import MakeJobs, Outcome
from hf_vasso.suite.progress import Progress
from hf_vasso.suite.selection import known_choices, select
from hf_vasso.suite.suite_file import SuiteFile
from hf_vasso.suite.trials import TRIAL_FILE, read_trial
from hf_vasso.suite.work import LOG_FILE, Job, delete_checkpoints, delete_trial_run, keep_failure

__all__ = ["Maker"]

# The entries of a choice that reports read; all its scores stand in `selection.json`.
_REPORTED = ("trials", "metric", "holdout_samples", "seeds", "notes")


class Maker:
    """
    Makes what is left of a suite.

    Args:
        suite: The suite's file.
        make_jobs: Makes runs, several at a time, and yields each with its outcome.
        planned: All trials and runs, as far as they are known.
        workers: How many runs it makes at a time.
        received: It gets the number of a signal that stops the suite.
    """

    def __init__(
        self, suite: SuiteFile, make_jobs: MakeJobs, planned: Sequence[Run], workers: int, received: Sequence[int]
    ) -> None:
        self._suite = suite
        self._make_jobs = make_jobs
        self._received = received
        self._outcomes: Counter[Outcome] = Counter()
        self._grid = [run for run in planned if run.tries is None]
        left = _unfinished(planned)
        self._progress = Progress(len(left), sum(run.passes for run in left), workers)
        if len(left) < len(planned):
            done = len(planned) - len(left)
            self._progress.say(f"{suite.name}: {done} of {len(planned)} trials and runs were finished before")

    def make_suite(self) -> int:
        """
        Make the trials and the grid.

        Returns:
            The exit status: 0, or 1 when a run failed.

        Raises:
            SystemExit: A signal stopped the suite; the status is 130 or 143.
        """
        _write_plan(self._suite, self._grid, known_choices(self._suite))
        runs, choices = self._grid, {}
        if self._suite.select:
            choices = select(self._suite, self._make)
            runs = grid_runs(self._suite, {cell: choice["chosen"] or {} for cell, choice in choices.items()})
            _write_plan(self._suite, runs, choices)
            self._tell_notes(choices)
        without_choice = [run for run in runs if _cell(run) in choices and choices[_cell(run)]["chosen"] is None]
        for run in without_choice:
            self._refuse(run, choices[_cell(run)])
        self._make([run for run in runs if run not in without_choice])
        self._tidy(runs)
        self._progress.close()
        print(self._closing_words(runs))
        return 1 if self._outcomes["failed"] else 0

    def _tidy(self, runs: Sequence[Run]) -> None:
        """Delete what a run that was killed at its end could no longer delete itself."""
        for trial in (self._suite.output_dir / TRIALS_FOLDER).rglob(TRIAL_FILE):
            delete_trial_run(trial.parent / TRIAL_RUN_FOLDER)  # hardly ever there
        for run in runs:
            if run_state(run) == "done":
                delete_failure(run.folder)  # the suite's file may have been wrong for a while
                delete_checkpoints(run.output_dir)

    def _make(self, runs: Sequence[Run]) -> None:
        left = {Path.cwd() / run.folder: run for run in _unfinished(runs)}
        for job, outcome in self._make_jobs([self._job(run) for run in left.values()]):
            if outcome != "not begun":
                self._tell(left[job.folder], outcome)
        if self._received:
            self._progress.close()
            print(f"{self._suite.name}: interrupted; repeat the command to continue")
            raise SystemExit(128 + self._received[0])

    def _job(self, run: Run) -> Job:
        here = Path.cwd()
        return Job(run.planned, here / run.folder, run.words, here, self._suite.threads_per_run, run.tries)

    def _refuse(self, run: Run, choice: Mapping[str, Any]) -> None:
        logs = f"{SELECTION_FILE} and the logs below {TRIALS_FOLDER} say what became of them"
        keep_failure(self._job(run), f"{why_none(choice)}; {logs}")
        self._tell(run, "failed")

    def _tell(self, run: Run, outcome: Outcome) -> None:
        try:
            words = _describe(run, outcome)
        except RecordError as error:  # as on a cluster whose machines do not share the folder
            words, outcome = f"FAILED: {error}", "failed"
        self._outcomes[outcome] += 1
        self._progress.finished(f"{_title(run)}: {words}", run.passes)

    def _tell_notes(self, choices: Mapping[Cell, Mapping[str, Any]]) -> None:
        for cell, choice in choices.items():
            for note in choice["notes"]:
                self._progress.say(f"{cell.task}, {cell.method}: {note}")

    def _closing_words(self, runs: Sequence[Run]) -> str:
        finished = len(runs) - len(_unfinished(runs))
        failed = self._outcomes["failed"]
        again = f"; {failed} failed, repeat the command to try again" if failed else ""
        return f"{self._suite.name}: {finished} of {len(runs)} runs are finished, in {self._suite.output_dir}{again}"


def _unfinished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run_state(run) != "done"]


def _cell(run: Run) -> Cell:
    return Cell(run.planned.task_label, run.planned.label)


def _title(run: Run) -> str:
    names = [run.planned.task_label, run.planned.label]
    if run.tries is not None:
        names = [f"trial of {names[0]}", names[1], *(f"{flag} {value}" for flag, value in run.tries.items())]
    return ", ".join([*names, f"seed {run.planned.seed}"])


def _describe(run: Run, outcome: Outcome) -> str:
    """What became of a run: its score and cost, or what went wrong."""
    if outcome == "interrupted":
        return "interrupted"
    if outcome == "failed":
        return f"FAILED: {_reason(run)} ({run.folder / LOG_FILE})"
    metric, score, cost = _score_and_cost(run)
    shown = "not finite" if finite_or_none(score) is None else f"{score:.4f}"
    return f"{metric} {shown}, {cost['train_seconds']:.1f} s, {cost['steps']} steps, {cost['forward_passes']} passes"


def _reason(run: Run) -> str:
    try:
        return read_failure(run.folder / FAILURE_FILE).error
    except RecordError as error:  # nothing could be written, as on a full disk
        return f"why is not known, {error.reason}"


def _score_and_cost(run: Run) -> tuple[str, float | None, Mapping[str, Any]]:
    if run.tries is None:
        record = read_record(run.folder / RESULT_FILE)
        if not record.metrics:
            raise RecordError(run.folder, "the record has no metrics; delete it and repeat the suite's command")
        return *next(iter(record.metrics.items())), record.cost
    result = read_trial(run.folder)
    if result is None:
        raise RecordError(run.folder, "the trial was made, but is not here; the machines must share the output folder")
    return f"held-out {result.metric}", result.score, result.cost


def _write_plan(suite: SuiteFile, runs: Sequence[Run], choices: Mapping[Cell, Mapping[str, Any]]) -> None:
    selection: dict[str, dict[str, dict[str, Any]]] = {}
    for cell, choice in choices.items():
        entries = {name: choice[name] for name in _REPORTED} | leading_scores(choice)
        selection.setdefault(cell.task, {})[cell.method] = {"chosen": choice["chosen"] or {}, **entries}
    plan = SuitePlan(suite.name, suite.contrasts, [run.planned for run in runs], selection)
    write_suite_plan(plan, suite.output_dir)

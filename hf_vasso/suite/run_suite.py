"""Make the runs of a suite that are not made yet: what `hf-vasso suite` does."""

import os
import shutil
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hf_vasso.results.failure import FAILURE_FILE, read_failure
from hf_vasso.results.record import RESULT_FILE, read_record
from hf_vasso.results.suite_plan import SUITE_FILE, SuitePlan, write_suite_plan
from hf_vasso.suite.listing import describe_suite
from hf_vasso.suite.planning import TRIALS_FOLDER, Cell, Run, cells, grid_run, run_state
from hf_vasso.suite.processes import Outcome, graphics_cards, make_jobs, start_server, stop_on_signals
from hf_vasso.suite.progress import Progress
from hf_vasso.suite.selection import SELECTION_FILE, check_trials, known_choices, planned_trials, select
from hf_vasso.suite.suite_file import SuiteFile, read_suite_file
from hf_vasso.suite.trials import read_trial
from hf_vasso.suite.work import LOG_FILE, Job, keep_failure
from hf_vasso.tasks.errors import user_errors

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso suite`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status: 0, or 1 when a run failed.

    Raises:
        UserError: The suite's file, one of its flags or its data cannot be used.
        SystemExit: A signal stopped the suite; the status is 130 or 143.
    """
    given = _parse(arguments)
    with user_errors():
        suite = read_suite_file(Path(given.file))
        cards = graphics_cards()
        if cards:
            os.environ["CUDA_VISIBLE_DEVICES"] = cards[0]  # each run sees one card, so its plan is made with one
        if not given.dry_run:
            start_server(suite.threads_per_run)  # now, so that it imports while the plan is made
        trials, all_known = planned_trials(suite)
        if not given.fresh:
            check_trials(trials)
        runs = _grid(suite, known_choices(suite))
    if given.dry_run:
        print(describe_suite([*trials, *runs], all_known, given.fresh))
        return 0
    if given.fresh:
        _delete(suite, runs)
    with stop_on_signals() as received:
        maker = _Maker(suite, given.jobs or len(cards) or 1, cards, [*trials, *runs], received)
        return maker.make_suite()


class _Maker:
    """
    Makes the runs of a suite and tells what becomes of them.

    Args:
        suite: The suite's file.
        workers: How many runs at a time.
        cards: Graphics cards.
        planned: All trials and runs, as far as they are known.
        received: It gets the number of a signal that stops the suite.
    """

    def __init__(
        self, suite: SuiteFile, workers: int, cards: Sequence[str], planned: Sequence[Run], received: Sequence[int]
    ) -> None:
        self._suite = suite
        self._workers = workers
        self._cards = cards
        self._received = received
        self._outcomes: Counter[Outcome] = Counter()
        left = _unfinished(planned)
        self._progress = Progress(len(left), sum(run.passes for run in left))

    def make_suite(self) -> int:
        """Make what is left, and return the exit status."""
        suite = self._suite
        _write_plan(suite, _grid(suite, {}), {})
        choices = select(suite, self._make) if suite.select else {}
        runs = _grid(suite, {cell: choice["chosen"] or {} for cell, choice in choices.items()})
        _write_plan(suite, runs, choices)
        for cell, choice in choices.items():
            for note in choice["notes"]:
                self._progress.say(f"{cell.task}, {cell.method}: {note}")
        without_choice = {cell for cell, choice in choices.items() if choice["chosen"] is None}
        self._refuse([run for run in runs if _cell(run) in without_choice])
        self._make([run for run in runs if _cell(run) not in without_choice])
        self._progress.close()
        print(self._closing_words(runs))
        return 1 if self._outcomes["failed"] or self._outcomes["interrupted"] else 0

    def _make(self, runs: Sequence[Run]) -> None:
        jobs = {_job(self._suite, run): run for run in _unfinished(runs)}
        for job, outcome in make_jobs(list(jobs), self._workers, self._cards):
            self._tell(jobs[job], outcome)
        if self._received:
            self._progress.close()
            print(f"{self._suite.name}: interrupted; repeat the command to continue")
            raise SystemExit(128 + self._received[0])

    def _refuse(self, runs: Sequence[Run]) -> None:
        for run in runs:
            keep_failure(
                _job(self._suite, run),
                f"no trial of its selection ended with a finite score; {SELECTION_FILE} and the folders below "
                f"{TRIALS_FOLDER} say what became of them",
            )
            self._tell(run, "failed")

    def _tell(self, run: Run, outcome: Outcome) -> None:
        self._outcomes[outcome] += 1
        self._progress.finished(f"{_title(run)}: {_describe_outcome(run, outcome)}", run.passes)

    def _closing_words(self, runs: Sequence[Run]) -> str:
        left = len(_unfinished(runs))
        failed = self._outcomes["failed"]
        return (
            f"{self._suite.name}: {len(runs) - left} of {len(runs)} runs are finished"
            + (f", {failed} failed now; repeat the command to try them again" if failed else "")
            + f"\nruns: {self._suite.output_dir}"
        )


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        prog="hf-vasso suite",
        description="Make the runs of a suite: a grid of methods, tasks and seeds from one YAML file. Repeating the "
        "command skips what is finished and continues what was cut off.",
    )
    parser.add_argument("file", help="the suite's file")
    parser.add_argument("--jobs", type=_positive, help="runs at a time (default: one per graphics card, else 1)")
    parser.add_argument("--dry_run", action="store_true", help="list all trials and runs with their cost, and stop")
    parser.add_argument("--fresh", action="store_true", help="start over: delete what an earlier suite wrote")
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def _grid(suite: SuiteFile, chosen: Mapping[Cell, Mapping[str, Any]]) -> list[Run]:
    """All runs of the grid, seed by seed, so that a suite that is stopped early has whole comparisons."""
    return [grid_run(suite, cell, seed, chosen.get(cell, {})) for seed in suite.seeds for cell in cells(suite)]


def _unfinished(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run_state(run) != "done"]


def _cell(run: Run) -> Cell:
    return Cell(run.planned.task_label, run.planned.label)


def _job(suite: SuiteFile, run: Run) -> Job:
    directory = Path.cwd()
    return Job(run.planned, directory / run.folder, run.words, directory, suite.threads_per_run, run.tries)


def _title(run: Run) -> str:
    tries = [] if run.tries is None else [f"{flag} {value}" for flag, value in run.tries.items()]
    kind = "" if run.tries is None else "trial: "
    return kind + ", ".join([run.planned.task_label, run.planned.label, *tries, f"seed {run.planned.seed}"])


def _describe_outcome(run: Run, outcome: Outcome) -> str:
    if outcome == "failed":
        return f"FAILED: {read_failure(run.folder / FAILURE_FILE).error} ({run.folder / LOG_FILE})"
    if outcome == "interrupted":
        return "interrupted"
    if run.tries is None:
        record = read_record(run.folder / RESULT_FILE)
        metric, score, cost = *next(iter(record.metrics.items())), record.cost
    else:
        result = read_trial(run.folder)
        assert result is not None
        metric, score, cost = f"held-out {result.metric}", result.score, result.cost
    shown = "not finite" if score is None else f"{score:.4f}"
    return f"{metric} {shown}, {cost['train_seconds']:.1f} s, {cost['steps']} steps, {cost['forward_passes']} passes"


def _write_plan(suite: SuiteFile, runs: Sequence[Run], choices: Mapping[Cell, Mapping[str, Any]]) -> None:
    selection: dict[str, dict[str, dict[str, Any]]] = {}
    for cell, choice in choices.items():
        entries = {name: choice[name] for name in ("chosen", "trials", "metric", "holdout_samples", "seeds")}
        selection.setdefault(cell.task, {})[cell.method] = {**entries, "chosen": choice["chosen"] or {}}
    plan = SuitePlan(suite.name, suite.contrasts, [run.planned for run in runs], selection)
    write_suite_plan(plan, suite.output_dir)


def _delete(suite: SuiteFile, runs: Sequence[Run]) -> None:
    """Delete what this suite wrote; a folder without the log of a run is somebody else's."""
    for run in runs:
        if (run.folder / LOG_FILE).exists():
            shutil.rmtree(run.folder)
    shutil.rmtree(suite.output_dir / TRIALS_FOLDER, ignore_errors=True)
    for name in (SELECTION_FILE, SUITE_FILE):
        (suite.output_dir / name).unlink(missing_ok=True)

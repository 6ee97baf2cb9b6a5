"""Make the runs of a suite that are not made yet: what `hf-vasso suite` does."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

from accelerate.utils import patch_environment

from hf_vasso.suite.cluster import cluster_workers, runs_on_cluster
from hf_vasso.suite.listing import describe_suite
from hf_vasso.suite.maker import Maker
from hf_vasso.suite.own_files import check_folder, delete_suite
from hf_vasso.suite.planning import Run, grid_runs
from hf_vasso.suite.processes import graphics_cards, runs_on_this_machine, start_server, stop_on_signals
from hf_vasso.suite.selection import check_trials, known_choices, planned_trials
from hf_vasso.suite.suite_file import SuiteFile, read_suite_file
from hf_vasso.tasks.errors import disk_errors, user_errors
from hf_vasso.tasks.folder_lock import hold_folder

__all__ = ["main", "run_suite"]

_REPEATED = {
    "trust_remote_code": "run code that comes with models where the file asks for it; read that code before",
    "push_to_hub": "send models and logs to the hub where the file asks for it",
}


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso suite`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status: 0, or 1 when a run failed.

    Raises:
        UserError: The suite's file, one of its flags or its data cannot be used, another suite works in its folder, or
            a file cannot be written.
        SystemExit: A signal stopped the suite; the status is 130 or 143.
    """
    given = _parse(arguments)
    with user_errors():
        suite = read_suite_file(Path(given.file), tuple(flag for flag in _REPEATED if getattr(given, flag)))
    if given.dry_run:
        print(_listing(suite, given.fresh))
        return 0
    return run_suite(suite, workers=given.jobs, backend=given.backend, fresh=given.fresh)


def run_suite(suite: SuiteFile, *, workers: int | None = None, backend: str | None = None, fresh: bool = False) -> int:
    """
    Make the trials and runs of a suite that are not made yet.

    Args:
        suite: What its file says.
        workers: How many runs at a time; None for one per graphics card, on Ray as many as fit, else 1.
        backend: "ray" for a Ray cluster, None for this machine.
        fresh: Delete what an earlier suite wrote.

    Returns:
        The exit status: 0, or 1 when a run failed.

    Raises:
        UserError: One of its flags or its data cannot be used, another suite works in its folder, or a file cannot be
            written.
        SystemExit: A signal stopped the suite; the status is 130 or 143.
    """
    with user_errors():
        cards = graphics_cards()
        # What makes the runs is started now, so that it is ready when the plan is.
        workers = _workers_on_cluster(suite, workers) if backend == "ray" else _workers_here(suite, workers, cards)
    with disk_errors(suite.output_dir), ExitStack() as held:
        held.enter_context(_one_of(cards))
        with user_errors():
            held.enter_context(hold_folder(suite.output_dir))
            trials, runs, _ = _plan(suite, fresh)
            _check_models(runs)
            check_folder(suite, runs)
            if fresh:
                delete_suite(suite, runs)
        planned = [*trials, *runs]
        if backend == "ray":  # a signal ends this process, and the cluster's workers and runs end with it
            make_jobs = runs_on_cluster(workers, suite.threads_per_run)
            return Maker(suite, make_jobs, planned, workers, received=[]).make_suite()
        with stop_on_signals() as received, runs_on_this_machine(workers, cards) as make_jobs:
            return Maker(suite, make_jobs, planned, workers, received).make_suite()


def _listing(suite: SuiteFile, fresh: bool) -> str:
    with user_errors(), _one_of(graphics_cards()):
        trials, runs, all_known = _plan(suite, fresh)
        return describe_suite(suite, [*trials, *runs], all_known, fresh)


def _one_of(cards: Sequence[str]) -> AbstractContextManager[Any]:
    """Each run sees one card, so the plan is made with one."""
    return patch_environment(CUDA_VISIBLE_DEVICES=cards[0]) if cards else nullcontext()


def _plan(suite: SuiteFile, fresh: bool) -> tuple[list[Run], list[Run], bool]:
    """The trials, the grid, and whether all trials are known."""
    trials, all_known = planned_trials(suite, fresh)
    if fresh:
        return trials, grid_runs(suite, {}), all_known
    check_trials(trials)
    chosen = {cell: choice["chosen"] for cell, choice in known_choices(suite).items()}
    return trials, grid_runs(suite, chosen), all_known


def _check_models(runs: Sequence[Run]) -> None:
    """Look for each model once, as one that is not there would fail run by run."""
    for model, task in {run.task.arguments.model: run.task for run in runs}.items():
        try:
            task.check_model()
        except OSError as error:
            raise ValueError(f"the model {model} cannot be loaded: {error}") from error


def _parse(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        prog="hf-vasso suite",
        description="Make the runs of a suite: a grid of methods, tasks and seeds from one YAML file. Repeating the "
        "command skips what is finished and continues what was cut off.",
    )
    parser.add_argument("file", help="the suite's file")
    parser.add_argument(
        "--jobs", type=_positive, help="runs at a time (default: one per graphics card, on Ray as many as fit, else 1)"
    )
    parser.add_argument("--backend", choices=["ray"], help="make the runs on a Ray cluster instead of this machine")
    parser.add_argument("--dry_run", action="store_true", help="list all trials and runs with their cost, and stop")
    parser.add_argument("--fresh", action="store_true", help="start over: delete what an earlier suite wrote")
    for flag, text in _REPEATED.items():
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"must be a whole number, at least 1, got {text!r}")
    return int(text)


def _workers_here(suite: SuiteFile, wanted: int | None, cards: Sequence[str]) -> int:
    start_server(suite.threads_per_run)
    return wanted or len(cards) or 1


def _workers_on_cluster(suite: SuiteFile, wanted: int | None) -> int:
    room = cluster_workers(suite.threads_per_run)
    if wanted and wanted > room:
        raise ValueError(f"the Ray cluster has room for {room} runs at a time, got --jobs {wanted}; ask for fewer")
    return wanted or room

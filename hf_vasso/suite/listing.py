"""List the trials and runs of a suite with what they would cost and how far they are: `--dry_run`."""

from collections.abc import Sequence

from hf_vasso.results.statistics import seeds_needed
from hf_vasso.results.tables import text_table
from hf_vasso.suite.planning import Run, run_state
from hf_vasso.suite.suite_file import SuiteFile

__all__ = ["describe_suite"]


def describe_suite(suite: SuiteFile, runs: Sequence[Run], all_known: bool, fresh: bool) -> str:
    """
    List what a suite would do.

    Args:
        suite: The suite's file.
        runs: Its trials and its grid.
        all_known: Whether all values that will be tried are known.
        fresh: Whether everything would be done anew.

    Returns:
        A table, what it adds up to, and whether its seeds can show a difference.
    """
    rows = [_row(run, fresh) for run in runs]
    left = [run for run, row in zip(runs, rows, strict=True) if row["state"] != "done"]
    lines = [
        text_table(rows),
        "",
        f"{len(left)} of {len(runs)} are to be made, with {sum(run.steps for run in left)} steps and "
        f"{sum(run.passes for run in left)} forward passes.",
    ]
    lines += _about_tests(suite)
    if not all_known:
        lines.append(
            "A stage of the selection is tried at the best values of those before it. Where these are not known yet, "
            "the first ones stand in for them."
        )
    return "\n".join(lines)


def _about_tests(suite: SuiteFile) -> list[str]:
    comparisons = len(suite.contrasts) * len(suite.tasks)
    if not comparisons:
        return []
    needed, seeds = seeds_needed(comparisons), len(suite.seeds)
    remedy = "; add seeds, or name fewer contrasts" if seeds < needed else ""
    contrasts = ", ".join(" minus ".join(pair) for pair in suite.contrasts)
    return [
        f"Contrasts: {contrasts}. Tested on all tasks together they need {needed} seeds, and the suite has "
        f"{seeds}{remedy}."
    ]


def _row(run: Run, fresh: bool) -> dict[str, object]:
    state = run_state(run)
    return {
        "kind": "run" if run.tries is None else "trial",
        "task": run.planned.task_label,
        "method": run.planned.label,
        "seed": run.planned.seed,
        "steps": run.steps,
        "passes": run.passes,
        "state": "starts over" if fresh and state != "missing" else state,
        "folder": run.planned.folder,
    }

"""List the trials and runs of a suite with what they would cost and how far they are: `--dry_run`."""

from collections.abc import Sequence

from hf_vasso.results.tables import text_table
from hf_vasso.suite.planning import Run, run_state

__all__ = ["describe_suite"]


def describe_suite(runs: Sequence[Run], all_known: bool, fresh: bool) -> str:
    """
    List what a suite would do.

    Args:
        runs: Its trials and its grid.
        all_known: Whether all values that will be tried are known.
        fresh: Whether everything would be done anew.

    Returns:
        A table, and what it adds up to.
    """
    rows = [_row(run, fresh) for run in runs]
    left = [run for run, row in zip(runs, rows, strict=True) if row["state"] != "done"]
    lines = [
        text_table(rows),
        "",
        f"{len(left)} of {len(runs)} are to be made, with {sum(run.steps for run in left)} steps and "
        f"{sum(run.passes for run in left)} forward passes.",
    ]
    if not all_known:
        lines.append(
            "A stage of the selection is tried at the best values of those before it. Where these are not known yet, "
            "the first ones stand in for them."
        )
    return "\n".join(lines)


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

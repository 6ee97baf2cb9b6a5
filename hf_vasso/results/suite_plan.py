"""What a suite set out to do: `suite.json` in its output folder, from which reports know contrasts and missing runs."""

from dataclasses import asdict, dataclass
from pathlib import Path

from hf_vasso.results.files import write_json

__all__ = ["SUITE_FILE", "PlannedRun", "SuitePlan", "write_suite_plan"]

SUITE_FILE = "suite.json"


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
        contrasts: Pairs of method labels, the first minus the second; the first pair is the primary one. Empty where
            the suite's file names none.
        runs: All runs of the grid.
        selection: Task label to method label to what was chosen on held-out training examples: "chosen" (flag to
            value), "trials" (how many), "metric", "holdout_samples" and "seeds". Empty without a selection.
        schema: Version of this layout.
    """

    name: str
    contrasts: list[list[str]]
    runs: list[PlannedRun]
    selection: dict[str, dict[str, dict]]
    schema: int = 1


def write_suite_plan(plan: SuitePlan, folder: Path) -> None:
    """
    Write `suite.json` atomically.

    Args:
        plan: What to write.
        folder: The suite's output folder.
    """
    write_json(folder / SUITE_FILE, asdict(plan))

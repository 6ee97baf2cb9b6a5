"""The cells of a report, one metric of one method on one task, and which of its runs collapsed."""

import math
from dataclasses import dataclass
from statistics import fmean

from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.record import Record
from hf_vasso.results.statistics import mean_interval

__all__ = ["Cell", "Collapse", "majority_of", "make_cells", "make_collapses"]


@dataclass(frozen=True)
class Cell:
    """
    One metric of one method on one task. Values are as in records: an accuracy is a share in [0, 1].

    Args:
        task: What reports call the task.
        model: The model.
        where: What sentences and figures call the task: with the model where there are several.
        method: The method's label.
        name: What is read for it: AdamW for the label "none".
        metric: The metric's name in records.
        direction: "higher" or "lower", whichever is better.
        headline: Whether it is the task's headline metric.
        values: Seed to value, sorted by seed; a value that is not finite is not among them.
        mean: Mean over the seeds.
        low: Lower end of the 95 % interval of the mean; minus infinity for one seed.
        high: Upper end of the interval; infinity for one seed.
        interval: Its method: "Student t", "bootstrap", or "" for one seed.
        train_examples: Examples trained on.
        eval_examples: Examples in the (first) evaluation split.
    """

    task: str
    model: str
    where: str
    method: str
    name: str
    metric: str
    direction: str
    headline: bool
    values: dict[int, float]
    mean: float
    low: float
    high: float
    interval: str
    train_examples: int
    eval_examples: int

    @property
    def count(self) -> int:
        """The number of seeds, n."""
        return len(self.values)


@dataclass(frozen=True)
class Collapse:
    """
    How many runs of one method on one task give one answer for everything, or a metric that is no number.

    Args:
        task: What reports call the task.
        model: The model.
        method: The method's label.
        name: What tables call the method.
        collapsed: How many did.
        count: Of how many it is known.
    """

    task: str
    model: str
    method: str
    name: str
    collapsed: int
    count: int


def make_cells(runs: TaskRuns) -> list[Cell]:
    """
    The cells of a task.

    Args:
        runs: The task's runs.

    Returns:
        Metric by metric, the headline first, and method by method. A cell without a finite value is left out.
    """
    cells = [_cell(runs, label, metric) for metric in runs.metrics for label in runs.methods]
    return [cell for cell in cells if cell is not None]


def make_collapses(runs: TaskRuns) -> list[Collapse]:
    """
    How many runs of each method of a task collapsed.

    Args:
        runs: The task's runs.

    Returns:
        Method by method.
    """
    return [_collapse(runs, label) for label in runs.methods]


def majority_of(runs: TaskRuns) -> dict[str, float]:
    """
    What the most frequent label scores on a task, by metric.

    Args:
        runs: The task's runs, all on the same data.

    Returns:
        What the first record says that tells it; empty where none does.
    """
    records = (record for records in runs.methods.values() for record in records)
    return next((record.majority for record in records if record.majority), {})


def _cell(runs: TaskRuns, label: str, metric: str) -> Cell | None:
    records = runs.methods[label]
    values = {record.seed: record.metrics[metric] for record in records if math.isfinite(record.metrics[metric])}
    if not values:
        return None
    interval = mean_interval(list(values.values()))
    return Cell(
        task=runs.task,
        model=runs.model,
        where=runs.where,
        method=label,
        name=runs.name(label),
        metric=metric,
        direction=records[0].directions[metric],
        headline=metric == runs.metrics[0],
        values=values,
        mean=fmean(values.values()),
        low=interval.low,
        high=interval.high,
        interval=interval.method,
        train_examples=records[0].train_examples,
        eval_examples=records[0].eval_examples,
    )


def _collapse(runs: TaskRuns, label: str) -> Collapse:
    known = [collapsed for collapsed in map(_has_collapsed, runs.methods[label]) if collapsed is not None]
    return Collapse(runs.task, runs.model, label, runs.name(label), sum(known), len(known))


def _has_collapsed(record: Record) -> bool | None:
    return True if not all(map(math.isfinite, record.metrics.values())) else record.collapsed

"""What a method costs: passes, time relative to the base of the same task, and memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median

from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.record import Record

__all__ = ["Cost", "make_costs", "mean_cost"]

_TOKENS = "tokens_per_second"


@dataclass(frozen=True)
class Cost:
    """
    What one method costs on one task. Passes and steps are means over its runs. What a clock or a memory meter read is
    their median, as a run that was suspended or had company tells nothing of the method.

    Args:
        task: What reports call the task.
        model: The model.
        method: The method's label.
        name: What tables call the method.
        passes: Forward passes (micro-batches per process).
        steps: Optimizer steps.
        seconds_per_step: Wall-clock seconds.
        relative: Seconds per step divided by those of the task's base; None without a base, or where the two were not
            measured on one kind of device with the same number of threads.
        train_seconds: Wall-clock seconds of the training.
        tokens_per_second: Of sources and targets without padding, during the training; None where runs have none.
        peak_memory_bytes: The most memory in use at once.
        count: The number of runs.
    """

    task: str
    model: str
    method: str
    name: str
    passes: float
    steps: float
    seconds_per_step: float
    relative: float | None
    train_seconds: float
    tokens_per_second: float | None
    peak_memory_bytes: float
    count: int


def make_costs(runs: TaskRuns) -> list[Cost]:
    """
    What each method of a task costs.

    Args:
        runs: The task's runs.

    Returns:
        Method by method.
    """
    return [_cost(runs, label) for label in runs.methods]


def mean_cost(records: Sequence[Record], entry: str) -> float:
    """The mean of an entry of the records' costs."""
    return fmean(record.cost[entry] for record in records)


def _median_cost(records: Sequence[Record], entry: str) -> float:
    return median(record.cost[entry] for record in records)


def _cost(runs: TaskRuns, label: str) -> Cost:
    records = runs.methods[label]
    return Cost(
        task=runs.task,
        model=runs.model,
        method=label,
        name=runs.name(label),
        passes=mean_cost(records, "forward_passes"),
        steps=mean_cost(records, "steps"),
        seconds_per_step=_median_cost(records, "seconds_per_step"),
        relative=_relative(records, runs.methods[runs.base] if runs.base else []),
        train_seconds=_median_cost(records, "train_seconds"),
        tokens_per_second=_median_cost(records, _TOKENS) if _count_tokens(records) else None,
        peak_memory_bytes=_median_cost(records, "peak_memory_bytes"),
        count=len(records),
    )


def _count_tokens(records: Sequence[Record]) -> bool:
    return all(_TOKENS in record.cost for record in records)


def _relative(records: Sequence[Record], base: Sequence[Record]) -> float | None:
    machines = {(record.environment["device"], record.environment.get("threads")) for record in (*records, *base)}
    seconds_of_base = _median_cost(base, "seconds_per_step") if base else 0.0
    if len(machines) > 1 or not seconds_of_base:
        return None
    return _median_cost(records, "seconds_per_step") / seconds_of_base

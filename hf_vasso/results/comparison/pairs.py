"""Which methods are compared with which, and how many comparisons were planned."""

from collections.abc import Iterable, Mapping, Sequence

from hf_vasso.results.comparison.metric_words import HEADLINE, kind_of
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.method_labels import default_contrasts
from hf_vasso.results.suite_plan import SuitePlan

__all__ = ["Pair", "Pairs", "make_pairs", "planned_comparisons"]

Pair = tuple[str, str]
Pairs = Mapping[tuple[str, str], Sequence[Pair]]


def make_pairs(tasks: Iterable[TaskRuns], plans: Sequence[SuitePlan]) -> Pairs:
    """
    Which methods are compared with which.

    Args:
        tasks: All runs, sorted.
        plans: The suites' plans.

    Returns:
        Model and task to the pairs of labels: those of the plans that have the task, else the default ones.
    """
    return {
        (runs.model, runs.task): _planned(runs.model, runs.task_label, plans) or default_contrasts(runs.method_names)
        for runs in tasks
    }


def planned_comparisons(kind: str, tasks: Sequence[TaskRuns], pairs: Pairs, plans: Sequence[SuitePlan]) -> int:
    """
    How many comparisons of a kind of metrics there would be if all planned runs were there.

    Args:
        kind: One of `CORRECTED_TOGETHER`.
        tasks: All runs, sorted.
        pairs: Model and task to the pairs of labels that are compared there.
        plans: The suites' plans.

    Returns:
        The pairs of all tasks that have the metric, finite or not, and of those that have no record at all: what is
        not known of them makes no other comparison easier.
    """
    with_kind = [runs for runs in tasks if kind == HEADLINE or kind in map(kind_of, runs.metrics[1:])]
    seen = sum(len(pairs[runs.model, runs.task]) for runs in with_kind)
    without_records = {(run.model, run.task_label) for plan in plans for run in plan.runs} - {
        (runs.model, runs.task_label) for runs in tasks
    }
    return seen + sum(len(_planned(model, task_label, plans)) for model, task_label in without_records)


def _planned(model: str, task_label: str, plans: Iterable[SuitePlan]) -> list[Pair]:
    pairs = [
        (first, second)
        for plan in plans
        if any((run.model, run.task_label) == (model, task_label) for run in plan.runs)
        for first, second in plan.contrasts
    ]
    return list(dict.fromkeys(pairs))

"""The mean over tasks, of a method or of a contrast, with an interval stratified on tasks and seeds."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.metric_words import SCORE, in_print_order, is_score
from hf_vasso.results.comparison.pairs import Pairs
from hf_vasso.results.statistics import paired_values, stratified_interval
from hf_vasso.results.words import joined_names

__all__ = ["Aggregate", "TaskScore", "make_aggregates", "make_task_scores"]


@dataclass(frozen=True)
class TaskScore:
    """
    What one task adds to an average: as in GLUE's own, the mean of its metrics where it has several, MNLI's two
    evaluation splits included.

    Args:
        task: What reports call the task.
        model: The model.
        method: The method's label.
        name: What is read for it.
        metric: "score" where all its metrics are shares or correlations of GLUE, else the headline metric's name.
        metrics: The metrics that are averaged, in the order in which they are printed.
        values: Seed to score, of the seeds that have all of them.
    """

    task: str
    model: str
    method: str
    name: str
    metric: str
    metrics: tuple[str, ...]
    values: dict[int, float]


@dataclass(frozen=True)
class Aggregate:
    """
    The mean over tasks, of one method or of one contrast.

    Args:
        model: The model.
        metric: That of the task scores: "score", or the headline metric that all tasks share.
        first: A method's label.
        second: The label of the one that is subtracted; None: of a method, not of a contrast.
        name: What is read for it: "vasso", "vasso minus AdamW", and "AdamW/SGD" where tasks differ in it.
        mean: The mean over tasks of the mean over seeds.
        low: Lower end of its 95 % interval; minus infinity where a task has one seed.
        high: Upper end of the interval; infinity where a task has one seed.
        tasks: What it is the mean of.
        seeds: The number of seeds of each task.
    """

    model: str
    metric: str
    first: str
    second: str | None
    name: str
    mean: float
    low: float
    high: float
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]


def make_task_scores(cells: Sequence[Cell]) -> list[TaskScore]:
    """
    What each task adds to an average.

    Args:
        cells: All cells.

    Returns:
        Task by task and method by method; a method without a seed that has all the task's metrics is left out.
    """
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.model, cell.task), []).append(cell)
    return [score for group in groups.values() for score in _scores_of_task(group)]


def make_aggregates(scores: Sequence[TaskScore], pairs: Pairs) -> list[Aggregate]:
    """
    Average over tasks.

    Args:
        scores: What each task adds.
        pairs: Model and task to the pairs of labels that are compared there.

    Returns:
        For each model and kind of metric: the methods, over the tasks that all of them have; then the contrasts, each
        over the tasks that have it. Only over two tasks or more.
    """
    aggregates = []
    for model, metric in dict.fromkeys((score.model, score.metric) for score in scores):
        by_task: dict[str, dict[str, TaskScore]] = {}
        for score in scores:
            if (score.model, score.metric) == (model, metric):
                by_task.setdefault(score.task, {})[score.method] = score
        aggregates += [*_of_methods(by_task), *_of_contrasts(by_task, pairs, model)]
    return aggregates


def _scores_of_task(cells: Sequence[Cell]) -> list[TaskScore]:
    headline = next((cell.metric for cell in cells if cell.headline), None)
    if headline is None:  # none of its values is finite
        return []
    scores = [cell.metric for cell in cells if is_score(cell.metric)]
    metrics = in_print_order(set(scores)) if is_score(headline) else (headline,)
    by_label: dict[str, dict[str, Cell]] = {}
    for cell in cells:
        by_label.setdefault(cell.method, {})[cell.metric] = cell
    complete = [of_method for of_method in by_label.values() if set(metrics) <= of_method.keys()]
    return [score for of_method in complete if (score := _task_score(of_method, metrics)).values]


def _task_score(cells: Mapping[str, Cell], metrics: tuple[str, ...]) -> TaskScore:
    first, *others = (cells[metric] for metric in metrics)
    seeds = [seed for seed in first.values if all(seed in cell.values for cell in others)]
    return TaskScore(
        task=first.task,
        model=first.model,
        method=first.method,
        name=first.name,
        metric=SCORE if is_score(first.metric) else first.metric,
        metrics=metrics,
        values={seed: fmean(cells[metric].values[seed] for metric in metrics) for seed in seeds},
    )


def _of_methods(by_task: Mapping[str, Mapping[str, TaskScore]]) -> list[Aggregate]:
    labels = dict.fromkeys(label for methods in by_task.values() for label in methods)
    shared = [methods for methods in by_task.values() if labels.keys() == methods.keys()]
    if len(shared) < 2:
        return []
    return [_aggregate([methods[label] for methods in shared], None) for label in labels]


def _of_contrasts(by_task: Mapping[str, Mapping[str, TaskScore]], pairs: Pairs, model: str) -> list[Aggregate]:
    aggregates = []
    for first, second in dict.fromkeys(pair for task in by_task for pair in pairs[model, task]):
        both = [
            (methods[first], methods[second])
            for task, methods in by_task.items()
            if (first, second) in pairs[model, task]
            and {first, second} <= methods.keys()
            and methods[first].values.keys() & methods[second].values.keys()
        ]
        if len(both) >= 2:
            firsts, seconds = zip(*both, strict=True)
            aggregates.append(_aggregate(firsts, seconds))
    return aggregates


def _aggregate(firsts: Sequence[TaskScore], seconds: Sequence[TaskScore] | None) -> Aggregate:
    first, second = firsts[0], seconds[0] if seconds else None
    samples = [list(score.values.values()) for score in firsts]
    if seconds:
        both = zip(firsts, seconds, strict=True)
        samples = [list(paired_values(one.values, other.values).values()) for one, other in both]
    interval = stratified_interval(samples)
    return Aggregate(
        model=first.model,
        metric=first.metric,
        first=first.method,
        second=second.method if second else None,
        name=f"{_name(firsts)} minus {_name(seconds)}" if seconds else _name(firsts),
        mean=fmean(map(fmean, samples)),
        low=interval.low,
        high=interval.high,
        tasks=tuple(score.task for score in firsts),
        seeds=tuple(map(len, samples)),
    )


def _name(scores: Iterable[TaskScore]) -> str:
    return joined_names(score.name for score in scores)

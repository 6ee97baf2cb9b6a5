"""Which methods are compared with which, and what the seeds say about each pair: differences, tests and verdicts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.metric_words import CALIBRATION, LOSS
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.method_labels import default_contrasts
from hf_vasso.results.statistics import (
    LEVEL,
    PairedDifference,
    holm,
    paired_difference,
    seeds_needed,
    sign_flip_p_value,
)
from hf_vasso.results.suite_plan import SuitePlan

__all__ = ["Contrast", "Pair", "family", "make_contrasts", "pairs_of"]

Pair = tuple[str, str]


@dataclass(frozen=True)
class Contrast:
    """
    First minus second on equal seeds, for one metric of one task.

    Args:
        task: What reports call the task.
        model: The model.
        metric: The metric's name in records.
        direction: "higher" or "lower", whichever is better.
        headline: Whether it is the task's headline metric.
        first: A method's label.
        second: Another one's.
        first_name: What tables call the first.
        second_name: What tables call the second.
        difference: First minus second, with its 95 % interval and the number of pairs.
        seeds: The seeds that both have.
        p_value: Of the two-sided sign-flip test; None for one pair.
        p_holm: The same after Holm's correction.
        comparisons: How many are corrected together: all that were planned, so that missing runs make no other easier.
        seeds_needed: How many seeds a test needs to reach 0.05 with so many.
        verdict: "better" or "worse" where `p_holm` is at most 0.05, "too few seeds" where it could not be, and
            "no difference shown": the first against the second.
    """

    task: str
    model: str
    metric: str
    direction: str
    headline: bool
    first: str
    second: str
    first_name: str
    second_name: str
    difference: PairedDifference
    seeds: tuple[int, ...]
    p_value: float | None
    p_holm: float | None
    comparisons: int
    seeds_needed: int
    verdict: str


def pairs_of(runs: TaskRuns, plans: Iterable[SuitePlan]) -> list[Pair]:
    """
    Which methods of a task are compared.

    Args:
        runs: The task's runs.
        plans: The suites' plans.

    Returns:
        Those of the plans that have the task, else the default ones.
    """
    planned = [
        (first, second)
        for plan in plans
        for first, second in plan.contrasts
        if any((run.task_label, run.model) == (runs.task_label, runs.model) for run in plan.runs)
    ]
    return list(dict.fromkeys(planned or default_contrasts(runs.method_names)))


def make_contrasts(cells: Sequence[Cell], pairs: dict[tuple[str, str], list[Pair]]) -> list[Contrast]:
    """
    Compare methods on equal seeds.

    Args:
        cells: All cells.
        pairs: Model and task to the pairs of labels that are compared there.

    Returns:
        Those for which there are common seeds: the headline metrics, then loss and calibration error, each family
        corrected by Holm for all its pairs and tasks; within a family pair by pair, the primary one first.
    """
    found = {(cell.model, cell.task, cell.metric, cell.method): cell for cell in cells}
    contrasts = []
    for model, task, metric in dict.fromkeys((cell.model, cell.task, cell.metric) for cell in cells):
        for first, second in pairs[model, task]:
            both = [found.get((model, task, metric, label)) for label in (first, second)]
            if both[0] and both[1] and family(both[0]) and both[0].values.keys() & both[1].values.keys():
                contrasts.append(_contrast(both[0], both[1]))
    order = list(dict.fromkeys(pair for of_task in pairs.values() for pair in of_task))
    contrasts.sort(key=lambda contrast: order.index((contrast.first, contrast.second)))
    corrected = []
    for name in ("headline", LOSS, CALIBRATION):
        tasks = {(cell.model, cell.task) for cell in cells if family(cell) == name}
        planned = sum(len(pairs[task]) for task in tasks)
        corrected += _corrected([contrast for contrast in contrasts if family(contrast) == name], planned)
    return corrected


def family(row: Cell | Contrast) -> str | None:
    """What a metric is tested together with: "headline", "loss" or the calibration error; None if it is not tested."""
    if row.headline:
        return "headline"
    return row.metric if row.metric in (LOSS, CALIBRATION) else None


def _contrast(first: Cell, second: Cell) -> Contrast:
    difference = paired_difference(first.values, second.values)
    seeds = tuple(seed for seed in first.values if seed in second.values)
    p_value = None
    if difference.count > 1:
        p_value = sign_flip_p_value([first.values[seed] - second.values[seed] for seed in seeds])
    return Contrast(
        task=first.task,
        model=first.model,
        metric=first.metric,
        direction=first.direction,
        headline=first.headline,
        first=first.method,
        second=second.method,
        first_name=first.name,
        second_name=second.name,
        difference=difference,
        seeds=seeds,
        p_value=p_value,
        p_holm=None,
        comparisons=0,
        seeds_needed=0,
        verdict="",
    )


def _corrected(contrasts: Sequence[Contrast], planned: int) -> list[Contrast]:
    """One family of contrasts with its correction, for as many as were planned, and what follows from it."""
    if not contrasts:
        return []
    p_values = [1.0 if contrast.p_value is None else contrast.p_value for contrast in contrasts]
    corrected = holm([*p_values, *[1.0] * (planned - len(p_values))])[: len(p_values)]
    return [
        _with_verdict(
            replace(
                contrast,
                p_holm=None if contrast.p_value is None else p_holm,
                comparisons=planned,
                seeds_needed=seeds_needed(planned),
            )
        )
        for contrast, p_holm in zip(contrasts, corrected, strict=True)
    ]


def _with_verdict(contrast: Contrast) -> Contrast:
    if contrast.p_holm is not None and contrast.p_holm <= LEVEL:
        is_better = (contrast.difference.mean > 0) == (contrast.direction == "higher")
        return replace(contrast, verdict="better" if is_better else "worse")
    too_few = contrast.difference.count < contrast.seeds_needed
    return replace(contrast, verdict="too few seeds" if too_few else "no difference shown")

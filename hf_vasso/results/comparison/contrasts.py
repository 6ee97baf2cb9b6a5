"""What the seeds say about each pair of methods: differences, tests and verdicts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.metric_words import CORRECTED_TOGETHER, HEADLINE, kind_of
from hf_vasso.results.comparison.pairs import Pairs
from hf_vasso.results.statistics import (
    LEVEL,
    PairedDifference,
    holm,
    paired_difference,
    seeds_needed,
    sign_flip_p_value,
)

__all__ = ["Contrast", "corrected_with", "make_contrasts"]


@dataclass(frozen=True)
class Contrast:
    """
    First minus second on equal seeds, for one metric of one task.

    Args:
        task: What reports call the task.
        model: The model.
        where: What sentences and figures call the task: with the model where there are several.
        metric: The metric's name in records.
        direction: "higher" or "lower", whichever is better.
        headline: Whether it is the task's headline metric.
        first: A method's label.
        second: Another one's.
        first_name: What is read for the first.
        second_name: What is read for the second.
        difference: First minus second on the seeds that both have, with its 95 % interval.
        p_value: Of the two-sided sign-flip test; None for one pair.
        p_holm: The same after Holm's correction.
        comparisons: How many are corrected together: all that were planned, so that missing runs, and tasks without
            any, make no other easier.
        seeds_needed: How many seeds a test needs to reach 0.05 with so many.
        verdict: "better" or "worse" where `p_holm` is at most 0.05, "too few seeds" where it could not be, and
            "no difference shown": the first against the second.
    """

    task: str
    model: str
    where: str
    metric: str
    direction: str
    headline: bool
    first: str
    second: str
    first_name: str
    second_name: str
    difference: PairedDifference
    p_value: float | None
    p_holm: float | None
    comparisons: int
    seeds_needed: int
    verdict: str


def make_contrasts(cells: Sequence[Cell], pairs: Pairs, planned: Mapping[str, int]) -> list[Contrast]:
    """
    Compare methods on equal seeds.

    Args:
        cells: All cells.
        pairs: Model and task to the pairs of labels that are compared there.
        planned: For each of `CORRECTED_TOGETHER`, how many comparisons were planned.

    Returns:
        Those for which there are common seeds: the headline metrics, then loss and calibration error, each corrected
        by Holm for all its pairs and tasks, and listed pair by pair, the primary one first.
    """
    compared = _compared(cells, pairs)
    return [
        contrast
        for kind in CORRECTED_TOGETHER
        for contrast in _tested([both for both in compared if corrected_with(both[0]) == kind], planned[kind])
    ]


def corrected_with(row: Cell | Contrast) -> str | None:
    """Which of `CORRECTED_TOGETHER` a metric is; None if it is not tested."""
    return HEADLINE if row.headline else kind_of(row.metric)


def _compared(cells: Sequence[Cell], pairs: Pairs) -> list[tuple[Cell, Cell]]:
    """The cells of each pair, task and metric that have a seed in common, in the order of the pairs."""
    found = {(cell.model, cell.task, cell.metric, cell.method): cell for cell in cells}
    places = dict.fromkeys((cell.model, cell.task, cell.metric) for cell in cells)
    compared = []
    for first, second in dict.fromkeys(pair for of_task in pairs.values() for pair in of_task):
        for model, task, metric in places:
            one, other = (found.get((model, task, metric, label)) for label in (first, second))
            if (first, second) in pairs[model, task] and one and other and one.values.keys() & other.values.keys():
                compared.append((one, other))
    return compared


def _tested(compared: Sequence[tuple[Cell, Cell]], planned: int) -> list[Contrast]:
    """What is corrected together, for as many comparisons as were planned."""
    if not compared:
        return []
    differences = [paired_difference(first.values, second.values) for first, second in compared]
    p_values = [_p_value(difference) for difference in differences]
    corrected = holm(_with_ones(p_values, planned))
    return [
        _contrast(*cells, difference, p_value, p_holm, planned)
        for cells, difference, p_value, p_holm in zip(compared, differences, p_values, corrected, strict=False)
    ]


def _p_value(difference: PairedDifference) -> float | None:
    return sign_flip_p_value(list(difference.values.values())) if difference.count > 1 else None


def _with_ones(p_values: Sequence[float | None], planned: int) -> list[float]:
    """What could not be tested counts as a test that shows nothing."""
    known = [1.0 if p_value is None else p_value for p_value in p_values]
    return [*known, *[1.0] * (planned - len(known))]


def _contrast(
    first: Cell, second: Cell, difference: PairedDifference, p_value: float | None, p_holm: float, comparisons: int
) -> Contrast:
    needed = seeds_needed(comparisons)
    return Contrast(
        task=first.task,
        model=first.model,
        where=first.where,
        metric=first.metric,
        direction=first.direction,
        headline=first.headline,
        first=first.method,
        second=second.method,
        first_name=first.name,
        second_name=second.name,
        difference=difference,
        p_value=p_value,
        p_holm=None if p_value is None else p_holm,
        comparisons=comparisons,
        seeds_needed=needed,
        verdict=_verdict(difference, p_holm, needed, first.direction),
    )


def _verdict(difference: PairedDifference, p_holm: float, needed: int, direction: str) -> str:
    if p_holm <= LEVEL:
        return "better" if (difference.mean > 0) == (direction == "higher") else "worse"
    return "too few seeds" if difference.count < needed else "no difference shown"

"""The values that a method tries: none of what it does not use, and as many trials for each method."""

import inspect
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from heapq import heapify, heappush, heapreplace
from itertools import pairwise, product
from typing import Any

from hf_vasso.methods import METHODS
from hf_vasso.training.arguments import PERTURBATION_OPTIONS, VassoTrainingArguments

__all__ = ["at_edge", "combinations", "count_trials", "filled", "method_grids"]

Grid = dict[str, list[Any]]


def method_grids(stages: Iterable[Mapping[str, list[Any]]], methods: Mapping[str, str]) -> dict[str, list[Grid]]:
    """
    The grids of each method.

    A number that a method does not use is dropped. The budget is the number of trials of the method with the most; one
    with fewer tries more values of what it does use, the geometric means between those of the file.

    Args:
        stages: The grids of the file.
        methods: Method label to the preset's name.

    Returns:
        Method label to its stages. They have as many trials as the budget, or as near to it as a grid can come.

    Example:
        >>> stages = [{"learning_rate": [1e-4, 1e-2]}, {"rho": [0.1, 0.2]}]
        >>> grids = method_grids(stages, {"none": "none", "sam": "sam"})
        >>> grids["none"]
        [{'learning_rate': [0.0001, 0.000316, 0.001, 0.01]}]
        >>> grids["sam"]
        [{'learning_rate': [0.0001, 0.01]}, {'rho': [0.1, 0.2]}]
    """
    stages = list(stages)
    used = {label: _without_unused(stages, method) for label, method in methods.items()}
    budget = max(count_trials(grids) for grids in used.values())
    return {label: _with_budget(grids, budget) for label, grids in used.items()}


def count_trials(grids: Iterable[Grid]) -> int:
    """The number of trials of all stages together."""
    return sum(math.prod(map(len, grid.values())) for grid in grids)


def combinations(grid: Grid) -> list[dict[str, Any]]:
    """All combinations of a grid's values, the last flag changing fastest."""
    return [dict(zip(grid, values, strict=True)) for values in product(*grid.values())]


def filled(values: list[float], count: int) -> list[float]:
    """
    Put geometric means, to three digits, into the widest gaps between some values until there are enough.

    Args:
        values: At least one positive number.
        count: How many to return, or fewer where the gaps are too narrow or there are none.

    Returns:
        The values, ascending.

    Example:
        >>> filled([0.1, 0.4, 0.8], 4)
        [0.1, 0.2, 0.4, 0.8]
    """
    values = sorted(values)
    gaps = [(-high / low, low, high) for low, high in pairwise(values)]  # the widest is the smallest entry
    heapify(gaps)
    while len(values) < count and gaps:
        _, low, high = gaps[0]
        mean = float(f"{math.sqrt(low * high):.3g}")
        if not low < mean < high:
            break
        values.append(mean)
        heapreplace(gaps, (-mean / low, low, mean))
        heappush(gaps, (-high / mean, mean, high))
    return sorted(values)


def at_edge(grid: Grid, chosen: Mapping[str, Any]) -> list[str]:
    """
    Where a choice is the smallest or the largest value tried, so that better ones may lie beyond.

    Args:
        grid: What was tried.
        chosen: Flag to value.

    Returns:
        A sentence for each such flag.

    Example:
        >>> at_edge({"rho": [0.1, 0.2, 0.4]}, {"rho": 0.4})
        ['rho 0.4 is the largest value tried; better ones may lie beyond']
    """
    sentences = []
    for flag, values in grid.items():
        ends = {min(values): "smallest", max(values): "largest"} if _is_real(flag, values) and len(values) > 1 else {}
        if chosen[flag] in ends:
            sentences.append(
                f"{flag} {chosen[flag]:g} is the {ends[chosen[flag]]} value tried; better ones may lie beyond"
            )
    return sentences


def _without_unused(stages: Iterable[Mapping[str, list[Any]]], method: str) -> list[Grid]:
    preset = METHODS[method]
    numbers = {name for other in METHODS.values() for name in inspect.signature(other).parameters}
    unused = numbers - inspect.signature(preset).parameters.keys()
    if not preset().schedule.perturbs:
        unused |= set(PERTURBATION_OPTIONS)
    grids = [{flag: values for flag, values in stage.items() if flag not in unused} for stage in stages]
    return [grid for grid in grids if grid]


def _with_budget(grids: list[Grid], budget: int) -> list[Grid]:
    """Fill the first real number with a gap, of the last stage that has one."""
    missing = budget - count_trials(grids)
    for stage, grid in reversed(list(enumerate(grids))):
        for flag, values in grid.items():
            if missing and _is_real(flag, values) and len(values) > 1:
                trials = count_trials([grid])
                count = (trials + missing) * len(values) // trials
                return [*grids[:stage], {**grid, flag: filled(values, count)}, *grids[stage + 1 :]]
    return grids


def _is_real(flag: str, values: Iterable[Any]) -> bool:
    """Whether values are positive numbers of a flag that takes fractions."""
    types = {entry.name: str(entry.type) for entry in fields(VassoTrainingArguments)}
    return "float" in types.get(flag, "") and all(isinstance(value, int | float) and value > 0 for value in values)

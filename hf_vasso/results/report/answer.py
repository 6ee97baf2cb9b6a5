"""What a report says first: the verdict of the primary contrast, made of its numbers."""

import math
from collections.abc import Sequence

from hf_vasso.results.comparison import Comparison
from hf_vasso.results.comparison.aggregates import Aggregate
from hf_vasso.results.comparison.contrasts import Contrast
from hf_vasso.results.comparison.costs import Cost
from hf_vasso.results.comparison.metric_words import format_estimate, is_percent, metric_name
from hf_vasso.results.statistics import BOOTSTRAP_FROM
from hf_vasso.results.suite_plan import SuitePlan
from hf_vasso.results.words import one_or_range

__all__ = ["answer"]

_NOTHING = (
    "Nothing is compared: that takes two methods with equal seeds on one task. Where no suite names the methods, they "
    "are VASSO and SAM, then VASSO and the base."
)
_VERDICTS = {
    "better": "better",
    "worse": "worse",
    "no difference shown": "not shown to differ",
    "too few seeds": "too few seeds to tell",
}


def answer(comparison: Comparison, plans: Sequence[SuitePlan]) -> list[str]:
    """
    Answer the question that the runs were made for: what the primary contrast says, in plain words.

    Args:
        comparison: All that was compared.
        plans: Those of the suites, of which the first names the primary contrast first.

    Returns:
        Sentences: the verdict on each task, then the numbers behind it, then what the first method costs.
    """
    headline = [contrast for contrast in comparison.contrasts if contrast.headline]
    named = [*(tuple(pair) for plan in plans for pair in plan.contrasts), *map(_pair, headline)]
    if not named:
        return [_NOTHING]
    primary = [contrast for contrast in headline if _pair(contrast) == named[0]]
    first, second = map(comparison.name, named[0])
    if not primary:
        return [f"{first} minus {second}, the primary contrast: the two have no seed in common yet."]
    averages = [average for average in comparison.aggregates if (average.first, average.second) == named[0]]
    return [
        f"{first} against {second}: {_verdicts(primary)}.",
        *map(_sentence, primary),
        *(_average_sentence(average, comparison.has_several_models) for average in averages),
        *_cost_sentence(first, second, primary, comparison.costs),
    ]


def _pair(contrast: Contrast) -> tuple[str, str]:
    return contrast.first, contrast.second


def _verdicts(primary: Sequence[Contrast]) -> str:
    tasks: dict[str, list[str]] = {}
    for contrast in primary:
        tasks.setdefault(_VERDICTS[contrast.verdict], []).append(contrast.where)
    return "; ".join(f"{verdict} on {', '.join(names)}" for verdict, names in tasks.items())


def _sentence(contrast: Contrast) -> str:
    difference, metric = contrast.difference, contrast.metric
    words = format_estimate(metric, difference.mean, difference.low, difference.high, _unit(metric))
    p_value = "no test" if contrast.p_holm is None else f"Holm p = {contrast.p_holm:.2g}"
    needed = f"; {contrast.seeds_needed} are needed" if contrast.verdict == "too few seeds" else ""
    return (
        f"{contrast.first_name} minus {contrast.second_name} in {metric_name(metric)} on {contrast.where}: "
        f"{words}, n = {difference.count}, {_VERDICTS[contrast.verdict]} ({p_value}{needed})."
    )


def _average_sentence(row: Aggregate, has_several_models: bool) -> str:
    words = format_estimate(row.metric, row.mean, row.low, row.high, _unit(row.metric))
    tasks = f"{len(row.tasks)} tasks{f' with {row.model}' if has_several_models else ''}"
    is_narrow = min(row.seeds) < BOOTSTRAP_FROM and math.isfinite(row.low)
    caveat = f" (with fewer than {BOOTSTRAP_FROM} seeds the interval is too narrow)" if is_narrow else ""
    counts = one_or_range(row.seeds)
    return f"{row.name} in {metric_name(row.metric)}, mean of {tasks}: {words}, n = {counts}{caveat}."


def _unit(metric: str) -> str:
    return " points" if is_percent(metric) else ""


def _cost_sentence(first: str, second: str, primary: Sequence[Contrast], costs: Sequence[Cost]) -> list[str]:
    passes = {(cost.model, cost.task, cost.method): cost.passes for cost in costs}
    ratios = [
        passes[row.model, row.task, row.first] / passes[row.model, row.task, row.second]
        for row in primary
        if passes[row.model, row.task, row.second]
    ]
    if not ratios:
        return []
    times = " to ".join(dict.fromkeys(f"{ratio:.2g}" for ratio in (min(ratios), max(ratios))))
    words = "as many" if times == "1" else f"{times} times as many"
    return [f"A training with {first} makes {words} forward passes as one with {second}."]

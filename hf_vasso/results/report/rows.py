"""Turn a comparison into rows of words, one list for every writer of tables."""

import math
from collections.abc import Mapping, Sequence

from hf_vasso.results.comparison import Aggregate, Cell, Collapse, Comparison, Contrast, Cost, SentenceTest
from hf_vasso.results.comparison.metric_words import (
    SECONDARY,
    format_difference,
    format_value,
    is_percent,
    metric_name,
    shared_name,
)
from hf_vasso.results.comparison.sentence_tests import SENTENCE_METRIC
from hf_vasso.results.comparison.task_runs import MAJORITY
from hf_vasso.results.words import joined_names, one_or_range, unlike

__all__ = [
    "aggregate_rows",
    "contrast_rows",
    "cost_rows",
    "score_rows",
    "secondary_rows",
    "seed_rows",
    "sentence_rows",
]

Row = dict[str, str]

_ARROWS = {"higher": "↑", "lower": "↓"}


def score_rows(comparison: Comparison) -> list[Row]:
    """
    The scores as people print GLUE: a row per method, a column per task.

    Args:
        comparison: What is printed.

    Returns:
        With several models, "model"; "method"; per task "mean ± half of the 95 % interval", two metrics of a task side
        by side, as MRPC's F1/accuracy or MNLI's m/mm; the average where there is one; "n", the number of seeds. A
        cell without a value is empty. A method that is called otherwise on another task has all its names, as in
        "AdamW/SGD". What the most frequent label scores stands last, where records tell it. A row
        is such as `{"method": "AdamW", "mrpc F1/accuracy ↑ (%)": "90.1 ± 0.4 / 86.5 ± 0.6", "n": "5"}`.
    """
    cells = {(cell.model, cell.task, cell.method, cell.metric): cell for cell in comparison.cells}
    metrics_of = {(score.model, score.task): score.metrics for score in comparison.task_scores}
    averages = {
        (average.model, average.first, average.metric): average
        for average in comparison.aggregates
        if average.second is None
    }
    headers: dict[tuple[str, tuple[str, ...]], str] = {}
    for (_, task), metrics in metrics_of.items():
        if (task, metrics) not in headers:
            headers[task, metrics] = unlike(headers.values(), _header(comparison, task, metrics))
    averaged = dict.fromkeys(metric for *_, metric in averages)

    def shown(model: str, task: str, metrics: tuple[str, ...]) -> tuple[str, ...]:
        """The metrics of a column if the model is scored by them; runs of one task may have other ones."""
        return metrics if metrics_of.get((model, task)) == metrics else ()

    rows = []
    for model, method in dict.fromkeys((cell.model, cell.method) for cell in comparison.cells):
        found = {
            header: [
                cell for metric in shown(model, task, metrics) if (cell := cells.get((model, task, method, metric)))
            ]
            for (task, metrics), header in headers.items()
        }
        rows.append(
            {
                **_model(comparison, model),
                "method": joined_names(
                    cell.name for cell in comparison.cells if (cell.model, cell.method) == (model, method)
                ),
                **{header: " / ".join(map(_with_half_width, of_task)) for header, of_task in found.items()},
                **{
                    _average_header(metric): _with_half_width(averages.get((model, method, metric)))
                    for metric in averaged
                },
                "n": _seeds([cell.count for of_task in found.values() for cell in of_task]),
            }
        )
    for model in dict.fromkeys(model for model, _ in comparison.majorities):
        rows.append(
            {
                **_model(comparison, model),
                "method": MAJORITY,
                **{
                    header: _majority_words(comparison.majorities.get((model, task), {}), shown(model, task, metrics))
                    for (task, metrics), header in headers.items()
                },
                **dict.fromkeys(map(_average_header, averaged), ""),
                "n": "",
            }
        )
    return rows


def secondary_rows(comparison: Comparison) -> list[Row]:
    """
    What stands beside the score: a row per task and method.

    Args:
        comparison: What is printed.

    Returns:
        "task", "method", those of `SECONDARY` as "mean ± half of the 95 % interval", empty where a task has none;
        "collapsed", how many runs give one answer for everything, of those for which it is known, without the column
        where it is known for none; "n".
    """
    others = [cell for cell in comparison.cells if not cell.headline]
    cells = {(cell.model, cell.task, cell.method, cell.metric): cell for cell in others}
    arrows = {cell.metric: _ARROWS[cell.direction] for cell in others}
    metrics = [metric for metric in SECONDARY if metric in arrows]
    any_known = any(collapse.count for collapse in comparison.collapses)
    rows = []
    for collapse in comparison.collapses:
        found = [cells.get((collapse.model, collapse.task, collapse.method, metric)) for metric in metrics]
        rows.append(
            {
                **_place(comparison, collapse),
                "method": collapse.name,
                **{
                    f"{_with_unit(metric)} {arrows[metric]}": _with_half_width(cell)
                    for metric, cell in zip(metrics, found, strict=True)
                },
                **({"collapsed": _collapsed(collapse)} if any_known else {}),
                "n": _seeds([cell.count for cell in found if cell]),
            }
        )
    return rows


def contrast_rows(comparison: Comparison) -> list[Row]:
    """
    The contrasts: a row per pair, task and tested metric.

    Args:
        comparison: What is printed.

    Returns:
        "task", "metric", "contrast", "difference", "95 % interval", "n", "p", "p (Holm)" and "verdict": better,
        worse, no difference shown, or too few seeds.
    """
    return [
        {
            **_place(comparison, contrast),
            "metric": f"{_with_unit(contrast.metric)} {_ARROWS[contrast.direction]}",
            "contrast": f"{contrast.first_name} minus {contrast.second_name}",
            "difference": format_difference(contrast.metric, contrast.difference.mean),
            "95 % interval": _interval(contrast.metric, contrast.difference.low, contrast.difference.high),
            "n": str(contrast.difference.count),
            "p": _p_value(contrast.p_value),
            "p (Holm)": _p_value(contrast.p_holm),
            "verdict": contrast.verdict,
        }
        for contrast in comparison.contrasts
    ]


def sentence_rows(comparison: Comparison) -> list[Row]:
    """
    The translations of each seed, compared sentence by sentence.

    Args:
        comparison: What is printed.

    Returns:
        "task", "metric", "contrast", "seed", "sentences", "first" and "second" (their scores), "difference", "p".
    """
    return [
        {
            **_place(comparison, test),
            "metric": metric_name(SENTENCE_METRIC),
            "contrast": f"{test.first_name} minus {test.second_name}",
            "seed": str(test.seed),
            "sentences": str(test.sentences),
            "first": format_value(SENTENCE_METRIC, test.first),
            "second": format_value(SENTENCE_METRIC, test.second),
            "difference": format_difference(SENTENCE_METRIC, test.first - test.second),
            "p": _p_value(test.p_value),
        }
        for test in comparison.sentence_tests
    ]


def aggregate_rows(comparison: Comparison) -> list[Row]:
    """
    The averages over tasks of the contrasts; those of the methods stand in `score_rows`.

    Args:
        comparison: What is printed.

    Returns:
        "contrast", "average difference" (a column per kind of metric), "95 % interval", "tasks" and "n", the seeds per
        task.
    """
    averages = [average for average in comparison.aggregates if average.second is not None]
    metrics = dict.fromkeys(average.metric for average in averages)
    return [
        {
            **_model(comparison, average.model),
            "contrast": average.name,
            **{
                f"{_average_header(metric)} difference": format_difference(metric, average.mean)
                if metric == average.metric
                else ""
                for metric in metrics
            },
            "95 % interval": _interval(average.metric, average.low, average.high),
            "tasks": ", ".join(average.tasks),
            "n": _seeds(average.seeds),
        }
        for average in averages
    ]


def cost_rows(comparison: Comparison) -> list[Row]:
    """
    What methods cost: a row per task and method, over its runs.

    Args:
        comparison: What is printed.

    Returns:
        "task", "method", "forward passes", "steps", "seconds per step", "relative to the base" (empty where unknown),
        "training (s)", "tokens per second" (where a task counts tokens), "peak memory (MiB)" and "n".
    """
    counts_tokens = any(cost.tokens_per_second is not None for cost in comparison.costs)
    return [
        {
            **_place(comparison, cost),
            "method": cost.name,
            "forward passes": f"{cost.passes:.0f}",
            "steps": f"{cost.steps:.0f}",
            "seconds per step": f"{cost.seconds_per_step:.4f}",
            "relative to the base": _number(cost.relative, ".2f"),
            "training (s)": f"{cost.train_seconds:.1f}",
            **({"tokens per second": _number(cost.tokens_per_second, ".0f")} if counts_tokens else {}),
            "peak memory (MiB)": f"{cost.peak_memory_bytes / 2**20:.0f}",
            "n": str(cost.count),
        }
        for cost in comparison.costs
    ]


def seed_rows(comparison: Comparison) -> list[Row]:
    """
    Every seed's value: a row per task, metric, method and seed.

    Args:
        comparison: What is printed.

    Returns:
        "task", "metric", "method", "seed" and "value", the full number as it stands in the record.
    """
    return [
        {
            **_place(comparison, cell),
            "metric": metric_name(cell.metric),
            "method": cell.name,
            "seed": str(seed),
            "value": repr(value),
        }
        for cell in comparison.cells
        for seed, value in cell.values.items()
    ]


def _place(comparison: Comparison, row: Cell | Contrast | Cost | Collapse | SentenceTest) -> Row:
    return {**_model(comparison, row.model), "task": row.task}


def _model(comparison: Comparison, model: str) -> Row:
    """The model's column, only where there are several."""
    return {"model": model} if comparison.has_several_models else {}


def _header(comparison: Comparison, task: str, metrics: Sequence[str]) -> str:
    cell = next(cell for cell in comparison.cells if cell.task == task and cell.metric == metrics[0])
    unit = " (%)" if is_percent(metrics[0]) else ""
    return f"{task} {shared_name(metrics)} {_ARROWS[cell.direction]}{unit}"


def _average_header(metric: str) -> str:
    return f"average {_with_unit(metric)}"


def _with_unit(metric: str) -> str:
    return f"{metric_name(metric)} (%)" if is_percent(metric) else metric_name(metric)


def _collapsed(collapse: Collapse) -> str:
    return f"{collapse.collapsed} of {collapse.count}" if collapse.count else ""


def _majority_words(majority: Mapping[str, float], metrics: Sequence[str]) -> str:
    return " / ".join(format_value(metric, majority[metric]) for metric in metrics if metric in majority)


def _with_half_width(row: Cell | Aggregate | None) -> str:
    if row is None:
        return ""
    mean = format_value(row.metric, row.mean)
    half_width = (row.high - row.low) / 2
    return f"{mean} ± {format_value(row.metric, half_width)}" if math.isfinite(half_width) else mean


def _interval(metric: str, low: float, high: float) -> str:
    if not math.isfinite(high - low):
        return ""
    return f"[{format_difference(metric, low)}, {format_difference(metric, high)}]"


def _p_value(p_value: float | None) -> str:
    return _number(p_value, ".2g")


def _number(number: float | None, form: str) -> str:
    return "" if number is None else format(number, form)


def _seeds(counts: Sequence[int]) -> str:
    return one_or_range(counts, to="–")  # a column of numbers to a table's eyes

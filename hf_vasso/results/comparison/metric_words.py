"""How a metric is called and how its values are printed: percents with one decimal, as GLUE does, a loss with four."""

import math
from collections.abc import Iterable, Sequence

from hf_vasso.results.metric_ranges import MISMATCHED, VALIDATION, base_metric

__all__ = [
    "CALIBRATION",
    "CORRECTED_TOGETHER",
    "HEADLINE",
    "LOSS",
    "SCORE",
    "SECONDARY",
    "format_difference",
    "format_estimate",
    "format_value",
    "in_print_order",
    "is_percent",
    "is_score",
    "kind_of",
    "metric_name",
    "shared_name",
]

LOSS, CALIBRATION = "loss", "expected_calibration_error"
HEADLINE = "headline"
CORRECTED_TOGETHER = (HEADLINE, LOSS, CALIBRATION)
"""The kinds of metrics that are tested, each corrected apart from the others."""
SCORE = "score"  # a task's score in an average over tasks
SECONDARY = (
    LOSS,
    CALIBRATION,
    "bleu",
    "bleu_tokenized",
    "chrf",
    *(VALIDATION + name for name in ("bleu", LOSS, "perplexity")),
)
"""What is printed beside a task's scores."""

# GLUE's, in the order in which it prints two of one task.
_SCORES = {
    "f1": "F1",
    "accuracy": "accuracy",
    "matthews_correlation": "Matthews correlation",
    "pearson": "Pearson",
    "spearmanr": "Spearman",
}
_NAMES = {
    **_SCORES,
    SCORE: "score",
    LOSS: "loss",
    CALIBRATION: "calibration error",
    "bleu": "sacreBLEU",
    "bleu_tokenized": "tokenised lower-cased BLEU",
    "chrf": "chrF",
}
_TWO_DECIMALS = {"bleu", "bleu_tokenized", "chrf", "perplexity"}
_LARGE = 1e6


def metric_name(metric: str) -> str:
    """
    What people call a metric.

    Args:
        metric: Its name in a record.

    Returns:
        Its name in words.

    Example:
        >>> metric_name("f1"), metric_name("accuracy_mismatched"), metric_name("validation_bleu")
        ('F1', 'accuracy (mismatched)', 'validation sacreBLEU')
    """
    base = base_metric(metric)
    name = _NAMES.get(base, base.replace("_", " "))
    name = f"validation {name}" if metric.startswith(VALIDATION) else name
    return f"{name} (mismatched)" if metric.endswith(MISMATCHED) else name


def kind_of(metric: str) -> str | None:
    """Which of `CORRECTED_TOGETHER` a metric is where it is not the headline; None if it is not tested."""
    return base if (base := metric.removeprefix(VALIDATION)) in (LOSS, CALIBRATION) else None


def is_score(metric: str) -> bool:
    """Whether a metric is one that GLUE judges by, on any of a task's validation splits."""
    return base_metric(metric) in _SCORES


def in_print_order(metrics: Iterable[str]) -> tuple[str, ...]:
    """The metrics of one task as GLUE prints them: F1 before accuracy, and MNLI's matched before its mismatched."""
    order = list(_SCORES)
    return tuple(sorted(metrics, key=lambda metric: (metric.endswith(MISMATCHED), order.index(base_metric(metric)))))


def shared_name(metrics: Sequence[str]) -> str:
    """
    What people call several metrics of one task.

    Args:
        metrics: Their names in records.

    Returns:
        Their names in words.

    Example:
        >>> shared_name(["f1", "accuracy"]), shared_name(["accuracy", "accuracy_mismatched"])
        ('F1/accuracy', 'accuracy m/mm')
    """
    bases = dict.fromkeys(map(base_metric, metrics))
    name = "/".join(map(metric_name, bases))
    return f"{name} m/mm" if len(bases) < len(metrics) else name


def is_percent(metric: str) -> bool:
    """Whether a metric is a share that is printed in %."""
    return base_metric(metric) in {*_SCORES, SCORE, CALIBRATION}


def format_value(metric: str, value: float) -> str:
    """
    A value with its usual number of decimals, without its unit.

    Args:
        metric: The metric's name in a record.
        value: As in records.

    Returns:
        Percents with one decimal, metrics of translations with two, any other with four; a power of ten from a million
        on, such as the loss of a training that diverged.

    Example:
        >>> format_value("accuracy", 0.91234), format_value("bleu", 34.56), format_value("loss", 0.25)
        ('91.2', '34.56', '0.2500')
    """
    factor, decimals = _print_as(metric)
    return _in_decimals(factor * value, decimals)


def format_difference(metric: str, value: float) -> str:
    """
    A signed difference. Percents have two decimals, so that an interval's end is seen to lie on one side of zero.

    Args:
        metric: The metric's name in a record.
        value: As in records.

    Returns:
        The difference with its sign.

    Example:
        >>> format_difference("accuracy", -0.00123), format_difference("loss", 0.25)
        ('-0.12', '+0.2500')
    """
    factor, decimals = _print_as(metric)
    text = _in_decimals(factor * value, max(decimals, 2), sign="+")
    return text.replace("-", "+") if float(text) == 0 else text


def format_estimate(metric: str, mean: float, low: float, high: float, unit: str = "") -> str:
    """
    A difference with its unit and interval.

    Args:
        metric: The metric's name in a record.
        mean: As in records.
        low: The interval's lower end; not finite where there is no interval.
        high: Its upper end.
        unit: What stands between the two.

    Returns:
        The words.

    Example:
        >>> format_estimate("accuracy", 0.0014, -0.0023, 0.0051, " points")
        '+0.14 points [-0.23, +0.51]'
    """
    words = format_difference(metric, mean) + unit
    if not math.isfinite(high - low):
        return words
    return f"{words} [{format_difference(metric, low)}, {format_difference(metric, high)}]"


def _print_as(metric: str) -> tuple[float, int]:
    """The factor and the decimals with which a metric is printed."""
    if is_percent(metric):
        return 100.0, 1
    return 1.0, 2 if base_metric(metric) in _TWO_DECIMALS else 4


def _in_decimals(number: float, decimals: int, sign: str = "") -> str:
    return f"{number:{sign}.{decimals}f}" if abs(number) < _LARGE else f"{number:{sign}.3e}"

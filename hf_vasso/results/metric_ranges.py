"""What the package's own metrics can be; of others it is only known that they are finite."""

import math

__all__ = ["MISMATCHED", "VALIDATION", "base_metric", "metric_fault"]

VALIDATION, MISMATCHED = "validation_", "_mismatched"
"""What the names of metrics begin with beside those of a test part, and end with on MNLI's other validation split."""

_ROUNDING = 1e-6  # scipy gives a correlation of 1.0000000000000002, sacreBLEU a score of 100.00000000000004

# The lowest and the highest value, and which are better.
_SHARE, _CORRELATION, _PERCENT = (0.0, 1.0, "higher"), (-1.0, 1.0, "higher"), (0.0, 100.0, "higher")
_KNOWN = {
    "accuracy": _SHARE,
    "f1": _SHARE,
    "matthews_correlation": _CORRELATION,
    "pearson": _CORRELATION,
    "spearmanr": _CORRELATION,
    "expected_calibration_error": (0.0, 1.0, "lower"),
    "bleu": _PERCENT,
    "bleu_tokenized": _PERCENT,
    "chrf": _PERCENT,
    "loss": (0.0, math.inf, "lower"),
    "perplexity": (1.0, math.inf, "lower"),
}


def base_metric(metric: str) -> str:
    """
    A metric's name without the split that it was measured on.

    Example:
        >>> base_metric("validation_bleu"), base_metric("accuracy_mismatched")
        ('bleu', 'accuracy')
    """
    return metric.removeprefix(VALIDATION).removesuffix(MISMATCHED)


def metric_fault(metric: str, value: float | None, direction: str | None = None) -> str | None:
    """
    What cannot be true of a metric.

    Args:
        metric: Its name in a record.
        value: Its value; None and NaN say that it is not finite, as that of any metric may be.
        direction: "higher" or "lower", whichever is said to be better; None where nothing is said.

    Returns:
        Words, None where there is no fault, or where the metric is not one of the package's own.

    Example:
        >>> metric_fault("accuracy", 77.5)
        'accuracy is from 0 to 1, got 77.5'
    """
    if base_metric(metric) not in _KNOWN:
        return None
    low, high, better = _KNOWN[base_metric(metric)]
    if direction not in (None, better):
        return f"{better} values of {metric} are better, got {direction!r}"
    if value is not None and (value < low - _ROUNDING or value > high + _ROUNDING):
        limits = f"from {low:g} to {high:g}" if math.isfinite(high) else f"at least {low:g}"
        return f"{metric} is {limits}, got {value!r}"
    return None

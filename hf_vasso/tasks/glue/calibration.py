"""How far to trust a classifier's probabilities: their cross-entropy and expected calibration error."""

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torchmetrics.functional.classification import multiclass_calibration_error

__all__ = ["BINS", "calibration"]

BINS = 15


def calibration(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """
    Score the probabilities of a classifier.

    Args:
        logits: (num_examples, num_labels)
        labels: (num_examples,): class numbers.

    Returns:
        "cross_entropy", the mean over the examples in nats, and "expected_calibration_error", in [0, 1]: the mean
        distance of confidence and accuracy over `BINS` bins of equal width (Guo et al. 2017, arXiv 1706.04599, Eq. 3).
        Both are NaN where a logit is not finite.

    Example:
        >>> calibration(np.zeros((2, 2)), np.array([0, 1]))
        {'cross_entropy': 0.6931471805599453, 'expected_calibration_error': 0.0}
    """
    scores, expected = torch.tensor(logits, dtype=torch.float64), torch.tensor(labels)
    if not scores.isfinite().all():
        return {"cross_entropy": float("nan"), "expected_calibration_error": float("nan")}
    error = multiclass_calibration_error(scores.softmax(-1), expected, num_classes=scores.shape[-1], n_bins=BINS)
    return {"cross_entropy": cross_entropy(scores, expected).item(), "expected_calibration_error": error.item()}

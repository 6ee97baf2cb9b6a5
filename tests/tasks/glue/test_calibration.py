"""Cross-entropy and calibration error against plain float64 loops and a case worked by hand."""

import math

import numpy as np
import pytest
from scipy.special import log_softmax

from hf_vasso.tasks.glue.calibration import BINS, calibration


def test_worked_by_hand():
    """
    Two bins: confidence 0.6 twice, right once; confidence 0.9 three times, right three times.

    (2/5) |0.5 - 0.6| + (3/5) |1 - 0.9| = 0.04 + 0.06
    """
    confident, hesitant = [math.log(9.0), 0.0], [math.log(1.5), 0.0]
    scores = calibration(np.array([hesitant, hesitant, confident, confident, confident]), np.array([0, 1, 0, 0, 0]))
    assert scores["expected_calibration_error"] == pytest.approx(0.1, abs=1e-7)
    assert scores["cross_entropy"] == pytest.approx(-(math.log(0.6) + math.log(0.4) + 3 * math.log(0.9)) / 5)


def test_against_a_loop():
    generator = np.random.default_rng(0)
    logits, labels = generator.normal(size=(200, 3)), generator.integers(0, 3, 200)
    log_probabilities = log_softmax(logits, axis=1)
    error = 0.0
    confidence = np.exp(log_probabilities).max(1)
    for bin_number in range(BINS):
        inside = (confidence > bin_number / BINS) & (confidence <= (bin_number + 1) / BINS)
        if inside.any():
            right = (logits.argmax(1) == labels)[inside].mean()
            error += inside.mean() * abs(right - confidence[inside].mean())
    scores = calibration(logits.astype(np.float32), labels)
    assert scores["expected_calibration_error"] == pytest.approx(error, abs=1e-6)
    assert scores["cross_entropy"] == pytest.approx(-log_probabilities[np.arange(200), labels].mean(), rel=1e-6)


def test_no_number_where_a_logit_is_none():
    assert all(map(math.isnan, calibration(np.array([[math.inf, 0.0]]), np.array([0])).values()))

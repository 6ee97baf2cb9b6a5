"""The metrics against scikit-learn, scipy and numbers worked by hand."""

import logging
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sklearn_metrics
from transformers import EvalPrediction

from hf_vasso.tasks.glue.metrics import (
    GlueMetric,
    compute_metrics,
    majority_scores,
    metric_direction,
    predicted_labels,
    recorded_metrics,
)
from hf_vasso.tasks.glue.table import TASKS, get_task

PREDICTED = [1, 0, 1, 1, 0, 1, 0, 1]
EXPECTED = [1, 0, 0, 1, 1, 1, 0, 0]
# By hand: 3 true positives, 2 false positives, 1 false negative, 2 true negatives.
ACCURACY = 5 / 8
F1 = 2 * 3 / (2 * 3 + 2 + 1)
MATTHEWS = (3 * 2 - 2 * 1) / math.sqrt((3 + 2) * (3 + 1) * (2 + 2) * (2 + 1))


def score(task_name, predictions, references):
    return GlueMetric(get_task(task_name)).compute(predictions=predictions, references=references)


def test_classification_metrics_by_hand_and_by_scikit_learn():
    mrpc, cola = score("mrpc", PREDICTED, EXPECTED), score("cola", PREDICTED, EXPECTED)
    assert mrpc == pytest.approx({"accuracy": ACCURACY, "f1": F1}, abs=1e-15)
    assert cola == pytest.approx({"matthews_correlation": MATTHEWS}, abs=1e-15)
    assert mrpc["accuracy"] == sklearn_metrics.accuracy_score(EXPECTED, PREDICTED)
    assert mrpc["f1"] == sklearn_metrics.f1_score(EXPECTED, PREDICTED)
    assert cola["matthews_correlation"] == sklearn_metrics.matthews_corrcoef(EXPECTED, PREDICTED)


def test_three_classes_equal_scikit_learn():
    predicted, expected = np.random.default_rng(0).integers(3, size=(2, 50))
    assert score("mnli", predicted, expected)["accuracy"] == sklearn_metrics.accuracy_score(expected, predicted)
    matthews = sklearn_metrics.matthews_corrcoef(expected, predicted)
    assert score("ax", predicted, expected)["matthews_correlation"] == matthews


def test_correlations_by_hand_and_by_scipy():
    # Deviations from the mean: (-1, 0, 1) and (-5/3, -2/3, 7/3), so r = 4 / sqrt(2 * 26/3); the ranks agree.
    by_hand = score("stsb", [1.0, 2.0, 3.0], [0.0, 1.0, 4.0])
    assert by_hand == pytest.approx({"pearson": 4 / math.sqrt(2 * 26 / 3), "spearmanr": 1.0}, abs=1e-15)
    predicted, expected = np.random.default_rng(0).normal(size=(2, 40))
    assert score("stsb", predicted, expected) == {
        "pearson": stats.pearsonr(predicted, expected)[0],
        "spearmanr": stats.spearmanr(predicted, expected)[0],
    }


@pytest.mark.parametrize("constant", ["predictions", "references"])
@pytest.mark.parametrize(
    ("name", "zero"), [("cola", {"matthews_correlation": 0.0}), ("stsb", {"pearson": 0.0, "spearmanr": 0.0})]
)
def test_constant_values_give_zero_and_say_so(name, zero, constant, caplog):
    values = {"predictions": [0, 1, 1], "references": [0, 1, 1], constant: [1, 1, 1]}
    with caplog.at_level(logging.WARNING):
        assert score(name, **values) == zero
    assert [record.getMessage().split(" equal ")[0] for record in caplog.records] == [
        f"{metric} is undefined, as all {constant}" for metric in zero
    ]


def test_f1_without_a_positive_is_zero():
    assert score("mrpc", [0, 0], [0, 0]) == {"accuracy": 1.0, "f1": 0.0}


@pytest.mark.parametrize("name", TASKS)
def test_every_task_gives_plain_floats_under_its_metric_names(name):
    task = get_task(name)
    scores = score(name, [0, 1, 1], [0, 1, 0])
    assert tuple(scores) == task.metrics
    assert all(type(value) is float for value in scores.values())


def test_trainer_gets_the_largest_logit_also_from_a_tuple():
    logits = np.eye(2, dtype=np.float32)[PREDICTED]
    hidden_states = np.zeros((len(PREDICTED), 4))
    compute = compute_metrics(get_task("mrpc"))
    scores = compute(EvalPrediction(logits, np.asarray(EXPECTED)))
    assert (scores["accuracy"], scores["f1"], scores["collapsed"]) == pytest.approx((ACCURACY, F1, 0.0))
    assert compute(EvalPrediction((logits, hidden_states), np.asarray(EXPECTED))) == scores


@pytest.mark.parametrize("shape", [(3, 1), (3,)])
def test_regression_takes_the_output_itself(shape):
    outputs = np.asarray([0.5, 2.0, 4.5], dtype=np.float32).reshape(shape)
    assert predicted_labels(get_task("stsb"), outputs).tolist() == [0.5, 2.0, 4.5]
    scores = compute_metrics(get_task("stsb"))(EvalPrediction(outputs, np.asarray([0.5, 2.0, 4.5])))
    assert scores == pytest.approx({"pearson": 1.0, "spearmanr": 1.0, "collapsed": 0.0})


@pytest.mark.parametrize("logits", [[[1.0, 0.0], [2.0, 0.0]], [[1.0, 0.0], [math.nan, 0.0]]])
def test_one_answer_for_all_or_none_at_all_is_a_collapse(logits):
    scores = compute_metrics(get_task("rte"))(EvalPrediction(np.asarray(logits), np.asarray([0, 1])))
    assert scores["collapsed"] == 1.0


def test_what_the_most_frequent_label_scores(caplog):
    # MRPC's validation split: 279 of 408 are paraphrases.
    labels = [1] * 279 + [0] * 129
    scores = majority_scores(get_task("mrpc"), labels)
    assert scores == pytest.approx({"accuracy": 279 / 408, "f1": 2 * 279 / (279 + 408)})
    assert majority_scores(get_task("qqp"), [0, 0, 1]) == pytest.approx({"accuracy": 2 / 3, "f1": 0.0})
    assert majority_scores(get_task("cola"), labels) == {"matthews_correlation": 0.0}
    assert caplog.text == ""


def test_recorded_metrics_begin_with_the_headline():
    scores = {f"eval_{name}": 0.5 for name in ("accuracy", "f1", "cross_entropy", "expected_calibration_error")}
    names = ["accuracy", "f1", "loss", "expected_calibration_error"]
    assert list(recorded_metrics(get_task("mrpc"), scores)) == names
    assert [metric_direction(get_task("mrpc"), name) for name in names] == ["higher", "higher", "lower", "lower"]
    assert metric_direction(get_task("mnli"), "loss_mismatched") == "lower"
    correlations = {"eval_pearson": 0.1, "eval_spearmanr": 0.2}
    assert recorded_metrics(get_task("stsb"), correlations) == {"pearson": 0.1, "spearmanr": 0.2}


def test_one_regression_example_keeps_its_dimension():
    assert predicted_labels(get_task("stsb"), np.asarray([[2.5]])).shape == (1,)


def test_metrics_of_one_task_share_no_file():
    first, second = GlueMetric(get_task("mrpc")), GlueMetric(get_task("mrpc"))
    first.add_batch(predictions=PREDICTED, references=EXPECTED)
    second.add_batch(predictions=EXPECTED, references=EXPECTED)
    assert list(Path(first.data_dir).iterdir()) == []
    assert first.compute() == pytest.approx({"accuracy": ACCURACY, "f1": F1})
    assert second.compute() == {"accuracy": 1.0, "f1": 1.0}

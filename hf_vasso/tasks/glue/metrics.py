"""GLUE's metrics as an `evaluate.Metric` that needs no hub, with the numbers of scikit-learn and scipy."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
import evaluate
import numpy as np
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef
from transformers import EvalPrediction

from hf_vasso.tasks.glue.calibration import calibration
from hf_vasso.tasks.glue.table import Task

__all__ = [
    "GlueMetric",
    "compute_metrics",
    "logits_of",
    "majority_scores",
    "metric_direction",
    "predicted_labels",
    "recorded_metrics",
]

logger = logging.getLogger(__name__)


class GlueMetric(evaluate.Metric):
    """
    All metrics of one task: what `evaluate.load("glue", task)` computes, without loading a script from the hub.

    F1 is that of label 1, and 0.0 where it has no true positive. A correlation (Matthews, Pearson, Spearman) is
    undefined where all predictions or all references are equal: it is then 0.0, and a warning is logged.

    Args:
        task: Its `metrics` are computed.

    Example:
        >>> from hf_vasso.tasks.glue.table import get_task
        >>> GlueMetric(get_task("mrpc")).compute(predictions=[1, 1, 1, 0], references=[1, 1, 0, 0])
        {'accuracy': 0.75, 'f1': 0.8}
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        # In memory, because several processes would otherwise compete for one cache file.
        super().__init__(config_name=task.name, keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        label = datasets.Value("float64" if self.task.is_regression else "int64")
        return evaluate.MetricInfo(
            description=f"The metrics of the GLUE task {self.task.name}: {', '.join(self.task.metrics)}.",
            citation="",
            inputs_description="predictions and references: one label per example.",
            features=datasets.Features({"predictions": label, "references": label}),
        )

    def _compute(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> dict[str, float]:
        predicted, expected = np.asarray(predictions), np.asarray(references)
        return {name: _score(name, predicted, expected) for name in self.task.metrics}


def compute_metrics(task: Task) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    The `compute_metrics` of a task for the Trainer.

    Args:
        task: Its `metrics` are computed.

    Returns:
        A function from the Trainer's predictions to plain floats by name: the task's metrics, those of `calibration`
        for a classification, and "collapsed", 1.0 where one answer is given for all examples or one is no number.
    """
    metric = GlueMetric(task)

    def compute(prediction: EvalPrediction) -> dict[str, float]:
        logits, references = logits_of(prediction.predictions), np.asarray(prediction.label_ids)
        predicted = predicted_labels(task, logits)
        scores = metric.compute(predictions=predicted, references=references)
        assert scores is not None  # only the processes beside the first of a distributed metric get None
        if not task.is_regression:
            scores |= calibration(logits, references)
        return {**scores, "collapsed": float(np.all(predicted == predicted[0]) or not np.isfinite(logits).all())}

    return compute


def recorded_metrics(task: Task, scores: Mapping[str, float]) -> dict[str, float]:
    """
    The metrics that stand in a record, the headline first.

    Args:
        task: The task.
        scores: What `compute_metrics` gives, under the Trainer's prefix for evaluations.

    Returns:
        Metric name to value: the task's metrics, and for a classification "loss", the mean cross-entropy whatever the
        training's loss was, and "expected_calibration_error".
    """
    metrics = {name: scores[f"eval_{name}"] for name in task.metrics}
    if not task.is_regression:
        metrics["loss"] = scores["eval_cross_entropy"]
        metrics["expected_calibration_error"] = scores["eval_expected_calibration_error"]
    return metrics


def majority_scores(task: Task, references: Sequence[int]) -> dict[str, float]:
    """
    What the most frequent label scores as the answer to everything: who learnt anything is above that.

    Args:
        task: A classification.
        references: The label of each example.

    Returns:
        The task's metrics.

    Example:
        >>> from hf_vasso.tasks.glue.table import get_task
        >>> majority_scores(get_task("mrpc"), [1, 1, 1, 0])
        {'accuracy': 0.75, 'f1': 0.8571428571428571}
    """
    expected = np.asarray(references)
    answers = np.full_like(expected, np.bincount(expected).argmax())
    # A correlation with what never changes is 0.0 here by agreement, and nothing to warn of.
    return {name: 0.0 if name in _CORRELATIONS else _score(name, answers, expected) for name in task.metrics}


def metric_direction(task: Task, metric: str) -> str:
    """Whether "higher" or "lower" values of a recorded metric are better."""
    return "lower" if metric.startswith(("loss", "expected_calibration_error")) else task.direction


def logits_of(outputs: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """The logits, which a model gives alone or as the first of several outputs."""
    return outputs[0] if isinstance(outputs, tuple) else outputs


def predicted_labels(task: Task, outputs: np.ndarray | tuple[np.ndarray, ...]) -> np.ndarray:
    """
    Turn a model's outputs into labels.

    Args:
        task: Classification takes the largest logit, regression the number itself.
        outputs: Logits, (num_examples, num_labels), or a tuple that starts with them.

    Returns:
        (num_examples,): class numbers, or floats for regression.
    """
    logits = logits_of(outputs)
    return logits.reshape(-1) if task.is_regression else logits.argmax(axis=-1)


def _score(name: str, predicted: np.ndarray, expected: np.ndarray) -> float:
    if name in _CORRELATIONS:
        for values, what in ((predicted, "predictions"), (expected, "references")):
            if np.all(values == values[0]):
                logger.warning("%s is undefined, as all %s equal %s; 0.0 is reported", name, what, values[0])
                return 0.0
    return float(_METRICS[name](predicted, expected))


_CORRELATIONS: dict[str, Callable[..., Any]] = {
    "matthews_correlation": matthews_corrcoef,
    "pearson": lambda predicted, expected: pearsonr(predicted, expected)[0],
    "spearmanr": lambda predicted, expected: spearmanr(predicted, expected)[0],
}

_METRICS: dict[str, Callable[..., Any]] = {
    "accuracy": accuracy_score,
    "f1": lambda predicted, expected: f1_score(expected, predicted, zero_division=0),  # pyright: ignore[reportArgumentType]
    **_CORRELATIONS,
}

"""The order in which a model numbers a task's labels: models on the hub do not all number them as the task does."""

from collections.abc import Callable, Sequence

import numpy as np
from transformers import EvalPrediction, PretrainedConfig

from hf_vasso.tasks.glue.metrics import compute_metrics, logits_of, predicted_labels
from hf_vasso.tasks.glue.table import Task

__all__ = ["knows_labels", "label_order", "ordered_metrics", "ordered_predictions", "task_labels"]


def knows_labels(config: PretrainedConfig, task: Task) -> bool:
    """Whether a model's configuration names exactly the task's labels, in upper or lower case and any order."""
    return set(_numbers(config)) == set(task.label_names)


def label_order(config: PretrainedConfig, task: Task) -> list[int]:
    """
    The model's number for each of the task's labels.

    Args:
        config: The model's configuration.
        task: Its labels are looked for.

    Returns:
        (num_labels,): the task's own numbers where the model does not know the labels by name.
    """
    numbers = _numbers(config)
    return [numbers[name] for name in task.label_names] if knows_labels(config, task) else list(range(task.num_labels))


def task_labels(labels: np.ndarray | Sequence[int], order: Sequence[int]) -> np.ndarray:
    """
    The task's numbers of labels that are numbered as a model does.

    Args:
        labels: (num_examples,)
        order: The model's number for each of the task's labels.

    Returns:
        (num_examples,)
    """
    return np.argsort(order)[labels]


def ordered_predictions(task: Task, outputs: np.ndarray | tuple[np.ndarray, ...], order: Sequence[int]) -> np.ndarray:
    """
    Turn a model's outputs into the task's labels.

    Args:
        task: The task.
        outputs: Logits, (num_examples, num_labels), or a tuple that starts with them.
        order: The model's number for each label.

    Returns:
        (num_examples,): the task's class numbers, or floats for regression.
    """
    labels = predicted_labels(task, outputs)
    return labels if task.is_regression else task_labels(labels, order)


def ordered_metrics(task: Task, order: Sequence[int]) -> Callable[[EvalPrediction], dict[str, float]]:
    """
    The `compute_metrics` of a task for a model with its own numbers of the labels.

    Args:
        task: Its metrics are computed.
        order: The model's number for each label.

    Returns:
        A function from the Trainer's predictions to plain floats by metric name.
    """
    compute = compute_metrics(task)
    if task.is_regression:
        return compute

    def compute_in_order(prediction: EvalPrediction) -> dict[str, float]:
        logits = logits_of(prediction.predictions)
        return compute(EvalPrediction(logits[:, order], task_labels(np.asarray(prediction.label_ids), order)))

    return compute_in_order


def _numbers(config: PretrainedConfig) -> dict[str, int]:
    return {str(name).lower(): int(number) for number, name in (config.id2label or {}).items()}

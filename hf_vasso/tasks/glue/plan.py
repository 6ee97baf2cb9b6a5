"""What a run on a GLUE task will spend."""

from functools import cache
from typing import Any

from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.data import load_task
from hf_vasso.tasks.glue.examples import count_train_examples
from hf_vasso.tasks.glue.table import get_task
from hf_vasso.tasks.plan import PlannedTraining, training_size, with_passes
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = ["plan_training"]


def plan_training(glue: GlueArguments, training: AnyTrainingArguments) -> PlannedTraining:
    """
    Work out what a training will spend.

    Args:
        glue: Task and data; without `data_dir` the task's official sizes are used.
        training: Method and training.

    Returns:
        The counts.

    Raises:
        DataError: The files in `data_dir` cannot be used, or the task has no official size.
    """
    labels, available = _train_labels(glue.task_name, glue.data_dir)
    examples = count_train_examples(labels, available, get_task(glue.task_name), glue)
    return with_passes(examples, training_size(examples, training), training)


@cache
def _train_labels(task_name: str, data_dir: str | None) -> tuple[list[Any] | None, int]:
    """The labels of a task's training split, None where they are not at hand, and its size."""
    task = get_task(task_name)
    if data_dir is None and "train" in task.split_sizes:
        return None, task.split_sizes["train"]
    labels = load_task(task, data_dir, ["train"]).splits["train"]["label"][:]
    return labels, len(labels)

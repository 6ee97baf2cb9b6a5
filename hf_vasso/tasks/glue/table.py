"""The GLUE tasks as values in one table: columns, label names, metrics and splits, as on the Hugging Face hub."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from hf_vasso.spelling import unknown_name

__all__ = ["HUB_ID", "TASKS", "Task", "get_task"]

HUB_ID = "nyu-mll/glue"


@dataclass(frozen=True)
class Task:
    """
    A task of one or two sentences and one label.

    Args:
        name: Its name on the command line, on the hub and as a folder of `--data_dir`.
        columns: The one or two columns that hold text, in the order in which the model reads them.
        label_names: The name of label 0, 1, ...; empty for regression.
        metrics: Names as in result files. The first is the headline.
        split_sizes: The official number of rows of each split; empty for generated data.
        validation_splits: The labelled splits on which a model is judged.
        test_splits: The splits to predict; their labels may be hidden, that is -1.
        trained_on: The task whose training split is used, where a task has none of its own.
        hub_id: The data set on the hub of which the task is a configuration, None where there is none.
        direction: Whether "higher" or "lower" metrics are better.
        label_range: The lowest and the highest label of a regression.
    """

    name: str
    columns: tuple[str, ...]
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    split_sizes: Mapping[str, int]
    validation_splits: tuple[str, ...] = ("validation",)
    test_splits: tuple[str, ...] = ("test",)
    trained_on: str | None = None
    hub_id: str | None = HUB_ID
    direction: str = "higher"
    label_range: tuple[float, float] = (-math.inf, math.inf)

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits that the task has."""
        train = () if self.trained_on else ("train",)
        return (*train, *self.validation_splits, *self.test_splits)

    @property
    def prediction_files(self) -> dict[str, str]:
        """Test split to the name of the file with its predictions."""
        return {split: f"predictions_{split}.tsv" for split in self.test_splits}

    @property
    def is_regression(self) -> bool:
        """Whether the label is a number instead of a class."""
        return not self.label_names

    @property
    def num_labels(self) -> int:
        """The number of outputs that a model for the task has."""
        return len(self.label_names) or 1


_SENTENCE = ("sentence",)
_SENTENCE_PAIR = ("sentence1", "sentence2")
_PREMISE_HYPOTHESIS = ("premise", "hypothesis")
_NLI_LABELS = ("entailment", "neutral", "contradiction")

_TASK_LIST = [
    Task(
        name="cola",
        columns=_SENTENCE,
        label_names=("unacceptable", "acceptable"),
        metrics=("matthews_correlation",),
        split_sizes={"train": 8551, "validation": 1043, "test": 1063},
    ),
    Task(
        name="sst2",
        columns=_SENTENCE,
        label_names=("negative", "positive"),
        metrics=("accuracy",),
        split_sizes={"train": 67349, "validation": 872, "test": 1821},
    ),
    Task(
        name="mrpc",
        columns=_SENTENCE_PAIR,
        label_names=("not_equivalent", "equivalent"),
        metrics=("accuracy", "f1"),
        split_sizes={"train": 3668, "validation": 408, "test": 1725},
    ),
    Task(
        name="stsb",
        columns=_SENTENCE_PAIR,
        label_names=(),
        metrics=("pearson", "spearmanr"),
        split_sizes={"train": 5749, "validation": 1500, "test": 1379},
        label_range=(0.0, 5.0),
    ),
    Task(
        name="qqp",
        columns=("question1", "question2"),
        label_names=("not_duplicate", "duplicate"),
        metrics=("accuracy", "f1"),
        split_sizes={"train": 363846, "validation": 40430, "test": 390965},
    ),
    Task(
        name="mnli",
        columns=_PREMISE_HYPOTHESIS,
        label_names=_NLI_LABELS,
        metrics=("accuracy",),
        split_sizes={
            "train": 392702,
            "validation_matched": 9815,
            "validation_mismatched": 9832,
            "test_matched": 9796,
            "test_mismatched": 9847,
        },
        validation_splits=("validation_matched", "validation_mismatched"),
        test_splits=("test_matched", "test_mismatched"),
    ),
    Task(
        name="qnli",
        columns=("question", "sentence"),
        label_names=("entailment", "not_entailment"),
        metrics=("accuracy",),
        split_sizes={"train": 104743, "validation": 5463, "test": 5463},
    ),
    Task(
        name="rte",
        columns=_SENTENCE_PAIR,
        label_names=("entailment", "not_entailment"),
        metrics=("accuracy",),
        split_sizes={"train": 2490, "validation": 277, "test": 3000},
    ),
    Task(
        name="wnli",
        columns=_SENTENCE_PAIR,
        label_names=("not_entailment", "entailment"),
        metrics=("accuracy",),
        split_sizes={"train": 635, "validation": 71, "test": 146},
    ),
    Task(
        name="ax",
        columns=_PREMISE_HYPOTHESIS,
        label_names=_NLI_LABELS,
        metrics=("matthews_correlation",),
        split_sizes={"test": 1104},
        validation_splits=(),
        trained_on="mnli",
    ),
    Task(
        name="agreement",
        columns=_SENTENCE,
        label_names=("unacceptable", "acceptable"),
        metrics=("accuracy",),
        split_sizes={},
        hub_id=None,
    ),
]

TASKS: dict[str, Task] = {task.name: task for task in _TASK_LIST}
"""Every task by its name: the nine GLUE tasks, GLUE's diagnostic set AX and the package's own `agreement`."""


def get_task(name: str) -> Task:
    """
    Look a task up.

    Args:
        name: A name in `TASKS`.

    Returns:
        The task.

    Raises:
        ValueError: The name is not known; the message has the nearest one and the list.

    Example:
        >>> get_task("rte").label_names
        ('entailment', 'not_entailment')
    """
    if name not in TASKS:
        raise ValueError(unknown_name("task", name, TASKS))
    return TASKS[name]

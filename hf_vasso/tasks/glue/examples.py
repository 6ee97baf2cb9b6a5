"""Which examples a run trains and is judged on: the limits, the held-out part and the label noise of its flags."""

from collections.abc import Mapping, Sequence
from typing import Any

import datasets
import numpy as np

from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.table import Task

__all__ = ["count_train_examples", "noisy_labels", "select_examples", "splits_to_load", "validation_splits"]

_HOLDOUT_SEED = 0


def validation_splits(task: Task, glue: GlueArguments) -> tuple[str, ...]:
    """The splits on which the run is judged: the task's, or only the first where held-out examples take its place."""
    return task.validation_splits[:1] if glue.holdout_samples else task.validation_splits


def splits_to_load(task: Task, glue: GlueArguments, *, train: bool, evaluate: bool, predict: bool) -> list[str]:
    """
    The splits that have to be loaded for some stages.

    Args:
        task: The task.
        glue: With `holdout_samples` the evaluation reads the training split.
        train: Whether the run trains.
        evaluate: Whether it evaluates.
        predict: Whether it predicts.

    Returns:
        Split names.
    """
    held_out = evaluate and glue.holdout_samples is not None
    return [
        *(["train"] if train or held_out else []),
        *(validation_splits(task, glue) if evaluate and not held_out else ()),
        *(task.test_splits if predict else ()),
    ]


def select_examples(
    splits: Mapping[Any, datasets.Dataset], task: Task, glue: GlueArguments, seed: int
) -> dict[str, datasets.Dataset]:
    """
    Take from the loaded splits what the flags ask for.

    Args:
        splits: Split name to the task's examples.
        task: Its labels are counted and, with noise, exchanged.
        glue: Its `max_*_samples`, `max_train_samples_per_class`, `holdout_samples` and `label_noise` hold.
        seed: It draws the label noise. The held-out examples are the same for all seeds.

    Returns:
        Split name to examples. With `holdout_samples` the first validation split holds the held-out examples of the
        training split, which are not trained on.

    Raises:
        ValueError: The held-out part leaves nothing to train on.
    """
    selected = {str(name): _first(examples, _limit(name, task, glue)) for name, examples in splits.items()}
    if "train" not in splits:
        return selected
    train = splits["train"]
    rows, held_out = _train_rows(train["label"], task, glue)
    selected["train"] = train.select(rows)
    if glue.holdout_samples is not None:
        selected[task.validation_splits[0]] = _first(train.select(held_out), glue.max_eval_samples)
    if glue.label_noise:
        labels = noisy_labels(selected["train"]["label"], task.num_labels, glue.label_noise, seed)
        features = selected["train"].features
        selected["train"] = selected["train"].remove_columns("label").add_column("label", labels).cast(features)
    return selected


def count_train_examples(labels: Sequence[int] | None, examples: int, task: Task, glue: GlueArguments) -> int:
    """
    How many examples a run trains on.

    Args:
        labels: (examples,): the labels of the training split, None where they are not loaded; classes then count as
            large enough.
        examples: The size of the training split.
        task: The task.
        glue: Its limits hold.

    Returns:
        The count.
    """
    if labels is not None:
        return len(_train_rows(labels, task, glue)[0])
    per_class = glue.max_train_samples_per_class
    wanted = min(examples, per_class * task.num_labels if per_class else glue.max_train_samples or examples)
    return min(wanted, examples - (glue.holdout_samples or 0))


def noisy_labels(labels: Sequence[int], num_labels: int, share: float, seed: int) -> list[int]:
    """
    Give a share of the examples a wrong label, drawn evenly from the others.

    Args:
        labels: (num_examples,)
        num_labels: The number of classes, at least 2.
        share: Share of wrong labels, in [0, 1]; their count is rounded.
        seed: Equal seeds give equal labels.

    Returns:
        (num_examples,): the labels with the noise in them.

    Example:
        >>> noisy_labels([0, 0, 0, 0], num_labels=2, share=0.5, seed=0)
        [0, 0, 1, 1]
    """
    generator = np.random.default_rng(seed)
    noisy = np.array(labels)
    rows = generator.choice(len(noisy), round(share * len(noisy)), replace=False)
    noisy[rows] = (noisy[rows] + generator.integers(1, num_labels, len(rows))) % num_labels
    return noisy.tolist()


def _train_rows(labels: Sequence[int], task: Task, glue: GlueArguments) -> tuple[list[int], list[int]]:
    """
    The rows to train on and the rows held out.

    The held-out ones are drawn from what the limits leave over, so that the training is the same with and without
    them; where too little is left over, from all rows.
    """
    everything = list(range(len(labels)))
    rows = _within_limits(everything, labels, task, glue)
    if glue.holdout_samples is None:
        return rows, []
    if glue.holdout_samples >= len(everything):
        raise ValueError(
            f"holdout_samples must leave examples to train on, got {glue.holdout_samples} of {len(everything)}; "
            "hold fewer out"
        )
    left_over = sorted(set(everything) - set(rows))
    source = left_over if len(left_over) >= glue.holdout_samples else everything
    held_out = sorted(
        np.random.default_rng(_HOLDOUT_SEED).choice(source, glue.holdout_samples, replace=False).tolist()
    )
    return _within_limits(sorted(set(everything) - set(held_out)), labels, task, glue), held_out


def _within_limits(rows: list[int], labels: Sequence[int], task: Task, glue: GlueArguments) -> list[int]:
    """The first rows, or the first of each class, in their order."""
    if glue.max_train_samples_per_class is None:
        return rows[: glue.max_train_samples]
    chosen = []
    for label in range(task.num_labels):
        chosen += [row for row in rows if labels[row] == label][: glue.max_train_samples_per_class]
    return sorted(chosen)


def _limit(split: str, task: Task, glue: GlueArguments) -> int | None:
    return glue.max_predict_samples if split in task.test_splits else glue.max_eval_samples


def _first(examples: datasets.Dataset, count: int | None) -> datasets.Dataset:
    return examples if count is None else examples.select(range(min(count, len(examples))))

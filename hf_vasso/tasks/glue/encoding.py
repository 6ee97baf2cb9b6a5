"""Turn a task's texts and labels into what a model reads."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import datasets
from datasets.fingerprint import Hasher
from transformers import PreTrainedTokenizerBase

from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.table import Task

__all__ = ["encode"]

logger = logging.getLogger(__name__)


def encode(
    splits: Mapping[Any, datasets.Dataset],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    glue: GlueArguments,
    order: Sequence[int],
) -> dict[str, datasets.Dataset]:
    """
    Tokenise the texts and number the labels as the model does.

    Args:
        splits: Split name to the task's examples.
        task: It names the columns.
        tokenizer: The model's tokenizer.
        glue: Its `max_seq_length` and `pad_to_max_length` hold.
        order: The model's number of each of the task's labels.

    Returns:
        Split name to the model's inputs and, except in test splits, "label".
    """
    longest = min(glue.max_seq_length, tokenizer.model_max_length)
    if longest < glue.max_seq_length:
        logger.warning("max_seq_length is %d, but the model reads at most %d tokens", glue.max_seq_length, longest)
    padding = "max_length" if glue.pad_to_max_length else False

    def encode_batch(examples: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [examples[column] for column in task.columns]
        inputs = dict(tokenizer(*texts, padding=padding, max_length=longest, truncation=True))  # pyright: ignore[reportArgumentType]
        if "label" in examples:
            labels = examples["label"]
            inputs["label"] = labels if task.is_regression else [order[label] for label in labels]
        return inputs

    # By this the cache of `datasets` finds what was tokenised before. It is made once and now, since a tokenizer takes
    # long to hash and has another hash after its first call.
    key = Hasher.hash(encode_batch)
    encoded = {}
    for name, examples in splits.items():
        if name in task.test_splits:
            examples = examples.remove_columns("label")  # hidden in most test splits
        unused = [column for column in examples.column_names if column != "label"]
        encoded[name] = examples.map(
            encode_batch,
            batched=True,
            remove_columns=unused,
            new_fingerprint=Hasher.hash([key, examples._fingerprint]),
            desc=f"Tokenising {name}",
        )
    return encoded

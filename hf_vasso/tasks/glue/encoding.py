"""Turn a task's texts and labels into what a model reads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import datasets
from datasets.fingerprint import Hasher
from transformers import PreTrainedTokenizerBase

from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.table import Task

__all__ = ["encode"]

_IS_CUT = "is_cut"


def encode(
    splits: Mapping[Any, datasets.Dataset],
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    glue: GlueArguments,
    order: Sequence[int],
    say: Callable[[str], None],
) -> dict[str, datasets.Dataset]:
    """
    Tokenise the texts and number the labels as the model does.

    Args:
        splits: Split name to the task's examples.
        task: It names the columns.
        tokenizer: The model's tokenizer, after `fit_tokenizer`.
        glue: Its `max_seq_length` and `pad_to_max_length` hold.
        order: The model's number of each of the task's labels.
        say: Prints a line for the user: how many texts are truncated by the model's limit, below `max_seq_length`.

    Returns:
        Split name to the model's inputs and, except in test splits, "label".
    """
    longest = min(glue.max_seq_length, tokenizer.model_max_length)
    counts_cuts = longest < glue.max_seq_length
    padding = "max_length" if glue.pad_to_max_length else False
    tokenize: Any = tokenizer

    def encode_batch(examples: dict[str, list[Any]]) -> dict[str, Any]:
        texts = [examples[column] for column in task.columns]
        inputs = dict(tokenize(*texts, padding=padding, max_length=longest, truncation=True))
        _give_a_token(inputs, tokenizer.pad_token_id)
        if "label" in examples:
            labels = examples["label"]
            inputs["label"] = labels if task.is_regression else [order[label] for label in labels]
        if counts_cuts:  # in a column, which the cache of `datasets` keeps
            one_more = tokenize(*texts, max_length=longest + 1, truncation=True)["input_ids"]
            inputs[_IS_CUT] = [len(ids) > longest for ids in one_more]
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
    return _without_counts(encoded, longest, say) if counts_cuts else encoded


def _give_a_token(inputs: dict[str, list[list[int]]], token: Any) -> None:
    """Make texts without any token, which an empty text is to most decoders, one padding token that is attended to."""
    for number, mask in enumerate(inputs.get("attention_mask", ())):
        if not any(mask):
            for name, first in {**dict.fromkeys(inputs, 0), "input_ids": token, "attention_mask": 1}.items():
                inputs[name][number][:1] = [first]


def _without_counts(
    encoded: Mapping[str, datasets.Dataset], longest: int, say: Callable[[str], None]
) -> dict[str, datasets.Dataset]:
    cut = sum(sum(examples[_IS_CUT]) for examples in encoded.values())
    if cut:
        texts = sum(map(len, encoded.values()))
        say(f"{cut} of {texts} texts are longer than the {longest} tokens that the model takes, and are truncated")
    return {name: examples.remove_columns(_IS_CUT) for name, examples in encoded.items()}

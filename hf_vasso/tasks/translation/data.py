"""From a corpus to what a translation model is trained and judged on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import datasets
import numpy as np
from datasets.fingerprint import Hasher
from transformers import FSMTTokenizer, PreTrainedTokenizerBase

from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.translation.arguments import TranslationArguments
from hf_vasso.tasks.translation.cached_map import cached_map
from hf_vasso.tasks.translation.pretrained import pretrained_tokenizer
from hf_vasso.tasks.translation.sentence_pairs import PLACE, describe_faults, load_pairs, unusable, without
from hf_vasso.tasks.translation.subwords import encode_words, encoding_of, learn_tokenizer, mirrored
from hf_vasso.tasks.translation.text import TEXTS, WORDS, left_out_by_recipe, prepare
from hf_vasso.tasks.translation.token_batches import pair_lengths

__all__ = ["TranslationData", "load_corpus"]

_HOLDOUT_SEED = 0  # one for all runs, so that methods are compared on the same pairs

Say = Callable[[str], None]


@dataclass(frozen=True)
class TranslationData:
    """
    A corpus as a model reads it.

    Args:
        tokenizer: It encodes sources and decodes targets.
        splits: Split name to "input_ids", "labels", the targets as "text" and, where the model reads such, as "words",
            and the "place" of each pair in its file.
        source: Where the pairs came from.
        fingerprints: Split name to that of its pairs.
    """

    tokenizer: PreTrainedTokenizerBase
    splits: dict[str, datasets.Dataset]
    source: str
    fingerprints: dict[str, str]


def load_corpus(arguments: TranslationArguments, names: Sequence[str], say: Say) -> TranslationData:
    """
    Load, clean and encode a corpus.

    Where no pretrained model is named, a tokenizer is learned from the training pairs.

    Args:
        arguments: Corpus, model and lengths.
        names: The splits that are needed.
        say: Is told what is left out.

    Raises:
        DataError: The data cannot be used.
    """
    corpus = arguments.corpus
    loaded = load_pairs(corpus, arguments.data_dir, names)
    for name in names:
        found, official = len(loaded.splits[name]), corpus.split_sizes.get(name)
        if official not in (None, found):
            say(f"{name}: {found} pairs, and {corpus.name} has {official}: scores on it are of something else")
    usable = {name: _usable(name, loaded.splits[name], arguments, say) for name in names}
    tokenizer = None if arguments.model_name_or_path is None else pretrained_tokenizer(arguments)
    read = WORDS if tokenizer is None or isinstance(tokenizer, FSMTTokenizer) else TEXTS
    wanted = {*read, TEXTS[1], *(WORDS if corpus.leaves_pairs_out else ())}
    # Limited before the words are found, which takes minutes for a whole corpus.
    pairs = {name: prepare(of_split, corpus, wanted) for name, of_split in _limited(usable, arguments).items()}
    if "train" in names and corpus.leaves_pairs_out:
        left_out = left_out_by_recipe(pairs["train"], corpus)
        if left_out:
            say(f"{describe_faults('train', left_out, pairs['train'])}; the recipe leaves them out")
        pairs["train"] = without(pairs["train"], left_out)
    if tokenizer is None:
        words = pairs["train"].select_columns(list(WORDS))
        tokenizer = learn_tokenizer(words, *corpus.languages, arguments.vocab_size, corpus.lower_case)
    splits = _encoded(pairs, read, tokenizer, arguments.source_prefix)
    if "train" in names:
        splits["train"] = _short_enough(splits["train"], arguments, say)
    return TranslationData(tokenizer, splits, loaded.source, loaded.fingerprints)


def _usable(split: str, pairs: datasets.Dataset, arguments: TranslationArguments, say: Say) -> datasets.Dataset:
    """The pairs of a split; of those that are judged on, none is left out."""
    faults = unusable(pairs, arguments.corpus.languages)
    if split == "train":
        return _refused_or_dropped(pairs, faults, "mend them", arguments, say)
    if faults:
        say(f"{describe_faults(split, faults, pairs)}; they are kept")
    return pairs


def _refused_or_dropped(
    pairs: datasets.Dataset,
    faults: Mapping[str, Sequence[int]],
    remedy: str,
    arguments: TranslationArguments,
    say: Say,
) -> datasets.Dataset:
    if faults:
        described = describe_faults("train", faults, pairs)
        if arguments.invalid_pairs == "refuse":
            raise DataError(f"{described}; {remedy}, or leave them out with --invalid_pairs drop")
        say(f"{described}; they are left out")
    return without(pairs, faults)


def _limited(pairs: Mapping[str, datasets.Dataset], arguments: TranslationArguments) -> dict[str, datasets.Dataset]:
    """The splits with the first so many pairs, and with training pairs in the place of the validation part."""
    limited = dict(pairs)
    if arguments.holdout_samples is not None and "train" in limited:
        count = len(limited["train"])
        if arguments.holdout_samples >= count:
            raise DataError(
                f"holdout_samples must leave pairs to train on, got {arguments.holdout_samples} of {count}; hold "
                "fewer out"
            )
        rows = np.random.default_rng(_HOLDOUT_SEED).permutation(count)
        held_out, rest = np.split(rows, [arguments.holdout_samples])
        limited["validation"] = limited["train"].select(sorted(held_out.tolist()))
        limited["train"] = limited["train"].select(sorted(rest.tolist()))
    limits = {
        "train": arguments.max_train_samples,
        "validation": arguments.max_eval_samples,
        "test": arguments.max_predict_samples,
    }
    return {
        name: of_split.take(min(limits[name] or len(of_split), len(of_split))) for name, of_split in limited.items()
    }


def _encoded(
    pairs: Mapping[str, datasets.Dataset], read: tuple[str, str], tokenizer: PreTrainedTokenizerBase, prefix: str
) -> dict[str, datasets.Dataset]:
    """The splits with ids of the two columns that the tokenizer reads."""
    encode = _encoder(tokenizer, prefix)
    # Made before the first call, after which a tokenizer has another hash. Of a slow one it would take seconds.
    encoding = encoding_of(tokenizer) if isinstance(tokenizer, FSMTTokenizer) else Hasher.hash(tokenizer)
    kept = (PLACE, read[1], TEXTS[1])
    return {
        name: cached_map(
            of_split,
            encode,
            key=(_encoder, encoding, prefix, read),
            input_columns=list(read),
            remove_columns=[column for column in of_split.column_names if column not in kept],
            desc="Encoding",
        )
        for name, of_split in pairs.items()
    }


def _encoder(tokenizer: PreTrainedTokenizerBase, prefix: str) -> Callable[[str, str], dict[str, Any]]:
    """From a source and a target to ids: FSMT's tokenizer, which ours is, takes words."""
    if isinstance(tokenizer, FSMTTokenizer):
        of_targets = mirrored(tokenizer)

        def encode(source: str, target: str) -> dict[str, Any]:
            return {"input_ids": encode_words(tokenizer, prefix + source), "labels": encode_words(of_targets, target)}
    else:

        def encode(source: str, target: str) -> dict[str, Any]:
            return {
                "input_ids": tokenizer(prefix + source)["input_ids"],
                "labels": tokenizer(text_target=target)["input_ids"],
            }

    return encode


def _short_enough(pairs: datasets.Dataset, arguments: TranslationArguments, say: Say) -> datasets.Dataset:
    limits = arguments.max_source_length, arguments.max_target_length
    long = np.flatnonzero((pair_lengths(pairs) > limits).any(axis=1)) + 1
    faults = {f"more than {limits[0]} and {limits[1]} tokens": long.tolist()} if len(long) else {}
    remedy = "raise --max_source_length or --max_target_length"
    return _refused_or_dropped(pairs, faults, remedy, arguments, say)

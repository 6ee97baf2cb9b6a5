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
from hf_vasso.tasks.translation.pretrained import pretrained_tokenizer
from hf_vasso.tasks.translation.sentence_pairs import describe_faults, load_pairs, unusable, without
from hf_vasso.tasks.translation.subwords import encode_words, learn_tokenizer, mirrored
from hf_vasso.tasks.translation.text import as_texts, as_words, left_out_by_recipe
from hf_vasso.tasks.translation.token_batches import pair_lengths

__all__ = ["TranslationData", "load_corpus"]

_LINE = "line"  # the column with the number of a pair in its file
_HOLDOUT_SEED = 0  # one for all runs, so that methods are compared on the same pairs

Say = Callable[[str], None]


@dataclass(frozen=True)
class TranslationData:
    """
    A corpus as a model reads it.

    Args:
        tokenizer: It encodes sources and decodes targets.
        splits: Split name to "input_ids", "labels", and the targets as "text" and as "words".
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
    numbered = {name: _numbered(loaded.splits[name]) for name in names}
    # Limited before the words are found, which takes minutes for a whole corpus.
    pairs = _limited({name: _usable(name, of_split, arguments, say) for name, of_split in numbered.items()}, arguments)
    words = {name: as_words(of_split, corpus) for name, of_split in pairs.items()}
    if "train" in names:
        left_out = left_out_by_recipe(words["train"], corpus)
        if left_out:
            say(f"{describe_faults('train', left_out, pairs['train'][_LINE][:])}; the recipe leaves them out")
        pairs["train"], words["train"] = without(pairs["train"], left_out), without(words["train"], left_out)
    tokenizer = _tokenizer(arguments, words)
    texts = {name: as_texts(of_split, corpus) for name, of_split in pairs.items()}
    encode = _encoder(tokenizer, arguments.source_prefix)
    key = Hasher.hash(encode)  # of the cache of `datasets`, made now: a tokenizer has another one after its first call
    splits = {name: _encoded(arguments, encode, key, texts[name], words[name]) for name in pairs}
    if "train" in names:
        splits["train"] = _short_enough(splits["train"], pairs["train"][_LINE][:], arguments, say)
    return TranslationData(tokenizer, splits, loaded.source, loaded.fingerprints)


def _numbered(pairs: datasets.Dataset) -> datasets.Dataset:
    lines: Any = range(1, len(pairs) + 1)
    return pairs.add_column(_LINE, lines)


def _usable(split: str, pairs: datasets.Dataset, arguments: TranslationArguments, say: Say) -> datasets.Dataset:
    """The pairs of a split; of those that are judged on, none is left out."""
    faults, lines = unusable(pairs.select_columns(list(arguments.corpus.languages))), pairs[_LINE][:]
    if split == "train":
        return _refused_or_dropped(pairs, lines, faults, arguments, say)
    if faults:
        say(f"{describe_faults(split, faults, lines)}; they are kept")
    return pairs


def _refused_or_dropped(
    pairs: datasets.Dataset,
    lines: Sequence[int],
    faults: Mapping[str, Sequence[int]],
    arguments: TranslationArguments,
    say: Say,
) -> datasets.Dataset:
    if faults:
        described = describe_faults("train", faults, lines)
        if arguments.invalid_pairs == "refuse":
            raise DataError(f"{described}; mend them, or leave them out with --invalid_pairs drop")
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


def _tokenizer(arguments: TranslationArguments, words: Mapping[str, datasets.Dataset]) -> PreTrainedTokenizerBase:
    source, target = arguments.corpus.languages
    if arguments.model_name_or_path is None:
        return learn_tokenizer(words["train"], source, target, arguments.vocab_size, arguments.corpus.lower_case)
    return pretrained_tokenizer(arguments)


def _encoded(
    arguments: TranslationArguments, encode: Callable[..., dict[str, Any]], key: str, texts: Any, words: Any
) -> datasets.Dataset:
    source, target = arguments.corpus.languages
    columns = {source: "source_words", target: "words"}
    both = datasets.concatenate_datasets([texts, words.rename_columns(columns)], axis=1)
    return both.map(
        encode,
        input_columns=[source, target, "source_words", "words"],
        remove_columns=[source, target, "source_words"],
        new_fingerprint=Hasher.hash([key, both._fingerprint]),
        desc="Encoding",
    )


def _encoder(tokenizer: PreTrainedTokenizerBase, prefix: str) -> Callable[..., dict[str, Any]]:
    """From a source and a target, as texts and as words, to ids: a tokenizer of ours takes words."""
    if isinstance(tokenizer, FSMTTokenizer):
        of_sources, of_targets = tokenizer, mirrored(tokenizer)

        def encode(source: str, target: str, source_words: str, target_words: str) -> dict[str, Any]:
            ids, labels = encode_words(of_sources, prefix + source_words), encode_words(of_targets, target_words)
            return {"input_ids": ids, "labels": labels, "text": target}
    else:

        def encode(source: str, target: str, source_words: str, target_words: str) -> dict[str, Any]:
            ids, labels = tokenizer(prefix + source)["input_ids"], tokenizer(text_target=target)["input_ids"]
            return {"input_ids": ids, "labels": labels, "text": target}

    return encode


def _short_enough(
    pairs: datasets.Dataset, lines: Sequence[int], arguments: TranslationArguments, say: Say
) -> datasets.Dataset:
    limits = arguments.max_source_length, arguments.max_target_length
    long = np.flatnonzero((pair_lengths(pairs) > limits).any(axis=1)) + 1
    faults = {f"more than {limits[0]} and {limits[1]} tokens": long.tolist()} if len(long) else {}
    return _refused_or_dropped(pairs, lines, faults, arguments, say)

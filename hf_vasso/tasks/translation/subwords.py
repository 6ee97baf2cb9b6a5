"""A tokenizer for a translation model that is trained from scratch: Moses' words, and a joint byte-pair encoding."""

import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from datasets import Dataset, are_progress_bars_disabled
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from transformers import FSMTTokenizer

from hf_vasso.tasks.translation.cached_map import cached_map

__all__ = ["decoded_words", "encode_words", "encoding_of", "learn_tokenizer", "mirrored", "moses_words"]

_SPECIAL_TOKENS = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>", "bos_token": "<s>"}
_END_OF_WORD = "</w>"


def learn_tokenizer(words: Dataset, source: str, target: str, vocab_size: int, lower_case: bool) -> FSMTTokenizer:
    """
    Learn a byte-pair encoding.

    The tokenizer is the one that Transformers has for fairseq's models, so that a folder with it loads with
    `AutoTokenizer`: of a text it finds Moses' words by sacremoses, and it puts them together again when it decodes.

    Args:
        words: A column of sentences of the source and one of the target, as `moses_words` gives them.
        source: The language that it encodes.
        target: The language that it decodes.
        vocab_size: Subwords at most, the special ones included; all single characters are among them, be they more.
        lower_case: Whether it is to lower-case texts.

    Returns:
        The tokenizer. Equal sentences give an equal one, and what was learned before comes from the cache of
        `datasets`.
    """
    learn = partial(_learned, vocab_size=vocab_size)
    learned = cached_map(
        words,
        learn,
        key=learn,
        input_columns=words.column_names,
        batched=True,
        batch_size=None,  # all sentences at once
        remove_columns=words.column_names,
        desc="Learning subwords",
    )
    model = json.loads(learned[0]["encoding"])["model"]
    return _tokenizer(model["vocab"], model["merges"], source, target, lower_case)


def mirrored(tokenizer: FSMTTokenizer) -> FSMTTokenizer:
    """The tokenizer of the other direction, which encodes targets: Moses' rules, and the ids, are a language's own."""
    ids = {subword: number for number, subword in tokenizer.decoder.items()}
    return _tokenizer(ids, _merges(tokenizer), tokenizer.tgt_lang, tokenizer.src_lang, tokenizer.do_lower_case)


def encoding_of(tokenizer: FSMTTokenizer) -> str:
    """All that decides on the ids which `encode_words` gives by a tokenizer and by the mirrored one."""
    vocabularies = tokenizer.get_vocab(), tokenizer.decoder
    return json.dumps([*vocabularies, _merges(tokenizer), tokenizer.special_tokens_map], sort_keys=True)


def moses_words(text: str, language: str, lower_case: bool) -> str:
    """
    The words of a text, as the tokenizer finds them.

    Args:
        text: One sentence.
        language: Its language.
        lower_case: Whether to lower-case it.

    Returns:
        The words with blanks between them.

    Example:
        >>> moses_words("The dog's here.", "en", lower_case=True)
        'the dog &apos;s here .'
    """
    moses = _moses(language)
    cleaned = moses.moses_pipeline(text.lower() if lower_case else text, language)
    return " ".join(moses.moses_tokenize(cleaned, language))


def encode_words(tokenizer: FSMTTokenizer, sentence: str) -> list[int]:
    """The ids of words with blanks between them, with that of the end of a sentence."""
    pieces = [piece for word in sentence.split() for piece in tokenizer.bpe(word).split(" ")]
    ids: Any = tokenizer.convert_tokens_to_ids(pieces)
    return tokenizer.build_inputs_with_special_tokens(ids)


def decoded_words(tokenizer: FSMTTokenizer, ids: Sequence[int]) -> str:
    """The words that ids stand for, with blanks between them; those of special tokens are left out."""
    pieces = tokenizer.convert_ids_to_tokens(list(ids), skip_special_tokens=True)
    return "".join(pieces).replace(_END_OF_WORD, " ").strip()


def _learned(sources: Sequence[str], targets: Sequence[str], vocab_size: int) -> dict[str, list[str]]:
    """One row: the encoding, as `tokenizers` writes it."""
    sentences = [*sources, *targets]
    learned = Tokenizer(BPE(unk_token=_SPECIAL_TOKENS["unk_token"], end_of_word_suffix=_END_OF_WORD))
    learned.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    # The trainer numbers characters with an ending as it comes upon them, in another order each time, and by their
    # numbers it breaks ties. Named beforehand they are in order.
    endings = sorted({word[-1] + _END_OF_WORD for sentence in sentences for word in sentence.split()})
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*_SPECIAL_TOKENS.values(), *endings],  # pyright: ignore[reportArgumentType]
        end_of_word_suffix=_END_OF_WORD,
        show_progress=not are_progress_bars_disabled(),
    )
    learned.train_from_iterator(sentences, trainer)
    return {"encoding": [learned.to_str()]}


def _merges(tokenizer: FSMTTokenizer) -> list[tuple[str, ...]]:
    return sorted(tokenizer.bpe_ranks, key=lambda merge: tokenizer.bpe_ranks[merge])


@cache
def _moses(language: str) -> FSMTTokenizer:
    return _tokenizer({}, [], language, language, lower_case=False)


def _tokenizer(
    vocabulary: Mapping[str, int], merges: Sequence[Sequence[str]], source: str, target: str, lower_case: bool
) -> FSMTTokenizer:
    with tempfile.TemporaryDirectory() as folder:
        vocabulary_file, merges_file = Path(folder, "vocabulary.json"), Path(folder, "merges.txt")
        vocabulary_file.write_text(json.dumps(vocabulary), encoding="utf-8")
        merges_file.write_text("".join(f"{' '.join(merge)}\n" for merge in merges), encoding="utf-8")
        return FSMTTokenizer(
            langs=[source, target],
            src_vocab_file=str(vocabulary_file),
            tgt_vocab_file=str(vocabulary_file),
            merges_file=str(merges_file),
            do_lower_case=lower_case,
            sep_token=_SPECIAL_TOKENS["eos_token"],
            **_SPECIAL_TOKENS,
        )

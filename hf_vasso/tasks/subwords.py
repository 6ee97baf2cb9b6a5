"""A tokenizer for a translation model that is trained from scratch: Moses' words, and a joint byte-pair encoding."""

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import datasets
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.trainers import BpeTrainer
from transformers import FSMTTokenizer

__all__ = ["learn_tokenizer", "mirrored"]

_SPECIAL_TOKENS = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>", "bos_token": "<s>"}
_END_OF_WORD = "</w>"


def learn_tokenizer(
    pairs: datasets.Dataset, source: str, target: str, vocab_size: int, lower_case: bool
) -> FSMTTokenizer:
    """
    Learn a byte-pair encoding of both languages together.

    The tokenizer is the one that Transformers has for fairseq's models, so that a folder with it loads with
    `AutoTokenizer`: it finds Moses' words by sacremoses, and puts them together again when it decodes.

    Args:
        pairs: The training pairs, a column for each language.
        source: The language that it encodes.
        target: The language that it decodes.
        vocab_size: Subwords of the joint vocabulary at most, the special ones included.
        lower_case: Whether everything is lower-cased.

    Returns:
        The tokenizer. Equal pairs give an equal one.
    """
    learned = Tokenizer(BPE(unk_token=_SPECIAL_TOKENS["unk_token"], end_of_word_suffix=_END_OF_WORD))
    learned.pre_tokenizer = WhitespaceSplit()  # pyright: ignore[reportAttributeAccessIssue]
    words = [*_words(pairs[source], source, lower_case), *_words(pairs[target], target, lower_case)]
    # The trainer numbers characters with an ending as it comes upon them, in another order each time, and by their
    # numbers it breaks ties. Named beforehand they are in order.
    endings = sorted({word[-1] + _END_OF_WORD for sentence in words for word in sentence})
    trainer = BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[*_SPECIAL_TOKENS.values(), *endings],  # pyright: ignore[reportArgumentType]
        end_of_word_suffix=_END_OF_WORD,
        show_progress=False,
    )
    learned.train_from_iterator((" ".join(sentence) for sentence in words), trainer)
    model = json.loads(learned.to_str())["model"]
    return _tokenizer(model["vocab"], model["merges"], source, target, lower_case)


def mirrored(tokenizer: FSMTTokenizer) -> FSMTTokenizer:
    """The tokenizer of the other direction, which encodes targets: each language has Moses rules of its own."""
    merges = sorted(tokenizer.bpe_ranks, key=lambda merge: tokenizer.bpe_ranks[merge])
    return _tokenizer(tokenizer.encoder, merges, tokenizer.tgt_lang, tokenizer.src_lang, tokenizer.do_lower_case)


def _words(texts: Iterable[str], language: str, lower_case: bool) -> Iterator[list[str]]:
    """The words of each sentence, as the tokenizer finds them."""
    moses = _tokenizer({}, [], language, language, lower_case)
    for text in texts:
        cleaned = moses.moses_pipeline(text.lower() if lower_case else text, language)
        yield moses.moses_tokenize(cleaned, language)


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

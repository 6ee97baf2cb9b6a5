"""The texts of a corpus as a model reads them, as people read them, and which training pairs the recipe leaves out."""

from collections.abc import Callable
from functools import partial
from typing import Any

import datasets
from sacremoses import MosesDetokenizer

from hf_vasso.tasks.translation.corpora import Corpus
from hf_vasso.tasks.translation.subwords import moses_words

__all__ = ["as_texts", "as_words", "left_out_by_recipe"]


def as_words(pairs: datasets.Dataset, corpus: Corpus) -> datasets.Dataset:
    """
    Turn texts into Moses' words with blanks between them.

    Args:
        pairs: A column of text for each language.
        corpus: It says whether they are lower-cased, and whether they are words already.

    Returns:
        Those columns. What was done before comes from the cache of `datasets`.
    """
    return _each(pairs, corpus, partial(_words, corpus=corpus), "Finding words")


def as_texts(pairs: datasets.Dataset, corpus: Corpus) -> datasets.Dataset:
    """The same as people read them: detokenised, and lower-cased where the corpus is."""
    return _each(pairs, corpus, partial(_text, corpus=corpus), "Preparing texts")


def left_out_by_recipe(words: datasets.Dataset, corpus: Corpus) -> dict[str, list[int]]:
    """
    Find the training pairs that a corpus' recipe leaves out.

    Args:
        words: What `as_words` gives.
        corpus: It says how long and how uneven a pair may be.

    Returns:
        What is wrong to the numbers of such pairs, counted from 1.
    """
    long, uneven = [], []
    columns = [words[language][:] for language in corpus.languages]
    for number, pair in enumerate(zip(*columns, strict=True), start=1):
        fewer, more = sorted(len(sentence.split()) for sentence in pair)
        if corpus.longest is not None and more > corpus.longest:
            long.append(number)
        elif corpus.largest_ratio is not None and more > corpus.largest_ratio * fewer:
            uneven.append(number)
    faults = {
        f"more than {corpus.longest} words": long,
        f"over {corpus.largest_ratio} times as many words on one side as on the other": uneven,
    }
    return {fault: numbers for fault, numbers in faults.items() if numbers}


def _each(pairs: datasets.Dataset, corpus: Corpus, change: Callable[[str, str], str], what: str) -> datasets.Dataset:
    def change_pair(pair: dict[str, Any]) -> dict[str, str]:
        return {language: change(text, language) for language, text in pair.items()}

    return pairs.select_columns(list(corpus.languages)).map(change_pair, desc=what)


def _words(text: str, language: str, corpus: Corpus) -> str:
    if not corpus.has_words:
        return moses_words(text, language, corpus.lower_case)
    return text.lower() if corpus.lower_case else text


def _text(text: str, language: str, corpus: Corpus) -> str:
    if corpus.has_words:
        text = MosesDetokenizer(language).detokenize(text.split())
    return text.lower() if corpus.lower_case else text

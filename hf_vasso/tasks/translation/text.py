"""The texts of a corpus as a model reads them, as people read them, and which training pairs the recipe leaves out."""

from collections.abc import Collection

import datasets
from sacremoses import MosesDetokenizer

from hf_vasso.tasks.translation.cached_map import cached_map
from hf_vasso.tasks.translation.corpora import Corpus
from hf_vasso.tasks.translation.subwords import moses_words

__all__ = ["TEXTS", "WORDS", "left_out_by_recipe", "prepare"]

TEXTS = ("source_text", "text")
"""The columns with sources and targets as people read them: detokenised."""

WORDS = ("source_words", "words")
"""The same as Moses' words with blanks between them."""


def prepare(pairs: datasets.Dataset, corpus: Corpus, columns: Collection[str]) -> datasets.Dataset:
    """
    Add texts in other forms.

    Args:
        pairs: A column of text for each language.
        corpus: It says whether they are lower-cased, and whether they are words already.
        columns: What to add: of `TEXTS` and `WORDS`.

    Returns:
        All columns. What was done before comes from the cache of `datasets`.
    """
    added = [
        (column, side, form)
        for of_both, form in ((TEXTS, _text), (WORDS, _words))
        for side, column in enumerate(of_both)
        if column in columns
    ]

    def add(*texts: str) -> dict[str, str]:
        return {column: form(texts[side], corpus.languages[side], corpus) for column, side, form in added}

    return cached_map(pairs, add, key=(added, corpus), input_columns=list(corpus.languages), desc="Preparing texts")


def left_out_by_recipe(pairs: datasets.Dataset, corpus: Corpus) -> dict[str, list[int]]:
    """
    Find the training pairs that a corpus' recipe leaves out.

    Args:
        pairs: They have the columns `WORDS`.
        corpus: It says how long and how uneven a pair may be.

    Returns:
        What is wrong to the numbers of such pairs, counted from 1.
    """
    long, uneven = [], []
    for number, pair in enumerate(zip(*(pairs[column][:] for column in WORDS), strict=True), start=1):
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


def _words(text: str, language: str, corpus: Corpus) -> str:
    if not corpus.has_words:
        return moses_words(text, language, corpus.lower_case)
    return text.lower() if corpus.lower_case else text


def _text(text: str, language: str, corpus: Corpus) -> str:
    if corpus.has_words:
        text = MosesDetokenizer(language).detokenize(text.split())
    return text.lower() if corpus.lower_case else text

"""The texts of a corpus in all their forms, and what the recipe of IWSLT14 leaves out."""

from dataclasses import replace

import datasets
import pytest

from hf_vasso.tasks.translation.corpora import Corpus, get_corpus
from hf_vasso.tasks.translation.sentence_pairs import load_pairs
from hf_vasso.tasks.translation.text import as_texts, as_words, left_out_by_recipe

RAW = Corpus("raw", ("de", "en"), {})
LOWER = replace(RAW, lower_case=True)
WORDS = replace(LOWER, has_words=True)


@pytest.mark.parametrize(
    ("corpus", "given", "words", "text"),
    [
        (RAW, "It's Tom, the dog.", "It &apos;s Tom , the dog .", "It's Tom, the dog."),
        (LOWER, "It's Tom, the dog.", "it &apos;s tom , the dog .", "it's tom, the dog."),
        (WORDS, "It &apos;s Tom , the dog .", "it &apos;s tom , the dog .", "it's tom, the dog."),
    ],
)
def test_words_and_texts(corpus, given, words, text):
    pairs = datasets.Dataset.from_dict({"de": ["Nein."], "en": [given]})
    assert as_words(pairs, corpus)["en"][:] == [words]
    assert as_texts(pairs, corpus)["en"][:] == [text]


def test_what_the_recipe_leaves_out():
    corpus = replace(RAW, longest=6, largest_ratio=1.5)
    counts = [(2, 3), (2, 4), (6, 6), (7, 7), (1, 7), (4, 6), (3, 5)]  # (1, 7) has both faults and counts once
    pairs = datasets.Dataset.from_dict({"de": ["a " * n for n, _ in counts], "en": ["b " * n for _, n in counts]})
    assert left_out_by_recipe(pairs, corpus) == {
        "more than 6 words": [4, 5],
        "over 1.5 times as many words on one side as on the other": [2, 7],
    }
    assert left_out_by_recipe(pairs, RAW) == {}


@pytest.mark.realdata
@pytest.mark.slow
def test_the_official_validation_pairs_are_what_the_recipe_left(real_data):
    """They come out of the recipe's own scripts, so its cleaning finds nothing in them, and a stricter one does."""
    corpus = get_corpus("iwslt14.de-en")
    words = as_words(load_pairs(corpus, str(real_data / "translation"), ["validation"]).splits["validation"], corpus)
    assert left_out_by_recipe(words, corpus) == {}
    assert left_out_by_recipe(words, replace(corpus, largest_ratio=1.4)) != {}

"""The texts of a corpus in all their forms, and what the recipe of IWSLT14 leaves out."""

from dataclasses import replace

import datasets
import pytest

from hf_vasso.tasks.translation.corpora import Corpus, get_corpus
from hf_vasso.tasks.translation.sentence_pairs import load_pairs
from hf_vasso.tasks.translation.text import TEXTS, WORDS, left_out_by_recipe, prepare

RAW = Corpus("raw", ("de", "en"), {})
LOWER = replace(RAW, lower_case=True)
IN_WORDS = replace(LOWER, has_words=True)


@pytest.mark.parametrize(
    ("corpus", "given", "words", "text"),
    [
        (RAW, "It's Tom, the dog.", "It &apos;s Tom , the dog .", "It's Tom, the dog."),
        (LOWER, "It's Tom, the dog.", "it &apos;s tom , the dog .", "it's tom, the dog."),
        (IN_WORDS, "It &apos;s Tom , the dog .", "it &apos;s tom , the dog .", "it's tom, the dog."),
    ],
)
def test_words_and_texts(corpus, given, words, text):
    pairs = datasets.Dataset.from_dict({"de": ["Nein."], "en": [given]})
    prepared = prepare(pairs, corpus, {*WORDS, *TEXTS})
    assert (prepared["words"][:], prepared["text"][:]) == ([words], [text])
    assert prepared["source_text"][0].lower() == "nein." and prepared["source_words"][0].lower().startswith("nein")
    assert prepare(pairs, corpus, {"text"}).column_names == ["de", "en", "text"]


def test_what_the_recipe_leaves_out():
    corpus = replace(RAW, longest=6, largest_ratio=1.5)
    counts = [(2, 3), (2, 4), (6, 6), (7, 7), (1, 7), (4, 6), (3, 5)]  # (1, 7) has both faults and counts once
    sides = (["a " * n for n, _ in counts], ["b " * n for _, n in counts])
    pairs = datasets.Dataset.from_dict(dict(zip(WORDS, sides, strict=True)))
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
    pairs = load_pairs(corpus, str(real_data / "translation"), ["validation"]).splits["validation"]
    words = prepare(pairs, corpus, WORDS)
    assert left_out_by_recipe(words, corpus) == {}
    assert left_out_by_recipe(words, replace(corpus, largest_ratio=1.4)) != {}

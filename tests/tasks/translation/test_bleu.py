"""Scores of translations, against sacreBLEU's own command and multi-bleu written anew."""

import json
import subprocess
import sys

import pytest
import sacrebleu
import sacremoses
from multi_bleu import multi_bleu

from hf_vasso.tasks.translation.bleu import score_translations

HYPOTHESES = [
    "The dog's running across a street.",
    "Two men are, as it seems, in the garden!",
    "A woman sells flowers on the market.",
    "Children play outside.",
]
REFERENCES = [
    "The dog's running across the street.",
    "Two Men, it seems, are in the garden.",
    "A woman is selling flowers at the market.",
    "Children are playing outside the house.",
]


WORDS = tuple(
    [sacremoses.MosesTokenizer("en").tokenize(text, return_str=True) for text in texts]
    for texts in (HYPOTHESES, REFERENCES)
)


def test_tokenized_is_multi_bleu():
    tokens = [[line.lower().split() for line in lines] for lines in WORDS]
    scores = score_translations((HYPOTHESES, REFERENCES), WORDS)
    assert scores.metrics["bleu_tokenized"] == pytest.approx(multi_bleu(*tokens), abs=1e-9)
    assert "case:lc" in scores.signatures["bleu_tokenized"] and "tok:none" in scores.signatures["bleu_tokenized"]


def test_the_others_are_those_of_the_command(tmp_path):
    files = {"hypotheses": HYPOTHESES, "references": REFERENCES}
    for name, lines in files.items():
        (tmp_path / name).write_text("".join(f"{line}\n" for line in lines))
    words = ["references", "-i", "hypotheses", "-m", "bleu", "chrf", "-w", "10"]
    printed = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *words], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    scores = score_translations((HYPOTHESES, REFERENCES), WORDS)
    for found, name in zip(json.loads(printed), ("bleu", "chrf"), strict=True):
        assert scores.metrics[name] == pytest.approx(found["score"], abs=1e-9)
        assert scores.signatures[name] == found["signature"]


def test_ends_of_the_scale():
    same, none = (REFERENCES, REFERENCES), ([""], ["A dog ."])
    assert score_translations(same, (WORDS[1], WORDS[1])).metrics == pytest.approx(
        {"bleu": 100, "bleu_tokenized": 100, "chrf": 100}
    )
    assert score_translations(none, none).metrics == {"bleu": 0, "bleu_tokenized": 0, "chrf": 0}


def test_other_numbers_of_lines_are_refused():
    with pytest.raises(ValueError, match="1 translations cannot be scored against 2 references"):
        score_translations((["a"], ["a"]), (["a"], ["a", "b"]))


def test_tokenized_is_not_smoothed():
    """A corpus without four right words in a row scores 0, as with multi-bleu.perl."""
    words = ["The dog runs here ."], ["A dog runs there ."]
    tokens = [[line.lower().split() for line in lines] for lines in words]
    scores = score_translations(words, words)
    assert scores.metrics["bleu_tokenized"] == multi_bleu(*tokens) == 0 < scores.metrics["bleu"]
    expected = f"nrefs:1|case:lc|eff:no|tok:none|smooth:none|version:{sacrebleu.__version__}"
    assert scores.signatures["bleu_tokenized"] == expected

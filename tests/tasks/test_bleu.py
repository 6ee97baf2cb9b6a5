"""Scores of translations, against sacreBLEU's own command and multi-bleu written anew."""

import json
import math
import subprocess
import sys
from collections import Counter

import pytest
import sacremoses

from hf_vasso.tasks.bleu import score_translations

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


def multi_bleu(hypotheses, references):
    """Papineni et al. 2002 over lines of tokens: no smoothing, one brevity penalty."""
    matches, totals = [0] * 4, [0] * 4
    for hypothesis, reference in zip(hypotheses, references, strict=True):
        for size in range(1, 5):
            found, wanted = (
                Counter(tuple(line[i : i + size]) for i in range(len(line) - size + 1))
                for line in (hypothesis, reference)
            )
            matches[size - 1] += (found & wanted).total()
            totals[size - 1] += found.total()
    lengths = [sum(map(len, lines)) for lines in (hypotheses, references)]
    penalty = min(1.0, math.exp(1 - lengths[1] / lengths[0]))
    return 100 * penalty * math.exp(sum(math.log(m / t) for m, t in zip(matches, totals, strict=True)) / 4)


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

"""Translations compared sentence by sentence, against sacreBLEU's own command, and files that cannot be compared."""

import json
import os
import random
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from made_records import make_record, write
from sacrebleu.metrics.bleu import BLEU

from hf_vasso.results.collection import collect
from hf_vasso.results.comparison import compare
from hf_vasso.results.report import write_report
from hf_vasso.results.report.rows import sentence_rows
from hf_vasso.results.translations import REFERENCES_FILE, TRANSLATIONS_FILE

SENTENCES = 40
SHARES = {"none": 0.5, "sam": 0.9}  # of the words that are right


def write_run(
    runs_dir: Path, label: str, seed: int, words: str = "abcdefghx", blank: str = " ", tok: str = "13a"
) -> Path:
    """A run with translations in which some words are the last, wrong one; returns its folder."""
    generator = random.Random(f"{label} {seed}")
    references = [[random.Random(n + 100 * k).choice(words[:-1]) for k in range(9)] for n in range(SENTENCES)]
    texts = [[w if generator.random() < SHARES[label] else words[-1] for w in line] for line in references]
    lines = {
        TRANSLATIONS_FILE: [blank.join(line) for line in texts],
        REFERENCES_FILE: [blank.join(line) for line in references],
    }
    bleu = BLEU(tokenize=tok).corpus_score(lines[TRANSLATIONS_FILE], [lines[REFERENCES_FILE]]).score
    metrics = {"bleu": bleu, "chrf": 50.0, "validation_loss": 2.0, "validation_perplexity": 7.389}
    signatures = {"bleu": f"nrefs:1|tok:{tok}", "chrf": "nc:6"}
    facts = {"task": "numbers", "task_label": "numbers", "collapsed": None, "signatures": signatures}
    record = make_record(label, seed, metrics=metrics, **facts)
    folder = write(record, runs_dir, f"{label}/seed-{seed}").parent
    for name, of_file in lines.items():
        (folder / name).write_text("".join(f"{line}\n" for line in of_file))
    return folder


@pytest.fixture
def runs_dir(tmp_path):
    """Two methods with two seeds."""
    for label in SHARES:
        for seed in (0, 1):
            write_run(tmp_path / "runs", label, seed)
    return tmp_path / "runs"


@pytest.mark.parametrize("tokenizer", ["13a", "zh"])
def test_scores_and_p_are_those_of_the_command(runs_dir, tokenizer):
    if tokenizer == "zh":
        for label in SHARES:
            for seed in (0, 1):
                write_run(runs_dir, label, seed, words="零一二三四五六七八", blank="", tok="zh")
    tests = compare(collect(runs_dir)).sentence_tests
    assert [(test.first_name, test.second_name, test.seed, test.sentences) for test in tests] == [
        ("sam", "AdamW", seed, SENTENCES) for seed in (0, 1)
    ]
    for test in tests:
        texts = [str(runs_dir / label / f"seed-{test.seed}" / TRANSLATIONS_FILE) for label in ("none", "sam")]
        words = [
            str(runs_dir / "none" / "seed-0" / REFERENCES_FILE),
            "-i",
            *texts,
            "--paired-bs",
            "-f",
            "json",
            "-tok",
            tokenizer,
        ]
        printed = subprocess.run([sys.executable, "-m", "sacrebleu", *words], capture_output=True, text=True)
        base, other = (system["BLEU"] for system in json.loads(printed.stdout))
        assert test.second == pytest.approx(base["score"], abs=0.05 + 1e-9)  # the command rounds
        assert test.first == pytest.approx(other["score"], abs=0.05 + 1e-9)
        assert test.p_value == pytest.approx(other["p_value"], abs=0.00005 + 1e-9)
        assert test.p_value < 0.05


def test_the_report_has_them(runs_dir, tmp_path):
    report = write_report(runs_dir, tmp_path / "report").parent
    shown = (report / "report.md").read_text()
    assert (report / "tables" / "sentences.csv").read_text().count("\n") == 3
    assert "paired bootstrap over the sentences" in shown
    for words in ("| numbers sacreBLEU ↑ |", " chrF ↑ |", "validation perplexity ↓ |", "| nrefs:1\\|tok:13a |"):
        assert words in shown, words
    assert "| validation loss ↓ | sam minus AdamW |" in shown  # tested too
    assert "majority class" not in shown and "collapsed |" not in shown


def missing(folder: Path) -> None:
    (folder / TRANSLATIONS_FILE).unlink()


def shorter(folder: Path) -> None:
    (folder / REFERENCES_FILE).write_text("a\n")


def no_text(folder: Path) -> None:
    (folder / TRANSLATIONS_FILE).write_bytes(b"\xff\n")


def pipe(folder: Path) -> None:
    (folder / TRANSLATIONS_FILE).unlink()
    os.mkfifo(folder / TRANSLATIONS_FILE)  # reading it would wait for ever


def large(folder: Path) -> None:
    with (folder / REFERENCES_FILE).open("a") as file:
        file.truncate(2**23 + 1)


def link_that_leads_out(folder: Path) -> None:
    runs_dir = folder.parents[1]
    path = folder / REFERENCES_FILE
    path.rename(runs_dir.parent / "secret.txt")
    path.symlink_to(runs_dir.parent / "secret.txt")


def other_text(folder: Path) -> None:
    (folder / TRANSLATIONS_FILE).write_text("x\n" * SENTENCES)


def other_references(folder: Path) -> None:
    (folder / REFERENCES_FILE).write_text("a b c d e\n" * SENTENCES)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (missing, "of sam, generated_predictions.txt is missing; translate again with --do_predict"),
        (shorter, "of sam, generated_predictions.txt has 40 lines and references.txt 1; translate again"),
        (no_text, "of sam, generated_predictions.txt is no text ('utf-8' codec can't decode byte 0xff"),
        (pipe, "of sam, generated_predictions.txt: not a regular file; delete it"),
        (large, "of sam, references.txt: larger than 8 MiB, the most that is read (8388609 bytes); delete it"),
        (link_that_leads_out, "of sam, references.txt: a link that leads out of the folder is not followed; name"),
        (other_text, "generated_predictions.txt of sam comes to 0.00, and its record says "),
        (other_references, "they differ in references.txt"),
    ],
)
def test_what_cannot_be_compared_is_named(runs_dir, spoil, reason):
    spoil(runs_dir / "sam" / "seed-1")
    comparison = compare(collect(runs_dir))
    assert [row["seed"] for row in sentence_rows(comparison)] == ["0"]
    said = f"On numbers, the sentences of sam and AdamW with seed 1 are not compared: {reason}"
    assert [note for note in comparison.notes if note.startswith(said)]


def test_equal_references_may_be_links_to_one_file(runs_dir):
    path, other = (runs_dir / "sam" / f"seed-{seed}" / REFERENCES_FILE for seed in (0, 1))
    path.unlink()
    path.symlink_to(other)
    assert [row["seed"] for row in sentence_rows(compare(collect(runs_dir)))] == ["0", "1"]


def test_runs_with_two_tokenizers_are_not_compared(tmp_path):
    for label, tokenizer in (("none", "13a"), ("sam", "zh")):
        write_run(tmp_path, label, 0, words="零一二三四五六七八", blank="", tok=tokenizer)
    comparison = compare(collect(tmp_path))
    assert not comparison.sentence_tests
    assert {runs.task for runs in comparison.tasks} == {
        "numbers (BLEU tokenizer 13a)",
        "numbers (BLEU tokenizer zh)",
    }
    assert any(
        "numbers was run with different tokenizers of BLEU, which are never" in note for note in comparison.notes
    )


def test_a_tokenizer_that_cannot_be_used_is_named(runs_dir, monkeypatch):
    monkeypatch.setattr(import_module("sacrebleu.tokenizers.tokenizer_ja_mecab"), "MeCab", None)
    for path in runs_dir.rglob("result.json"):
        path.write_text(path.read_text().replace("tok:13a", "tok:ja-mecab-0.996-IPA"))
    comparison = compare(collect(runs_dir))
    assert not comparison.sentence_tests
    assert any("pip install sacrebleu[ja]" in note for note in comparison.notes)


def test_a_record_without_a_signature_reads_as_13a(runs_dir):
    for path in runs_dir.rglob("result.json"):
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "signatures": {}}))
    assert len(compare(collect(runs_dir)).sentence_tests) == 2

"""The demonstration, shrunk, and the task that it makes."""

import json
import time
from dataclasses import replace
from statistics import fmean

import pytest
import torch

from hf_vasso import cli
from hf_vasso.results.record import read_record
from hf_vasso.tasks import demo, run_glue
from hf_vasso.tasks.demo import DemoSize, comparison, run_demo
from hf_vasso.tasks.synthetic import VOCABULARY, agreement_examples, write_agreement

SMALL = DemoSize(seeds=2, train_examples=40, validation_examples=20, epochs=1, hidden_size=8)
NOUNS = {word for word in VOCABULARY if f"{word}s" in VOCABULARY}  # in the singular
SINGULAR_VERBS = {"is", "was", "stays", "seems", "looks", "becomes", "remains", "appears"}


@pytest.fixture(autouse=True)
def threads():
    """The demonstration sets the number of threads of its process."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# --- the task ---


def test_labels_are_agreement_of_subject_and_verb():
    distracted = 0
    for example in agreement_examples(300, seed=3):
        words = example["sentence"].split()
        subject = words[1] if words[1].removesuffix("s") in NOUNS else words[2]  # else an adjective
        agrees = subject.endswith("s") != (words[-2] in SINGULAR_VERBS)
        distracted += words.count("the") > 1
        assert example["label"] == int(agrees), example
        assert set(words) <= set(VOCABULARY)
    assert 150 < distracted < 250  # two thirds


def test_the_verb_alone_is_right_in_seven_of_ten():
    examples = list(agreement_examples(2000, seed=4))
    right = [(example["sentence"].split()[-2] in SINGULAR_VERBS) == bool(example["label"]) for example in examples]
    assert 0.66 < sum(right) / len(right) < 0.74
    assert 0.46 < sum(example["label"] for example in examples) / len(examples) < 0.54


def test_label_noise():
    clean, noisy = (list(agreement_examples(1000, seed=5, label_noise=noise)) for noise in (0.0, 0.2))
    assert [example["sentence"] for example in clean] == [example["sentence"] for example in noisy]
    wrong = sum(first["label"] != second["label"] for first, second in zip(clean, noisy, strict=True))
    assert 150 < wrong < 250
    with pytest.raises(ValueError, match=r"must be in \[0, 0.5\), got 0.5"):
        next(agreement_examples(1, seed=0, label_noise=0.5))


def test_files(tmp_path):
    write_agreement(tmp_path, train_examples=5, validation_examples=3, seed=1)
    train, validation = (
        [json.loads(line) for line in (tmp_path / "agreement" / f"{split}.jsonl").read_text().splitlines()]
        for split in ("train", "validation")
    )
    assert (len(train), len(validation)) == (5, 3)
    assert train[0]["sentence"] != validation[0]["sentence"]
    write_agreement(tmp_path / "again", train_examples=5, validation_examples=3, seed=1)
    again = tmp_path / "again" / "agreement" / "train.jsonl"
    assert again.read_text() == (tmp_path / "agreement" / "train.jsonl").read_text()


# --- the demonstration ---


def test_demo_runs_once_and_compares(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "DemoSize", lambda: SMALL)
    assert demo.main(["--output_dir", str(tmp_path)]) == 0
    table = capsys.readouterr().out.partition("\nagreement: ")[2]
    assert table.startswith("accuracy on 20 validation sentences, in %, higher is better; 40 training sentences")
    assert "method  mean  minus AdamW  95 % interval" in table
    assert [line.split()[0] for line in table.splitlines() if line.startswith(("AdamW", "sam", "vasso"))] == [
        "AdamW",
        "sam",
        "vasso",
    ]
    assert "n = 2 seeds, with 95 % Student-t intervals of the difference on equal seeds. That is little" in table
    folders = {path.parent.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("result.json")}
    assert folders == {
        f"label-noise-0.15/agreement/small-bert/{method}/seed-{seed}"
        for method in ("none", "sam", "vasso")
        for seed in (0, 1)
    }

    monkeypatch.setattr(run_glue, "_train", None)  # a second training would fail
    assert demo.main(["--output_dir", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert shown.count("finished before") == 6
    assert shown.endswith(table)


def test_another_label_noise_is_another_task(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "DemoSize", lambda: replace(SMALL, seeds=1))
    words = ["--output_dir", str(tmp_path)]
    assert demo.main(words) == 0
    assert demo.main([*words, "--label_noise", "0.3"]) == 0
    assert "finished before" not in capsys.readouterr().out
    first, second = (
        read_record(tmp_path / f"label-noise-{noise}" / "agreement/small-bert/none/seed-0/result.json")
        for noise in ("0.15", "0.3")
    )
    assert first.data["fingerprint"] != second.data["fingerprint"]


def test_a_label_noise_out_of_its_range(tmp_path, capsys):
    assert cli.main(["demo", "--output_dir", str(tmp_path), "--label_noise", "0.5"]) == 2
    assert capsys.readouterr().err == (
        "hf-vasso: label_noise is the share of wrong labels and must be in [0, 0.5), got 0.5\n"
    )


@pytest.mark.slow
def test_the_real_demo_is_learnable_not_saturated_and_short(tmp_path):
    start = time.monotonic()
    assert demo.main(["--output_dir", str(tmp_path)]) == 0
    assert time.monotonic() - start < 240
    records = [read_record(path) for path in tmp_path.rglob("none/seed-*/result.json")]
    assert len(records) == 3
    assert 0.65 < fmean(record.metrics["accuracy"] for record in records) < 0.95


def test_a_comparison_states_difference_interval_and_n(tmp_path):
    records = run_demo(tmp_path, SMALL)
    scores = {"none": (0.5, 0.7), "sam": (0.6, 0.9), "vasso": (0.5, 0.7)}
    for record in records:
        record.metrics["accuracy"] = scores[record.label][record.seed]
        record.cost["seconds_per_step"] = 0.01
    rows = [line.split() for line in comparison(records).splitlines() if line.startswith(("AdamW", "sam", "vasso"))]
    assert rows == [
        ["AdamW", "60.0", "2", "0.0100"],
        ["sam", "75.0", "+15.0", "[-48.5,", "+78.5]", "2", "0.0100"],
        ["vasso", "60.0", "+0.0", "[+0.0,", "+0.0]", "2", "0.0100"],
    ]

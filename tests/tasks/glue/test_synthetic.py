"""The synthetic task: what its labels mean and how far a single word gets."""

import json

from hf_vasso.tasks.glue.synthetic import VOCABULARY, agreement_examples, write_agreement

NOUNS = {word for word in VOCABULARY if f"{word}s" in VOCABULARY}  # in the singular
SINGULAR_VERBS = {"is", "was", "stays", "seems", "looks", "becomes", "remains", "appears"}


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

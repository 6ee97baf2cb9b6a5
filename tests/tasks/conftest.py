"""A tiny pretrained model and small files of four tasks, written once for all tests of the commands."""

import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoModel, set_seed

from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, agreement_examples

SENTENCES = [example["sentence"] for example in agreement_examples(12, seed=0)]


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory) -> Path:
    """A model with weights, one layer wide enough for nothing."""
    folder = tmp_path_factory.mktemp("models") / "tiny-bert"
    write_small_bert(folder, VOCABULARY, hidden_size=8, num_hidden_layers=1)
    set_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory) -> Path:
    """`--data_dir` with a few examples of agreement, mnli, ax and stsb."""
    folder = tmp_path_factory.mktemp("data")
    agreement = list(agreement_examples(41, seed=1))
    _write(folder / "agreement" / "train.jsonl", agreement[:24])
    _write(folder / "agreement" / "validation.jsonl", agreement[24:])
    _write(folder / "agreement" / "test.jsonl", [{**example, "label": -1} for example in agreement[:5]])
    pairs = [
        {"premise": sentence, "hypothesis": SENTENCES[0], "label": number % 3}
        for number, sentence in enumerate(SENTENCES)
    ]
    for split, count in (("train", 12), ("validation_matched", 7), ("validation_mismatched", 5)):
        _write(folder / "mnli" / f"{split}.jsonl", pairs[:count])
    _write(folder / "ax" / "test.jsonl", [{**pair, "label": -1} for pair in pairs[:6]])
    similar = [
        {"sentence1": sentence, "sentence2": SENTENCES[0], "label": float(number % 6)}
        for number, sentence in enumerate(SENTENCES)
    ]
    for split in ("train", "validation", "test"):
        _write(folder / "stsb" / f"{split}.jsonl", similar)
    return folder


def _write(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))

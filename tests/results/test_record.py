"""Records survive writing and reading, and a broken one is named."""

import json
from dataclasses import replace

import pytest

from hf_vasso.results.record import Record, RecordError, display_name, read_record, write_record
from hf_vasso.results.summary import summary

RECORD = Record(
    task="rte",
    task_label="rte",
    model="bert",
    label="none",
    method={"name": "none", "numbers": {}, "paper": None},
    seed=3,
    metrics={"accuracy": 0.5},
    directions={"accuracy": "higher"},
    eval_examples=277,
    train_examples=2490,
    data={"source": "local files", "fingerprint": "0123456789abcdef"},
    cost={
        "train_seconds": 10.0,
        "seconds_per_step": 0.5,
        "forward_passes": 20,
        "backward_passes": 20,
        "steps": 20,
        "peak_memory_bytes": 2**20,
    },
    arguments={"optim": "adamw_torch_fused"},
    environment={"device": "cpu", "packages": {}, "commit": None},
)
KEYS = (
    "schema task task_label model label method seed metrics directions eval_examples train_examples data cost arguments "
    "environment collapsed history status"
)


def test_written_and_read_again(tmp_path):
    write_record(RECORD, tmp_path)
    assert read_record(tmp_path / "result.json") == RECORD


def test_keys_of_the_file(tmp_path):
    write_record(RECORD, tmp_path)
    content = json.loads((tmp_path / "result.json").read_text())
    assert list(content) == KEYS.split()
    assert content["schema"] == 2
    assert content["status"] == "finished"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 1}, "result.json: this version reads schema 2, got 1"),
        ({"metrics": [0.5]}, r"result.json: metrics must be of type dict, got \[0.5\]"),
        ({"metrcs": {}}, "result.json: unknown key 'metrcs', did you mean 'metrics'"),
        ({"seed": None}, "result.json: seed must be of type int, got None"),
    ],
)
def test_wrong_content_is_named(tmp_path, change, words):
    write_record(RECORD, tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match=words):
        read_record(path)


def test_a_missing_key_is_named(tmp_path):
    write_record(RECORD, tmp_path)
    path = tmp_path / "result.json"
    content = json.loads(path.read_text())
    del content["cost"]
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="the key 'cost' is missing"):
        read_record(path)


@pytest.mark.parametrize(("text", "words"), [("{", "not a JSON file"), ("[]", "a record is a JSON object, got list")])
def test_a_broken_file_is_named(tmp_path, text, words):
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(RecordError, match=words):
        read_record(tmp_path / "result.json")


def test_a_run_without_a_method_goes_by_its_optimizer():
    assert display_name("none", "adamw_torch_fused") == "AdamW"
    assert display_name("none", "lion_32bit") == "lion_32bit"
    assert display_name("vasso-02", "adamw_torch") == "vasso-02"


def test_summary():
    assert summary(RECORD, "runs/rte") == (
        "\n"
        "rte, bert, AdamW, seed 3, 2490 training and 277 evaluation examples\n"
        "metric     value  better\n"
        "--------  ------  ------\n"
        "accuracy  0.5000  higher\n"
        "20 steps in 10.0 s (0.5000 s per step), 20 forward and 20 backward passes, 1 MiB at most\n"
        "record: runs/rte/result.json"
    )
    method = {"name": "vasso", "numbers": {"rho": 0.05, "theta": 0.4}, "paper": None}
    assert "rte, bert, vasso (rho 0.05, theta 0.4), seed 3" in summary(
        replace(RECORD, label="vasso", method=method), "."
    )
    assert "metric" not in summary(replace(RECORD, metrics={}), ".")

"""Records survive writing and reading, and a broken one is named."""

import json
import math
import os
from dataclasses import replace
from itertools import pairwise

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
    environment={"device": "cpu", "threads": 1, "packages": {}, "commit": None},
)
KEYS = (
    "schema task task_label model label method seed metrics directions eval_examples train_examples data cost "
    "arguments environment given collapsed majority signatures history status"
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


def test_a_record_of_an_earlier_version(tmp_path):
    write_record(replace(RECORD, given=["optim"]), tmp_path)
    path = tmp_path / "result.json"
    content = json.loads(path.read_text())
    assert content.pop("given") == ["optim"]
    path.write_text(json.dumps(content))
    assert read_record(path) == RECORD


COST = RECORD.cost
PAPER = {"title": "SAM", "url": "https://arxiv.org/abs/2010.01412", "bibtex": "@article{}"}
ENVIRONMENT = RECORD.environment


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 1}, "result.json: this version reads schema 2, got 1; .*repeat the run with --fresh"),
        ({"metrics": [0.5]}, r"result.json: metrics must be of type dict, got \[0.5\]"),
        ({"metrcs": {}}, "result.json: unknown key 'metrcs', did you mean 'metrics'"),
        ({"seed": None}, "result.json: seed must be of type int, got None"),
        ({"seed": True}, "result.json: seed must be of type int, got True"),
        ({"seed": 10**30}, "seed must be a whole number, got 1000"),
        ({"collapsed": 1}, "collapsed must be of type bool or NoneType, got 1"),
        ({"label": ""}, "label must be a printable name of 1 to 200 characters, got ''"),
        ({"label": "a\x1b[2J"}, "label must be a printable name"),
        ({"model": "a\nb"}, "model must be a printable name"),
        ({"task_label": "a\u202eb"}, "task_label must be a printable name"),
        ({"task": "a" * 201}, "task must be a printable name of 1 to 200 characters, got 'aaa"),
        ({"train_examples": -1}, "train_examples must be a whole number, at least 0, got -1"),
        ({"metrics": {"accuracy": "0.5"}}, "metrics must be metric name to a number or null, got {'accuracy': '0.5'}"),
        ({"metrics": {"accuracy": True}}, "metrics must be metric name to a number or null"),
        ({"metrics": {"accuracy": 10**400}}, r"not a JSON file \(a whole number of 401 characters\)"),
        ({"metrics": {"accuracy": 77.5}}, "result.json: accuracy is from 0 to 1, got 77.5; mend the file if you know"),
        ({"metrics": {"accuracy": 1e99}}, r"accuracy is from 0 to 1, got 1e\+99"),
        ({"metrics": {"accuracy": -3}}, "accuracy is from 0 to 1, got -3"),
        ({"directions": {"accuracy": "lower"}}, "higher values of accuracy are better, got 'lower'"),
        ({"majority": {"accuracy": 50}}, "accuracy is from 0 to 1, got 50"),
        ({"directions": {"accuracy": "up"}}, 'directions must be metric name to "higher" or "lower"'),
        ({"directions": {}}, "directions must name the same metrics"),
        ({"method": {"name": "sam"}}, "method must be an object of"),
        ({"method": {"name": "sam", "numbers": {"rho": "0.05"}, "paper": None}}, "method must be an object of"),
        ({"method": {"name": "sam", "numbers": {}, "paper": {**PAPER, "url": "javascript:x"}}}, "begins with https"),
        ({"method": {"name": "sam", "numbers": {}, "paper": {**PAPER, "more": "x"}}}, "method must be an object of"),
        ({"cost": {key: value for key, value in COST.items() if key != "steps"}}, "cost must be an object of"),
        ({"cost": {**COST, "steps": -1}}, "cost must be an object of"),
        ({"cost": {**COST, "steps": math.nan}}, "cost must be an object of"),
        ({"cost": {**COST, "steps": 1.5}}, "cost must be an object of"),
        ({"cost": {**COST, "train_seconds": 1e99}}, "cost must be an object of .*, each a number from 0 to 1e"),
        ({"data": {"source": "local files"}}, 'data must be an object of "source" and "fingerprint"'),
        ({"environment": {"device": "cpu", "packages": {}}}, 'environment must be an object of "device", "packages"'),
        ({"environment": {**ENVIRONMENT, "device": None}}, "environment must be an object of"),
        ({"environment": {**ENVIRONMENT, "packages": {"torch": 2}}}, "environment must be an object of"),
        ({"environment": {**ENVIRONMENT, "threads": "one"}}, "environment must be an object of"),
        ({"arguments": {"optim": "a\x00b"}}, 'arguments must be flag to value, "optim" a printable name'),
        ({"arguments": {"optim": None}}, 'arguments must be flag to value, "optim" a printable name'),
        ({"history": {"step": [1, 2], "loss": [0.5]}}, "history must be columns of numbers or nulls, of equal length"),
        ({"history": {"loss": [0.5]}}, "history must be columns"),
        ({"history": {"step": [None], "loss": [0.5]}}, "history must be columns"),
        ({"history": {"step": [1], "loss": ["0.5"]}}, "history must be columns"),
        ({"history": {"step": 1}}, "history must be columns"),
        ({"given": "optim"}, "given must be of type list, got 'optim'"),
        ({"given": [1]}, r"given must be names of arguments, got \[1\]"),
        ({"history": {"step": [*range(1001)]}}, "history must be columns of numbers .*, at most 1,000 of them"),
        ({"status": "running"}, "status must be \"finished\", got 'running'"),
    ],
)
def test_wrong_content_is_named(tmp_path, change, words):
    write_record(RECORD, tmp_path)
    path = tmp_path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(RecordError, match=words) as caught:
        read_record(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    assert len(caught.value.reason) < 500


def test_a_missing_key_is_named(tmp_path):
    write_record(RECORD, tmp_path)
    path = tmp_path / "result.json"
    content = json.loads(path.read_text())
    del content["cost"]
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="the key 'cost' is missing"):
        read_record(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a JSON file"),
        ("{", "not a JSON file"),
        ("[]", "a record is a JSON object, got list"),
        ("[" * 100_000, "not a JSON file"),
        ('{"schema": "\\ud800"}', "not a JSON file"),
        (b"\xff\xfe", "not a JSON file"),
        (" " * (8 * 2**20 + 1), r"larger than 8 MiB, the most that is read \(8388609 bytes\)"),
    ],
    ids=["empty", "half", "list", "deep", "surrogate", "bytes", "large"],
)
def test_a_broken_file_is_named(tmp_path, text, words):
    (tmp_path / "result.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RecordError, match=f"result.json: {words}"):
        read_record(tmp_path / "result.json")


def test_what_is_no_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "result.json")  # reading it would wait for ever
    with pytest.raises(RecordError, match="not a regular file"):
        read_record(tmp_path / "result.json")


def test_numbers_that_are_not_finite_are_null_in_the_file(tmp_path):
    record = replace(
        RECORD,
        metrics={"accuracy": math.nan, "loss": math.inf},
        directions={"accuracy": "higher", "loss": "lower"},
        history={"step": [1, 2], "loss": [0.5, math.nan]},
    )
    write_record(record, tmp_path)
    content = json.loads((tmp_path / "result.json").read_text(), parse_constant=pytest.fail)
    assert content["metrics"] == {"accuracy": None, "loss": None}
    assert content["history"] == {"step": [1, 2], "loss": [0.5, None]}
    read = read_record(tmp_path / "result.json")
    assert all(map(math.isnan, read.metrics.values()))
    assert read.history == content["history"]


@pytest.mark.parametrize("rows", [1000, 1001, 121_000])
def test_a_long_history_is_thinned_in_the_file(tmp_path, rows):
    steps = list(range(1, rows + 1))
    write_record(replace(RECORD, history={"step": steps, "loss": [1 / step for step in steps]}), tmp_path)
    history = read_record(tmp_path / "result.json").history
    kept = [int(step) for step in history["step"] if step is not None]
    assert (len(kept), kept[0], kept[-1]) == (1000, 1, rows)
    gaps = {later - earlier for earlier, later in pairwise(kept)}
    assert max(gaps) - min(gaps) <= 1  # evenly spaced
    assert history["loss"] == [1 / step for step in kept]  # rows stay rows


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999", "1e308"])
def test_what_is_not_finite_is_null_and_nothing_else(tmp_path, literal):
    path = file_with(tmp_path, '"accuracy": 0.5', f'"accuracy": {literal}')
    with pytest.raises(RecordError, match="metrics must be metric name to a number or null"):
        read_record(path)
    path = file_with(tmp_path, '"accuracy": 0.5', '"accuracy": null')
    assert math.isnan(read_record(path).metrics["accuracy"])


def file_with(tmp_path, old: str, new: str):
    """A record in which a piece of the text is another one."""
    write_record(RECORD, tmp_path)
    path = tmp_path / "result.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    return path


@pytest.mark.parametrize(
    ("metric", "inside", "outside"),
    [
        ("accuracy", [0, 1, 0.5, -0.0, 1 + 1e-9], [1.01, -0.01, 77.5]),
        ("f1_mismatched", [0, 1], [87.2]),
        ("matthews_correlation", [-1, 0, 1.0000000000000002], [-1.5, 62.4]),
        ("spearmanr", [-0.2, 1], [2]),
        ("expected_calibration_error", [0, 0.3], [-0.1, 3]),
        ("bleu", [0, 100.00000000000004], [-1, 101]),
        ("validation_chrf", [50], [100.5]),
        ("loss", [0, 1e9], [-0.1]),
        ("validation_perplexity", [1, 1e30], [0.5]),
        ("words_of_others", [-1e90, 77.5, 1e90], []),
    ],
)
def test_the_range_of_each_metric(tmp_path, metric, inside, outside):
    lower = any(word in metric for word in ("loss", "calibration", "perplexity"))
    directions = {metric: "lower" if lower else "higher"}
    for value in (*inside, *outside):
        write_record(replace(RECORD, metrics={metric: value}, directions=directions), tmp_path)
        if value in inside:
            assert read_record(tmp_path / "result.json").metrics == {metric: value}
        else:
            with pytest.raises(RecordError, match=f"result.json: {metric} is .*got {value}"):
                read_record(tmp_path / "result.json")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"seed": 3,', '"seed": 3, "seed": 4,'),
        ('"accuracy": 0.5', '"accuracy": 0.5, "accuracy": 0.9'),
        ('"accuracy": 0.5', '"accuracy": 0.5, "\\u0061ccuracy": 0.5'),
    ],
)
def test_a_key_that_stands_there_twice(tmp_path, old, new):
    with pytest.raises(RecordError, match="the key '(seed|accuracy)' stands there twice"):
        read_record(file_with(tmp_path, old, new))


@pytest.mark.parametrize("seed", ["true", "3.0", "3e0", '"3"', "-0.0", "NaN"])
def test_a_seed_is_a_whole_number(tmp_path, seed):
    with pytest.raises(RecordError, match="result.json: seed must be of type int"):
        read_record(file_with(tmp_path, '"seed": 3', f'"seed": {seed}'))


def test_a_file_that_is_too_deep_to_be_copied(tmp_path):
    deep = "[" * 200 + "]" * 200
    with pytest.raises(RecordError, match="stand in each other more than 50 deep"):
        read_record(file_with(tmp_path, '"optim"', f'"deep": {deep}, "optim"'))


def test_a_zero_has_no_sign(tmp_path):
    read = read_record(file_with(tmp_path, '"accuracy": 0.5', '"accuracy": -0.0'))
    assert str(read.metrics["accuracy"]) == "0.0"


def test_html_in_a_name_is_a_name(tmp_path):
    record = replace(RECORD, label="<script>../../x</script>")
    write_record(record, tmp_path)
    assert read_record(tmp_path / "result.json") == record


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

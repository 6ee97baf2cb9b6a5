"""The table of tasks: names, labels, metrics and splits as on the hub."""

import pytest

from hf_vasso.tasks.glue.table import TASKS, get_task

GLUE = ["cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli"]


def test_nine_tasks_the_diagnostic_set_and_our_own():
    assert list(TASKS) == [*GLUE, "ax", "agreement"]
    assert all(task.name == name for name, task in TASKS.items())


@pytest.mark.parametrize(
    ("name", "label_names"),
    [
        ("cola", ("unacceptable", "acceptable")),
        ("sst2", ("negative", "positive")),
        ("mrpc", ("not_equivalent", "equivalent")),
        ("qqp", ("not_duplicate", "duplicate")),
        ("mnli", ("entailment", "neutral", "contradiction")),
        ("qnli", ("entailment", "not_entailment")),
        ("rte", ("entailment", "not_entailment")),
        ("wnli", ("not_entailment", "entailment")),
        ("ax", ("entailment", "neutral", "contradiction")),
        ("agreement", ("unacceptable", "acceptable")),
    ],
)
def test_label_order(name, label_names):
    task = get_task(name)
    assert task.label_names == label_names
    assert task.num_labels == len(label_names)
    assert not task.is_regression


def test_stsb_is_a_regression():
    task = get_task("stsb")
    assert task.is_regression
    assert task.num_labels == 1
    assert task.metrics == ("pearson", "spearmanr")


def test_more_is_better_in_every_metric():
    assert {task.direction for task in TASKS.values()} == {"higher"}


@pytest.mark.parametrize(
    ("name", "headline"),
    [(name, "accuracy") for name in GLUE if name not in ("cola", "stsb")]
    + [("cola", "matthews_correlation"), ("stsb", "pearson"), ("ax", "matthews_correlation")],
)
def test_headline_metric(name, headline):
    assert get_task(name).metrics[0] == headline


def test_official_sizes_cover_every_split():
    for task in TASKS.values():
        if task.hub_id is not None:
            assert tuple(task.split_sizes) == task.splits


def test_upload_sizes():
    # The lines of an upload to gluebenchmark.com, header included.
    lines = {"cola": 1064, "sst2": 1822, "mrpc": 1726, "stsb": 1380, "qqp": 390966, "qnli": 5464, "rte": 3001}
    lines |= {"wnli": 147, "ax": 1105}
    assert {name: get_task(name).split_sizes["test"] + 1 for name in lines} == lines
    mnli = get_task("mnli")
    assert [mnli.split_sizes[split] + 1 for split in mnli.test_splits] == [9797, 9848]


def test_mnli_has_matched_and_mismatched_splits_and_trains_ax():
    mnli, ax = get_task("mnli"), get_task("ax")
    assert mnli.validation_splits == ("validation_matched", "validation_mismatched")
    assert mnli.test_splits == ("test_matched", "test_mismatched")
    assert ax.trained_on == "mnli"
    assert ax.splits == ("test",)
    assert (ax.columns, ax.label_names) == (mnli.columns, mnli.label_names)


def test_unknown_task():
    with pytest.raises(ValueError, match=r"unknown task 'sst-2', did you mean 'sst2'\? Known: cola, sst2, mrpc"):
        get_task("sst-2")

"""Which examples are trained and judged on, by counting them."""

import datasets
import pytest

from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.examples import (
    count_train_examples,
    noisy_labels,
    select_examples,
    splits_to_load,
    validation_splits,
)
from hf_vasso.tasks.glue.table import get_task

RTE = get_task("rte")
LABELS = [0, 0, 0, 0, 1, 0, 1, 1, 0, 1]


def flags(**given) -> GlueArguments:
    return GlueArguments(task_name="rte", model_name_or_path="model", **given)


def selected(seed: int = 0, **given) -> dict[str, datasets.Dataset]:
    rows = [{"sentence1": "", "sentence2": "", "label": label, "idx": row} for row, label in enumerate(LABELS)]
    train = datasets.Dataset.from_list(rows).cast_column("label", datasets.ClassLabel(names=list(RTE.label_names)))
    return select_examples({"train": train}, RTE, flags(**given), seed)


def test_all_without_flags():
    assert selected()["train"]["idx"][:] == list(range(10))


def test_the_first_of_each_class_in_their_order():
    assert selected(max_train_samples_per_class=2)["train"]["idx"][:] == [0, 1, 4, 6]
    assert selected(max_train_samples_per_class=5)["train"]["idx"][:] == [0, 1, 2, 3, 4, 5, 6, 7, 9]


@pytest.mark.parametrize("limit", [{"max_train_samples": 5}, {"max_train_samples_per_class": 2}])
def test_what_is_held_out_comes_from_what_the_limits_leave_over(limit):
    splits = selected(holdout_samples=3, **limit)
    train, held_out = set(splits["train"]["idx"]), set(splits["validation"]["idx"])
    assert train == set(selected(**limit)["train"]["idx"])
    assert len(held_out) == 3
    assert not train & held_out


@pytest.mark.parametrize(("limit", "left"), [({}, 6), ({"max_train_samples": 8}, 6), ({"max_train_samples": 5}, 5)])
def test_held_out_examples_are_not_trained_on_either_way(limit, left):
    splits = selected(holdout_samples=4, **limit)
    train, held_out = set(splits["train"]["idx"]), set(splits["validation"]["idx"])
    assert (len(train), len(held_out), train & held_out) == (left, 4, set())


def test_held_out_examples_do_not_depend_on_the_seed():
    first, second = selected(seed=0, holdout_samples=4), selected(seed=1, holdout_samples=4)
    assert first["validation"]["idx"][:] == second["validation"]["idx"][:]


def test_something_must_be_left_to_train_on():
    with pytest.raises(ValueError, match="holdout_samples must leave examples to train on, got 10 of 10"):
        selected(holdout_samples=10)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"max_train_samples": 4},
        {"max_train_samples_per_class": 2},
        {"holdout_samples": 3},
        {"max_train_samples": 9, "holdout_samples": 3},
    ],
)
def test_the_count_is_known_beforehand(given):
    count = len(selected(**given)["train"])
    assert count_train_examples(LABELS, len(LABELS), RTE, flags(**given)) == count
    assert count_train_examples(None, len(LABELS), RTE, flags(**given)) == count


def test_splits_that_are_loaded():
    stages = {"train": False, "evaluate": True, "predict": False}
    assert splits_to_load(RTE, flags(), **stages) == ["validation"]
    assert splits_to_load(RTE, flags(holdout_samples=3), **stages) == ["train"]
    assert splits_to_load(RTE, flags(holdout_samples=3), train=True, evaluate=False, predict=True) == ["train", "test"]
    assert validation_splits(get_task("mnli"), flags(holdout_samples=3)) == ("validation_matched",)
    assert validation_splits(get_task("mnli"), flags()) == ("validation_matched", "validation_mismatched")


def test_noise_changes_a_share_of_the_labels_to_each_other_class():
    labels = [0, 1, 2] * 100
    noisy = noisy_labels(labels, num_labels=3, share=0.3, seed=0)
    changed = [(old, new) for old, new in zip(labels, noisy, strict=True) if old != new]
    assert len(changed) == 90
    assert set(changed) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}
    assert noisy == noisy_labels(labels, num_labels=3, share=0.3, seed=0)
    assert noisy != noisy_labels(labels, num_labels=3, share=0.3, seed=1)


def test_noise_is_in_the_training_part_alone():
    splits = selected(label_noise=0.5, holdout_samples=4)
    clean = selected(holdout_samples=4)
    differ = {
        name: sum(a != b for a, b in zip(splits[name]["label"], clean[name]["label"], strict=True)) for name in splits
    }
    assert differ == {"train": 3, "validation": 0}
    assert splits["train"].features == clean["train"].features


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"label_noise": 1.0}, r"label_noise must be in \[0, 1\), got 1.0"),
        ({"holdout_samples": 0}, "holdout_samples must be at least 1, got 0"),
        ({"max_train_samples": 2, "max_train_samples_per_class": 2}, "limit the same; give one of them"),
        ({"probe_hidden_size": 4, "use_peft": True}, "no use for adapters"),
        ({"lora_r": 0}, "lora_r must be at least 1, got 0"),
        ({"lora_r": 8}, "lora_r: of no use without --use_peft"),
        ({"tokenizer_name": "/no/such"}, "tokenizer_name: there is no /no/such; name an existing folder"),
    ],
)
def test_flags_that_cannot_be(given, words):
    with pytest.raises(ValueError, match=words):
        flags(**given)


def test_a_regression_has_no_classes():
    with pytest.raises(ValueError, match="label_noise needs classes, and task stsb is a regression"):
        GlueArguments(task_name="stsb", model_name_or_path="model", label_noise=0.1)

"""Two processes end where one ends that takes their batches together, with the same bits on both."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from model_families import FAMILIES
from tiny_training import LOGGED, PERTURBED, distance
from two_processes import (
    CAN_RESUME,
    CASES,
    NAN_AT,
    NAN_PASSES,
    RESUMED,
    RESUMED_AT,
    evaluate,
    train_case,
    train_with_nan,
    train_without_labels,
    translate,
    translation_pairs,
)

from hf_vasso import get_method

pytestmark = pytest.mark.distributed

SCRIPT = Path(__file__).with_name("two_processes.py")
STEPS = 8
GAPS = {"abs": max(2e-6, LOGGED["abs"])}  # a gap is the difference of two losses, in fp32 for language heads


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What both ranks wrote, from one start of two processes."""
    folder = tmp_path_factory.mktemp("two-processes")
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(SCRIPT), str(folder)]
    finished = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=280)
    assert finished.returncode == 0, finished.stderr[-5000:]
    return [torch.load(folder / f"rank-{rank}.pt") for rank in range(2)]


@pytest.fixture(scope="module")
def ranks(saved):
    """What the trainings of both ranks ended with."""
    return [results["trained"] for results in saved]


def without_epoch(logs):
    """The stock Trainer counts epochs in the micro-batches of the rank, of which one may have fewer."""
    return [{key: value for key, value in entry.items() if key != "epoch"} for entry in logs]


def test_there_are_two(ranks):
    for results in ranks:
        assert {result["num_processes"] for result in results.values()} == {2}
        assert {result["wrapped_by"] for result in results.values()} == {"DistributedDataParallel"}


@pytest.mark.parametrize("name", CASES)
def test_two_are_one(ranks, tmp_path, name):
    if "local" in name:
        pytest.skip("each rank follows a gradient of its own")
    two, one = ranks[0][name], train_case(name, tmp_path, num_processes=1)
    assert one["num_processes"] == 1
    assert distance(two["weights"], one["weights"]) <= FAMILIES[CASES[name].family].tolerance
    for ours, theirs in zip(without_epoch(two["logs"]), without_epoch(one["logs"]), strict=True):
        assert ours == pytest.approx(theirs, **(LOGGED | GAPS))
    if CASES[name].arguments["method"] != "none":
        unperturbed = "gpt2, none" if "gpt2" in name else "none"
        assert distance(two["weights"], ranks[0][unperturbed]["weights"]) > PERTURBED


def test_ranks_have_the_same_bits(ranks):
    for name in ranks[0]:
        assert distance(ranks[0][name]["weights"], ranks[1][name]["weights"]) == 0.0, name
        logs = [without_epoch(results[name]["logs"]) for results in ranks]
        for ours, theirs in zip(*logs, strict=True):
            assert ours == pytest.approx(theirs, rel=0.0, abs=0.0, nan_ok=True), name


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_averaged_once_per_sweep(ranks, name):
    """However many micro-batches a sweep has, unless accelerate is asked for more."""
    case = CASES[name]
    method = get_method(case.arguments["method"])
    passes = ranks[0][name]["passes"]["backward"] / case.micro_batches / STEPS
    if method.name in ("looksam", "aesam", "ss-sam"):  # eight steps are few
        assert 1 < passes < 2
    else:
        assert passes == method.mean_passes
    of_some_examples = method.ascent_fraction < 1 or method.selection is not None
    sweeps = 2 * STEPS if of_some_examples else passes * STEPS
    if "local" in name:
        sweeps /= 2
    per_sweep = case.micro_batches if case.accelerator else 1
    assert ranks[0][name]["reductions"] == sweeps * per_sweep


@pytest.mark.skipif(not CAN_RESUME, reason="transformers 4.57 cannot resume on several CPU processes")
@pytest.mark.parametrize("name", RESUMED)
def test_resumed_is_straight(ranks, name):
    for results in ranks:
        straight, resumed = results[f"{name}, straight"], results[f"{name}, resumed"]
        assert [entry["step"] for entry in resumed["logs"]] == list(range(1, STEPS + 1))
        assert distance(straight["weights"], resumed["weights"]) == 0.0
        assert straight["logs"] == resumed["logs"]
        assert straight["passes"] == resumed["passes"]
    assert 0 < RESUMED_AT < STEPS // 2


@pytest.mark.parametrize("where", NAN_PASSES)
def test_nan_on_one_rank(ranks, tmp_path, where):
    """
    Both ranks do as one process does whose whole batch was lost: go on along the last adversary, or without one where
    the pass at w + eps was lost.
    """
    one = train_with_nan(tmp_path, num_processes=1, number=NAN_PASSES[where])
    name = f"nan {where}"
    skipped = [int(step >= NAN_AT) for step in range(STEPS)]
    for results in ranks:
        assert [entry["sharpness/skipped"] for entry in results[name]["logs"]] == skipped
        assert distance(results[name]["weights"], one["weights"]) <= 1e-12
        assert distance(results[name]["weights"], results["vasso"]["weights"]) > PERTURBED


@pytest.mark.parametrize("find_unused", [False, True])
def test_ranks_without_a_label(ranks, tmp_path, find_unused):
    """One waits for the other in each sweep, and what counts nothing does not run into the rest."""
    one = train_without_labels(tmp_path, num_processes=1, find_unused=find_unused)
    assert all(value.isfinite().all() for value in one["weights"].values())
    for results in ranks:
        two = results[f"without labels, {find_unused}"]
        assert distance(two["weights"], one["weights"]) <= 1e-12
        assert [entry["loss"] for entry in two["logs"]] == pytest.approx(
            [entry["loss"] for entry in one["logs"]], **LOGGED
        )
        assert [entry["loss"] > 0 for entry in two["logs"]] == [True, True, False, True]


def test_evaluation_loss_does_not_grow_with_the_processes(saved, tmp_path):
    one = evaluate(tmp_path, num_processes=1)
    assert [results["eval_loss"] for results in saved] == pytest.approx([one, one], **LOGGED)


def test_smoothed_loss_is_a_mean_over_the_target_tokens_of_both(saved, tmp_path):
    """Ranks have other numbers of them; to one process they are one batch."""
    ranks, one = [results["translated"] for results in saved], translate(tmp_path, num_processes=1)
    tokens = [sum(len(pair["labels"]) for batch in rank["batches"] for pair in batch) for rank in ranks]
    assert tokens[0] != tokens[1]
    for rank in ranks:
        assert rank["num_processes"] == 2 and len(rank["logs"]) == len(one["logs"]) == 2
        assert distance(rank["weights"], one["weights"]) <= 1e-6  # smoothed losses are fp32
        for ours, theirs in zip(without_epoch(rank["logs"]), without_epoch(one["logs"]), strict=True):
            assert ours == pytest.approx(theirs, **(LOGGED | GAPS))


def test_batches_by_tokens_hold_each_pair_once_an_epoch(saved):
    """What both ranks trained on."""
    pairs = sorted((pair["input_ids"], pair["labels"]) for pair in translation_pairs())
    batches = [results["translated"]["batches"] for results in saved]
    halves = [len(of_rank) // 2 for of_rank in batches]
    assert halves[0] == halves[1] > 1
    for epoch in range(2):
        seen = [
            (pair["input_ids"], pair["labels"])
            for of_rank, half in zip(batches, halves, strict=True)
            for batch in of_rank[epoch * half : (epoch + 1) * half]
            for pair in batch
        ]
        assert sorted(seen) == pairs

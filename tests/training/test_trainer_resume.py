"""A training that is stopped and resumed gives the same bits as one that is not."""

import math
from pathlib import Path

import pytest
import torch
from observed_training import PassTrainer
from tiny_training import (
    EVERY_STEP,
    OF_EACH_KIND,
    PERTURBED,
    SPLIT,
    assert_steps_of_both_kinds,
    bert,
    distance,
    numbers,
    run,
    sentences,
    weights_of,
)
from transformers import Trainer, set_seed

STATE_FILE = "sharpness.pt"
MANIFEST = "manifest.json"


@pytest.fixture
def resume(build):
    """Resume a training from the checkpoint of a step with a new trainer that is like the old one."""

    def _resume(training, step, data, **arguments):
        trainer = build(bert(dropout=0.1), data, **arguments)
        return run(trainer, checkpoint_of(training, step))

    return _resume


def checkpoint_of(training, step):
    return str(Path(training.trainer.args.output_dir) / f"checkpoint-{step}")


MID_EPOCH, EPOCH_BOUNDARY = 3, 4


@pytest.mark.parametrize(
    ("method", "same_dropout", "split"),
    [
        ("vasso", True, {}),
        ("vasso", True, SPLIT),
        ("vasso", False, {}),
        ("vasso", False, SPLIT),
        *(
            (method, False, SPLIT)
            for method in ("fsam", "saf", "mesa", "vasso-re p=0.5", *OF_EACH_KIND)
            if method not in ("sam", "vasso")
        ),
    ],
)
def test_resumed_is_straight(train, resume, method, same_dropout, split):
    arguments = numbers(method) | {"same_dropout": same_dropout, **split, **EVERY_STEP}
    straight = train(bert(dropout=0.1), sentences(28), **arguments)
    assert straight.trainer.state.global_step == 8
    for step in (MID_EPOCH, EPOCH_BOUNDARY):
        resumed = resume(straight, step, sentences(28), **arguments)
        assert distance(resumed.weights, straight.weights) == 0.0
        assert resumed.logs == straight.logs
        assert resumed.trainer.sharpness_passes() == straight.trainer.sharpness_passes()
    unperturbed = train(bert(dropout=0.1), sentences(28), method="none", **split)
    assert distance(straight.weights, unperturbed.weights) > PERTURBED
    assert_steps_of_both_kinds(straight, unperturbed)


@pytest.mark.parametrize("method", ["vasso", "fsam"])
def test_state_file_matters(train, resume, method):
    arguments = numbers(method) | EVERY_STEP
    straight = train(bert(dropout=0.1), sentences(), **arguments)
    for name in (STATE_FILE, MANIFEST):
        Path(checkpoint_of(straight, MID_EPOCH), name).unlink()
    resumed = resume(straight, MID_EPOCH, sentences(), **arguments)
    assert distance(resumed.weights, straight.weights) > PERTURBED


def test_state_file_holds_the_average(train):
    straight = train(bert(), sentences(), **numbers("vasso"), **EVERY_STEP)
    state = torch.load(Path(checkpoint_of(straight, 2), STATE_FILE), weights_only=True)
    average = state["parts"]["direction"]["tensors"]
    assert average.keys() == dict(straight.trainer.model.named_parameters()).keys()
    assert {tensor.dtype for tensor in average.values()} == {torch.float64}
    assert not list(Path(straight.trainer.args.output_dir).rglob("*.tmp"))  # written whole, then renamed


def test_passes(train):
    """27 examples: three steps of four micro-batches and one of two, each run twice, in each of two epochs."""
    straight = train(bert(), sentences(27), **numbers("vasso"), **SPLIT)
    assert straight.trainer.sharpness_passes() == {"forward": 56, "backward": 56}
    assert train(bert(), sentences(27), method="none", **SPLIT).trainer.sharpness_passes()["forward"] == 28


def test_passes_of_a_finished_training(train, resume):
    straight = train(bert(dropout=0.1), sentences(), **numbers("vasso"), **EVERY_STEP)
    resumed = resume(straight, 8, sentences(), **numbers("vasso"), **EVERY_STEP)
    assert distance(resumed.weights, straight.weights) == 0.0
    assert resumed.trainer.sharpness_passes() == straight.trainer.sharpness_passes()


def test_rho_schedule_goes_on(train, resume):
    arguments = numbers("vasso") | EVERY_STEP | {"rho_warmup_steps": 2, "rho_scheduler_type": "cosine"}
    straight = train(bert(dropout=0.1), sentences(), **arguments)
    resumed = resume(straight, MID_EPOCH, sentences(), **arguments)
    assert resumed.logs == straight.logs


def test_count_of_skipped_steps_goes_on(build, resume):
    trainer = build(bert(dropout=0.1), sentences(), **numbers("vasso"), **EVERY_STEP, trainer_class=PassTrainer)
    trainer.disturb = {2: lambda loss: loss * math.nan}  # the pass at w of the second step
    straight = run(trainer)
    resumed = resume(straight, MID_EPOCH, sentences(), **numbers("vasso"))
    assert distance(resumed.weights, straight.weights) == 0.0
    assert [entry["sharpness/skipped"] for entry in resumed.logs] == [0, 1, 1, 1, 1, 1, 1, 1]


def test_another_method_starts_afresh_and_says_so(train, resume, caplog):
    straight = train(bert(dropout=0.1), sentences(), **numbers("fsam"), **EVERY_STEP)
    resumed = resume(straight, MID_EPOCH, sentences(), **numbers("vasso"), **EVERY_STEP)
    message = "The saved direction is GradientMinusAverage, the method's is MovingAverage: it starts afresh."
    assert message in caplog.messages
    assert resumed.logs[MID_EPOCH]["sharpness/cosine"] == pytest.approx(1.0)  # the average begins at this gradient


def test_second_training_starts_afresh(build):
    trainer = build(bert(), sentences(), **numbers("vasso"), optim="sgd", learning_rate=0.5)  # SGD remembers nothing
    start = weights_of(trainer.model)
    ends = []
    for _ in range(2):
        trainer.model.load_state_dict(start)
        set_seed(0)
        ends.append(run(trainer))
    assert distance(ends[0].weights, ends[1].weights) == 0.0
    assert ends[0].logs == ends[1].logs
    assert trainer.sharpness_passes()["forward"] == 16


def test_checkpoint_of_the_stock_trainer(train, resume, caplog):
    stock = train(bert(dropout=0.1), sentences(), trainer_class=Trainer, **EVERY_STEP)
    resumed = resume(stock, MID_EPOCH, sentences(), **numbers("vasso"), rho_scheduler_type="linear")
    said = (
        f"{checkpoint_of(stock, MID_EPOCH)} has no {STATE_FILE} (made by the stock Trainer, or with save_only_model)"
    )
    assert [message for message in caplog.messages if said in message]
    assert resumed.trainer.state.global_step == 8
    assert resumed.logs[MID_EPOCH]["sharpness/cosine"] == pytest.approx(1.0)
    assert resumed.logs[MID_EPOCH + 1]["sharpness/cosine"] < 0.999
    shares = [entry["sharpness/perturbation_norm"] / 0.3 for entry in resumed.logs[MID_EPOCH:]]
    assert shares == pytest.approx([1 - step / 8 for step in range(MID_EPOCH, 8)])  # rho goes on where it was
    assert distance(resumed.weights, stock.weights) > PERTURBED


@pytest.mark.parametrize("kept_bytes", [0, 1000])
@pytest.mark.parametrize(
    ("with_manifest", "message"),
    [
        (
            True,
            r"checkpoint-3 is no whole checkpoint: sharpness\.pt has \d+ bytes and had \d+ when it was written; name",
        ),
        (False, r"sharpness\.pt cannot be read \(.*\): resume from an earlier checkpoint, or "),
    ],
)
def test_truncated_state_file(train, resume, kept_bytes, with_manifest, message):
    straight = train(bert(dropout=0.1), sentences(), **numbers("vasso"), **EVERY_STEP)
    checkpoint = Path(checkpoint_of(straight, MID_EPOCH))
    with open(checkpoint / STATE_FILE, "rb+") as file:
        file.truncate(kept_bytes)
    if not with_manifest:
        (checkpoint / MANIFEST).unlink()
    before = {path: path.read_bytes() for path in checkpoint.iterdir()}
    with pytest.raises(ValueError, match=message):
        resume(straight, MID_EPOCH, sentences(), **numbers("vasso"))
    assert {path: path.read_bytes() for path in checkpoint.iterdir()} == before


def test_save_only_model_writes_no_state(train):
    straight = train(bert(), sentences(), **numbers("vasso"), **EVERY_STEP, save_only_model=True)
    assert not list(Path(straight.trainer.args.output_dir).rglob(STATE_FILE))

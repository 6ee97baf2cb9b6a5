"""What is logged about sharpness, when, and that it is true."""

import gc
import math

import pytest
import torch
from observed_training import BatchRecorder
from tiny_training import (
    LOGGED,
    PERTURBED,
    SPLIT,
    bert,
    distance,
    numbers,
    sentences,
)
from torch.nn.utils import get_total_norm
from transformers import Trainer, TrainerCallback

from hf_vasso import METHODS, SharpnessAwareStep
from hf_vasso.engine import StepResult
from hf_vasso.training.sharpness_log import SharpnessLog

KEYS = {f"sharpness/{name}" for name in ("gap", "perturbation_norm", "cosine", "skipped")}


def sharpness(entry):
    return {key for key in entry if key.startswith("sharpness/")}


@pytest.mark.parametrize("method", ["none", "sam", "vasso", "gsam"])
def test_keys(train, method):
    logs = train(bert(), sentences(), **numbers(method), logging_steps=3).logs
    assert [entry["step"] for entry in logs] == [3, 6]
    assert [sharpness(entry) for entry in logs] == [set() if method == "none" else KEYS] * 2


@pytest.mark.parametrize("method", ["msam", "vasso-free"])
def test_keys_of_a_method_without_a_pass_at_w(train, method):
    first, second = train(bert(), sentences(), **numbers(method), logging_steps=3, max_steps=6).logs
    keys = {"sharpness/perturbation_norm", "sharpness/skipped", "sharpness/loss_at_perturbed"}
    assert sharpness(first) == sharpness(second) == keys
    assert second["sharpness/loss_at_perturbed"] == 1.0
    assert second["sharpness/perturbation_norm"] == pytest.approx(0.3, rel=1e-6)


def test_the_share_of_the_losses_at_the_perturbed_weights(train):
    """Every other step of VASSO-Re makes the pass at w + eps alone."""
    logs = train(bert(), sentences(), **numbers("vasso-re"), logging_steps=3, max_steps=7).logs
    assert [entry["sharpness/loss_at_perturbed"] for entry in logs] == [1 / 3, 2 / 3]


@pytest.mark.parametrize("method", METHODS)
def test_every_logged_value_is_a_number(train, method):
    """TensorBoard, and others that `report_to` names, take `int` and `float` and nothing else."""
    reader = LogReader()
    callbacks = {"callbacks": [reader], "eval_dataset": sentences(8)}
    train(bert(), sentences(), **numbers(method), eval_strategy="epoch", trainer_options=callbacks)
    values = {name: value for logs in reader.logs for name, value in logs.items()}
    assert {name: value for name, value in values.items() if type(value) not in (int, float)} == {}


def test_other_logs_are_left_alone(train):
    evaluation = {"eval_strategy": "epoch", "trainer_options": {"eval_dataset": sentences(8)}}
    trainer = train(bert(), sentences(), **numbers("vasso"), **evaluation).trainer
    others = [entry for entry in trainer.state.log_history if "loss" not in entry]
    assert len(others) == 3  # two evaluations and the summary
    assert not any(sharpness(entry) for entry in others)


class LogReader(TrainerCallback):
    """Sees what the integrations of `report_to` see."""

    def __init__(self):
        self.logs = []

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.logs.append(dict(logs))


def test_integrations_get_the_keys(train):
    reader = LogReader()
    train(bert(), sentences(), **numbers("vasso"), trainer_options={"callbacks": [reader]})
    assert [sharpness(entry) for entry in reader.logs if "loss" in entry] == [KEYS] * 8


@pytest.mark.parametrize(
    ("arguments", "steps"),
    [
        ({"logging_steps": 1}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"logging_steps": 3}, [3, 6]),
        ({"logging_steps": 3, "logging_first_step": True}, [1, 3, 6]),
        ({"logging_steps": 0.5}, [4, 8]),
        ({"logging_strategy": "epoch"}, [4, 8]),
        ({"logging_strategy": "epoch", "logging_first_step": True}, [1, 4, 8]),
        ({"logging_strategy": "epoch", "max_steps": 6}, [4, 6]),  # the second epoch is cut short
        ({"logging_strategy": "no"}, []),
    ],
)
@pytest.mark.parametrize("split", [{}, SPLIT], ids=["one_micro_batch", "accumulation"])
def test_measured_on_logging_steps_alone(train, monkeypatch, arguments, steps, split):
    measured = []
    step = SharpnessAwareStep.step

    def recorded(self, batches, passes, measure=False):
        measured.append(measure)
        return step(self, batches, passes, measure)

    monkeypatch.setattr(SharpnessAwareStep, "step", recorded)
    logs = train(bert(), sentences(), **numbers("vasso"), **arguments, **split).logs
    assert [entry["step"] for entry in logs] == steps
    assert [number for number, measure in enumerate(measured, start=1) if measure] == steps


def loss_and_gradients(model, batch):
    loss = model(**batch).loss
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


def test_numbers_recomputed_by_hand(train):
    """The second step: its average is no longer the batch gradient, so the cosine is not 1."""
    recorder = BatchRecorder()
    first = train(bert(), sentences(), **numbers("vasso"), max_steps=1, lr_scheduler_type="constant")
    two = train(
        bert(),
        sentences(),
        **numbers("vasso"),
        max_steps=2,
        lr_scheduler_type="constant",
        trainer_options={"data_collator": recorder},
    )
    _, old = loss_and_gradients(bert().train(), recorder.batches[0])
    model = first.trainer.model.train()
    loss, gradient = loss_and_gradients(model, recorder.batches[1])
    average = [0.6 * d + 0.4 * g for d, g in zip(old, gradient, strict=True)]
    with torch.no_grad():
        for parameter, d in zip(model.parameters(), average, strict=True):
            parameter += 0.3 * d / get_total_norm(average)
    perturbed_loss, _ = loss_and_gradients(model, recorder.batches[1])
    inner = sum((d * g).sum() for d, g in zip(average, gradient, strict=True))
    logged = two.logs[1]
    assert logged["loss"] == pytest.approx(loss, **LOGGED)
    assert logged["sharpness/gap"] == pytest.approx(perturbed_loss - loss, rel=1e-9)
    assert logged["sharpness/perturbation_norm"] == pytest.approx(0.3, rel=1e-9)
    cosine = inner / (get_total_norm(average) * get_total_norm(gradient))
    assert logged["sharpness/cosine"] == pytest.approx(cosine.item(), rel=1e-9)
    assert abs(logged["sharpness/cosine"]) < 0.999


def test_gap_is_the_mean_since_the_last_log(train):
    every = train(bert(), sentences(), **numbers("vasso")).logs
    fourth = train(bert(), sentences(), **numbers("vasso"), logging_steps=4).logs
    for index, entry in enumerate(fourth):
        gaps = [step["sharpness/gap"] for step in every[4 * index : 4 * index + 4]]
        assert entry["sharpness/gap"] == pytest.approx(sum(gaps) / 4, rel=1e-9)
        last = every[4 * index + 3]
        assert entry["sharpness/cosine"] == last["sharpness/cosine"]


def test_gaps_that_are_not_finite_are_left_out_of_the_mean():
    log = SharpnessLog()
    for gap in (0.5, math.nan, 1.0, math.inf, -math.inf, None):
        log.add(StepResult(torch.tensor(2.0), gap=None if gap is None else torch.tensor(gap)))
    assert log.flush(0, torch.clone) == {"sharpness/gap": 0.75, "sharpness/skipped": 0}
    assert log.flush(0, torch.clone) == {}
    log.add(StepResult(torch.tensor(2.0), gap=torch.tensor(math.nan)))
    assert math.isnan(log.flush(0, torch.clone)["sharpness/gap"])


def test_gaps_in_half_precision_are_summed_in_single():
    log = SharpnessLog()
    for _ in range(3000):
        log.add(StepResult(torch.tensor(2.0), gap=torch.tensor(0.5, dtype=torch.bfloat16)))
    assert log.flush(0, torch.clone)["sharpness/gap"] == 0.5


def test_no_tensor_of_an_earlier_step_is_kept():
    """However long nobody logs."""
    log, kept = SharpnessLog(), []
    for _ in range(3):
        for _ in range(10):
            log.add(StepResult(torch.tensor(2.0), gap=torch.tensor(0.5), perturbation_norm=torch.tensor(0.1)))
        gc.collect()
        kept.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
    assert kept == [kept[0]] * 3


def test_accumulation_logs_the_same(train):
    whole = train(bert(), sentences(27), **numbers("vasso")).logs
    split = train(bert(), sentences(27), **numbers("vasso"), **SPLIT).logs
    for key in ["loss", "grad_norm", *KEYS]:
        assert [entry[key] for entry in split] == pytest.approx([entry[key] for entry in whole], **LOGGED)


@pytest.mark.parametrize("method", ["none", "sam", "vasso", "sagm", "looksam", "aesam"])
def test_logged_loss_is_the_one_at_w(train, method):
    """On the first step all methods, and the stock Trainer, stand at the same weights and draw the same masks."""
    stock = train(bert(dropout=0.1), sentences(), trainer_class=Trainer, max_steps=2)
    ours = train(bert(dropout=0.1), sentences(), **numbers(method), max_steps=2)
    assert ours.losses[0] == stock.losses[0]
    assert (distance(ours.weights, stock.weights) > PERTURBED) == (method != "none")

"""What goes wrong in the middle of a step leaves clean weights and a clean average behind."""

import math
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs
from observed_training import BatchRecorder, PassTrainer, vasso_by_hand
from tiny_training import (
    EVERY_STEP,
    OF_EACH_KIND,
    PERTURBED,
    SPLIT,
    bert,
    distance,
    numbers,
    run,
    sentences,
    weights_of,
)
from transformers import TrainerCallback, set_seed


def to_nan(loss):
    return loss * math.nan


def to_infinity(loss):
    return loss * math.inf


def ascent_of(step):
    """The number of the pass at w, where a step is one micro-batch."""
    return 2 * step


def descent_of(step):
    """The number of the pass at w + eps."""
    return 2 * step + 1


def states(trainer):
    """The method's state after each step, as the checkpoints hold it."""
    folder = Path(trainer.args.output_dir)
    paths = [folder / f"checkpoint-{step + 1}" / "sharpness.pt" for step in range(trainer.state.global_step)]
    return [torch.load(path, weights_only=True) for path in paths]


def average(state):
    return state["parts"]["direction"]["tensors"]


class TestNotFinite:
    """A gradient at w that is not finite, without a scaler."""

    SETTINGS = {"rho": 0.3, "theta": 0.4, "learning_rate": 1e-3, "max_grad_norm": 0.35}

    @pytest.mark.parametrize("lost", [(0,), (2,), (0, 1, 5)])
    def test_step_goes_on_along_the_last_adversary(self, build, lost):
        """Before there is one, the step goes on unperturbed."""
        recorder = BatchRecorder()
        options = {"trainer_class": PassTrainer, "trainer_options": {"data_collator": recorder}}
        trainer = build(bert(), sentences(), method="vasso", **self.SETTINGS, **options)
        trainer.disturb = {ascent_of(step): to_nan for step in lost}
        trained = run(trainer)
        by_hand = bert()
        vasso_by_hand(by_hand, recorder.batches, lost=lost, **self.SETTINGS)
        assert distance(trained.weights, weights_of(by_hand)) <= 1e-10  # as in the loop without a fault

    @pytest.mark.parametrize("method", ["sam", "asam", "fsam"])
    def test_without_an_adversary_to_go_along_the_step_is_unperturbed(self, build, method):
        trainer = build(bert(), sentences(), **numbers(method), trainer_class=PassTrainer)
        trainer.disturb = {ascent_of(3): to_nan}
        trainer.train()
        assert distance(trainer.seen[ascent_of(3)], trainer.seen[descent_of(3)]) == 0.0
        assert distance(trainer.seen[ascent_of(4)], trainer.seen[descent_of(4)]) > PERTURBED

    def test_average_is_left_alone(self, build):
        trainer = build(bert(), sentences(), **numbers("vasso"), **EVERY_STEP, trainer_class=PassTrainer)
        trainer.disturb = {ascent_of(3): to_nan}
        trainer.train()
        averages = [average(state) for state in states(trainer)]
        assert distance(averages[2], averages[3]) == 0.0
        assert distance(averages[3], averages[4]) > 1e-6

    def test_one_bad_micro_batch_spoils_its_step_alone(self, build):
        trainer = build(bert(), sentences(), **numbers("vasso"), **SPLIT, trainer_class=PassTrainer)
        trainer.disturb = {8 + 2: to_nan}  # the third of four micro-batches in the second step's pass at w
        trained = run(trainer)
        assert [entry["sharpness/skipped"] for entry in trained.logs] == [0, 1, 1, 1, 1, 1, 1, 1]
        assert all(torch.isfinite(tensor).all() for tensor in trained.weights.values())

    def test_counted_and_said_once(self, build, caplog):
        trainer = build(bert(), sentences(), **numbers("vasso"), trainer_class=PassTrainer)
        trainer.disturb = {ascent_of(1): to_nan, ascent_of(4): to_nan}
        trained = run(trainer)
        assert [entry["sharpness/skipped"] for entry in trained.logs] == [0, 1, 1, 1, 2, 2, 2, 2]
        said = [message for message in caplog.messages if "gradient at w was not finite" in message]
        assert said == [
            "The gradient at w was not finite at step 2 and did not enter the method's state; further ones are "
            "counted in sharpness/skipped."
        ]

    def test_gap_of_a_lost_step_is_left_out(self, build, train):
        trainer = build(bert(), sentences(), **numbers("vasso"), trainer_class=PassTrainer, max_steps=4)
        trainer.disturb = {ascent_of(3): to_nan}
        every = run(trainer).logs
        trainer = build(
            bert(), sentences(), **numbers("vasso"), trainer_class=PassTrainer, max_steps=4, logging_steps=4
        )
        trainer.disturb = {ascent_of(3): to_nan}
        (last,) = run(trainer).logs
        assert last["sharpness/gap"] == pytest.approx(sum(entry["sharpness/gap"] for entry in every[:3]) / 3)
        assert math.isnan(every[3]["sharpness/gap"])

    def test_descent_feeds_no_state(self, build):
        trainer = build(bert(), sentences(), **numbers("vasso"), **EVERY_STEP, max_steps=1, trainer_class=PassTrainer)
        trainer.disturb = {descent_of(0): to_nan}
        trainer.train()
        assert all(torch.isfinite(tensor).all() for tensor in average(states(trainer)[0]).values())


class TestNotFiniteAtWPlusEps:
    """A gradient at w + eps alone, without a scaler: that step is the base optimizer's."""

    DESCENTS = {3 * step + 1: to_nan for step in range(8)}  # a third pass is made at w

    @pytest.mark.parametrize("method", ["sam", "vasso", "gsam"])
    def test_where_all_are_lost_the_training_is_none(self, build, method):
        trainer = build(bert(dropout=0.1), sentences(), **numbers(method), trainer_class=PassTrainer)
        trainer.disturb = self.DESCENTS
        trained = run(trainer)
        base = run(build(bert(dropout=0.1), sentences(), method="none"))
        assert distance(trained.weights, base.weights) == 0.0
        assert trained.losses == base.losses
        assert [entry["sharpness/skipped"] for entry in trained.logs] == [1, 2, 3, 4, 5, 6, 7, 8]

    def test_said_once(self, build, caplog):
        trainer = build(bert(), sentences(), **numbers("vasso"), trainer_class=PassTrainer)
        trainer.disturb = self.DESCENTS
        trainer.train()
        said = [message for message in caplog.messages if "not finite" in message]
        assert said == [
            "The gradient at w + eps was not finite at step 1: the optimizer got the one at w (with fp16 it skips the "
            "step). Lower rho if this goes on; further ones are counted in sharpness/skipped."
        ]

    def test_accumulated(self, build):
        trainer = build(bert(), sentences(), **numbers("vasso"), **SPLIT, trainer_class=PassTrainer)
        trainer.disturb = {12 * step + 6: to_nan for step in range(8)}  # the third micro-batch of each pass at w + eps
        trained = run(trainer)
        base = run(build(bert(), sentences(), method="none", **SPLIT))
        assert distance(trained.weights, base.weights) == 0.0


class ScaledTrainer(PassTrainer):
    """Scales the loss as fp16 training does on a GPU, with the arithmetic left in the weights' precision."""

    def create_accelerator_and_postprocess(self):
        super().create_accelerator_and_postprocess()
        accelerator = self.accelerator
        accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
        accelerator.native_amp = True
        accelerator.autocast_handler = AutocastKwargs(enabled=False)
        accelerator.state._mixed_precision = "fp16"


class ScaleRecorder(TrainerCallback):
    """Keeps the scale, the weights and the learning rate after each step."""

    def __init__(self):
        self.steps = []

    def on_step_end(self, args, state, control, model=None, lr_scheduler=None, optimizer=None, **kwargs):
        self.steps.append((optimizer.scaler.get_scale(), weights_of(model), lr_scheduler.get_last_lr()[0]))


class TestScaler:
    """Loss scaling by a GradScaler."""

    @pytest.fixture(autouse=True)
    def fresh_accelerator_state(self):
        """The state that `ScaledTrainer` changes is shared by all trainers of the process."""
        yield
        AcceleratorState._reset_state(reset_partial_state=True)

    @staticmethod
    def train_with(build, disturb, method="vasso"):
        recorder = ScaleRecorder()
        trainer = build(
            bert().float(),
            sentences(),
            **numbers(method),
            **EVERY_STEP,
            optim="adamw_torch",  # the fused one skips inside its kernel, where accelerate does not see it
            trainer_class=ScaledTrainer,
            trainer_options={"callbacks": [recorder]},
        )
        trainer.disturb = disturb
        return run(trainer), recorder.steps

    @pytest.mark.parametrize(
        ("method", "split"),
        [
            *((method, {}) for method in ("none", "vasso", "fsam", "asam")),
            # PassTrainer has a loss of its own, whose examples are unknown
            *((method, SPLIT) for method in ("none", *OF_EACH_KIND) if method != "esam"),
        ],
    )
    def test_a_power_of_two_changes_no_bit(self, train, method, split):
        options = numbers(method) | EVERY_STEP | split
        plain = train(bert().float(), sentences(), **options)
        scaled = train(bert().float(), sentences(), **options, trainer_class=ScaledTrainer)
        assert scaled.trainer.accelerator.scaler.get_scale() == 4096.0
        assert distance(plain.weights, scaled.weights) == 0.0
        assert plain.logs == scaled.logs
        for unscaled, state in zip(states(plain.trainer), states(scaled.trainer), strict=True):
            assert average(state).keys() == average(unscaled).keys()
            assert all(torch.equal(average(state)[name], average(unscaled)[name]) for name in average(state))

    def test_overflow_at_w(self, build):
        """The scaler skips the step and backs off; the schedule and the average stay where they are."""
        trained, steps = self.train_with(build, {ascent_of(2): to_infinity})
        scales, weights, learning_rates = zip(*steps, strict=True)
        assert scales == (4096.0, 4096.0, *[2048.0] * 6)
        assert distance(weights[1], weights[2]) == 0.0
        assert distance(weights[2], weights[3]) > PERTURBED
        assert learning_rates[1] == learning_rates[2] > learning_rates[3]
        averages = [average(state) for state in states(trained.trainer)]
        assert distance(averages[1], averages[2]) == 0.0
        assert [entry["sharpness/skipped"] for entry in trained.logs] == [0, 0, 1, 1, 1, 1, 1, 1]

    def test_overflow_at_the_perturbed_weights(self, build):
        """The step is skipped as well; the gradient at w was sound and stays in the average."""
        trained, steps = self.train_with(build, {descent_of(2): to_infinity})
        scales, weights, learning_rates = zip(*steps, strict=True)
        assert scales == (4096.0, 4096.0, *[2048.0] * 6)
        assert distance(weights[1], weights[2]) == 0.0
        assert learning_rates[1] == learning_rates[2] > learning_rates[3]
        averages = [average(state) for state in states(trained.trainer)]
        assert distance(averages[1], averages[2]) > 1e-6
        assert all(torch.isfinite(tensor).all() for tensor in averages[2].values())
        assert trained.logs[-1]["sharpness/skipped"] == 1

    def test_overflow_in_the_pass_over_a_share_skips_its_step(self, build):
        trained, steps = self.train_with(build, {2 * 3: to_infinity}, method="vasso-quarter")
        assert [scale for scale, _, _ in steps] == [4096.0] * 3 + [2048.0] * 5
        assert distance(steps[2][1], steps[3][1]) == 0.0
        assert trained.trainer.state.global_step == 8

    def test_overflow_at_an_ascent_of_looksam_skips_its_step_alone(self, build):
        _, steps = self.train_with(build, {1: to_infinity}, method="looksam")  # the second pass of the first step
        assert [scale for scale, _, _ in steps] == [2048.0] * 8


def interrupt(loss):
    raise KeyboardInterrupt


def fail(loss):
    raise RuntimeError("the loss went wrong")


def run_out_of_memory(loss):
    raise RuntimeError("CUDA out of memory.")  # the words that accelerate looks for


class LastCleanWeights(TrainerCallback):
    """Keeps the weights at the beginning of the running step."""

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        self.weights = weights_of(model)


ACCUMULATED = 8  # passes per step of four micro-batches


@pytest.mark.parametrize(
    ("split", "number", "perturbed"),
    [
        ({}, ascent_of(1), False),
        ({}, descent_of(1), True),
        (SPLIT, ACCUMULATED + 1, False),
        (SPLIT, ACCUMULATED + 4, True),
        (SPLIT, ACCUMULATED + 7, True),
    ],
)
@pytest.mark.parametrize("disturbance", [interrupt, fail])
def test_exception_in_a_pass(build, disturbance, split, number, perturbed):
    """The weights are those of before the step, and the trainer trains again as if nothing had been."""
    options = numbers("vasso") | {"optim": "sgd", "learning_rate": 0.5, **split}  # SGD remembers nothing
    clean = LastCleanWeights()
    trainer = build(bert(), sentences(), trainer_class=PassTrainer, trainer_options={"callbacks": [clean]}, **options)
    start = weights_of(trainer.model)
    set_seed(0)
    untouched = run(trainer)

    trainer.seen.clear()
    trainer.disturb = {number: disturbance}
    trainer.model.load_state_dict(start)
    with pytest.raises((KeyboardInterrupt, RuntimeError)):
        trainer.train()
    assert (distance(trainer.seen[-1], clean.weights) > PERTURBED) == perturbed
    assert distance(weights_of(trainer.model), clean.weights) == 0.0

    trainer.disturb = {}
    trainer.model.load_state_dict(start)
    set_seed(0)
    assert distance(run(trainer).weights, untouched.weights) == 0.0


def test_smaller_batches_after_running_out_of_memory(build):
    clean = LastCleanWeights()
    trainer = build(
        bert(),
        sentences(),
        trainer_class=PassTrainer,
        trainer_options={"callbacks": [clean]},
        auto_find_batch_size=True,
        **numbers("vasso"),
    )
    out_of_memory_at = descent_of(2)
    trainer.disturb = {out_of_memory_at: run_out_of_memory}
    trained = run(trainer)
    retry = trainer.seen[out_of_memory_at + 1 :]
    assert distance(retry[0], trainer.seen[ascent_of(2)]) == 0.0  # begins where the failed step had begun
    assert len(retry) == 2 * trainer.state.global_step
    assert trainer.sharpness_passes() == {"forward": len(retry), "backward": len(retry)}
    assert trained.logs[0]["sharpness/cosine"] == pytest.approx(1.0)  # the average begins at this gradient
    assert trained.logs[1]["sharpness/cosine"] < 0.999

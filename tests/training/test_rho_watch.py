"""One warning where rho is too large to train with, and none anywhere else."""

import pytest
import torch
from tiny_training import bert, sentences
from transformers import TrainingArguments

from hf_vasso import get_method
from hf_vasso.engine import StepResult
from hf_vasso.training.rho_watch import RhoWatch

NAME = "hf_vasso.training.rho_watch"
LN_2 = 0.69


def warnings_of(caplog) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == NAME]


def watch(losses, gaps, first_step=0, total_steps=None):
    """Feed a watch the losses and gaps of successive steps."""
    watched = RhoWatch(get_method("sam", rho=0.5))
    for step, (loss, gap) in enumerate(zip(losses, gaps, strict=True), start=first_step):
        result = StepResult(loss=torch.tensor(loss), gap=None if gap is None else torch.tensor(gap))
        watched.add(result, step, len(losses) if total_steps is None else total_steps)


class TestRule:
    def test_a_loss_that_stays_while_the_perturbation_raises_it(self, caplog):
        watch([LN_2] * 40, [0.1] * 40)
        (words,) = warnings_of(caplog)
        assert words == (
            "After 8 of 40 steps the loss is 0.690, where it began with 0.690, and the perturbation of sam raises it "
            "by 0.100: rho=0.5 is probably too large for this training. Halve it until the loss falls "
            "(docs/tuning.md)."
        )

    def test_a_training_that_falls_back_to_where_it_began(self, caplog):
        watch([LN_2] * 4 + [0.5] * 20 + [0.7] * 16, [0.1] * 40)
        assert len(warnings_of(caplog)) == 1

    @pytest.mark.parametrize(
        ("losses", "gaps"),
        [
            ([LN_2] * 40, [0.005] * 40),  # slow, but not for the perturbation
            ([LN_2] * 40, [None] * 40),  # no perturbation, or none that is measured
            ([LN_2 * 0.99**step for step in range(40)], [0.1] * 40),  # it falls
            ([LN_2] * 4 + [0.01] * 36, [0.1] * 40),  # it has fallen; the gap is ten times the loss
            ([float("nan")] * 40, [0.1] * 40),
            ([LN_2] * 40, [float("nan")] * 40),
            ([LN_2] * 12, [0.1] * 12),  # a tenth of so few steps is one batch, and tells nothing
        ],
    )
    def test_nothing_is_said(self, caplog, losses, gaps):
        watch(losses, gaps)
        assert warnings_of(caplog) == []

    def test_a_resumed_training_does_not_know_how_it_began(self, caplog):
        watch([0.3] * 30, [0.1] * 30, first_step=10, total_steps=40)
        assert warnings_of(caplog) == []

    def test_steps_without_an_ascent_have_no_gap(self, caplog):
        watch([LN_2] * 40, [0.1, None] * 20)
        assert "raises it by 0.100" in warnings_of(caplog)[0]


class TestTraining:
    """Labels at random and a small learning rate: the loss stays at chance, whatever the method."""

    ARGUMENTS = {"num_train_epochs": 10, "learning_rate": 1e-5, "logging_strategy": "no"}

    def test_a_large_rho_is_warned_of_once(self, train, caplog):
        train(bert(), sentences(), method="sam", rho=0.5, **self.ARGUMENTS)
        (words,) = warnings_of(caplog)
        assert "rho=0.5" in words and "docs/tuning.md" in words

    @pytest.mark.parametrize("method", ["vasso", "sam", "none"])
    def test_the_default_is_not(self, train, caplog, method):
        train(bert(), sentences(), method=method, **self.ARGUMENTS)
        assert warnings_of(caplog) == []

    def test_other_ranks_say_nothing(self, build, caplog, monkeypatch):
        trainer = build(bert(), sentences(), method="sam", rho=0.5, **self.ARGUMENTS)
        monkeypatch.setattr(trainer, "is_world_process_zero", lambda: False)
        trainer.train()
        assert warnings_of(caplog) == []

    def test_plain_arguments(self, train, caplog):
        train(bert(), sentences(), arguments_class=TrainingArguments, **self.ARGUMENTS)
        assert warnings_of(caplog) == []

    def test_each_training_of_a_trainer_is_watched_anew(self, build, caplog):
        trainer = build(bert(), sentences(), method="sam", rho=0.5, **self.ARGUMENTS)
        for _ in range(2):
            trainer.train()
        assert len(warnings_of(caplog)) == 2

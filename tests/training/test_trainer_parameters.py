"""The parameters of a Trainer's step are those of its optimizer: of a loss, of a head added late, of a part."""

import pytest
import torch
from observed_training import PassTrainer
from tiny_training import EVERY_STEP, PERTURBED, bert, distance, numbers, run, sentences, weights_of
from torch import nn
from transformers import Trainer, TrainerCallback, TrainingArguments

METHODS_WITH_RHO = ["sam", "vasso", "asam", "msam", "vasso-re"]


class LearnedWeights(nn.Module):
    """A loss that weighs its classes by parameters of its own."""

    def __init__(self):
        super().__init__()
        self.log_weights = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))
        self.register_buffer("mean", torch.zeros((), dtype=torch.float64))

    def forward(self, outputs, labels, num_items_in_batch=None):
        self.mean.lerp_(outputs.logits.detach().mean(), 0.1)
        losses = nn.functional.cross_entropy(outputs.logits, labels, reduction="none")
        return (losses * self.log_weights[labels].exp() - self.log_weights.sum()).mean()


class WithAdapter(nn.Module):
    """A classifier that may get another part."""

    def __init__(self):
        super().__init__()
        self.bert = bert()
        self.added = None

    def forward(self, input_ids, attention_mask, labels):
        logits = self.bert(input_ids, attention_mask).logits
        logits = logits if self.added is None else self.added(logits)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class AddAPart(TrainerCallback):
    """Adds layers before the third step, to the model and to the optimizer; one has statistics that count each row."""

    def on_step_begin(self, args, state, control, model=None, optimizer=None, **kwargs):
        if state.global_step == 2:
            model.added = nn.Sequential(nn.BatchNorm1d(2, affine=False), nn.Linear(2, 2)).double()
            with torch.no_grad():
                model.added[1].weight.copy_(torch.tensor([[1.0, 0.2], [-0.1, 1.0]]))
                model.added[1].bias.zero_()
            optimizer.param_groups[0]["params"].extend(model.added.parameters())


class ClearGradients(TrainerCallback):
    """Clears what the optimizer holds before each step."""

    def on_step_begin(self, args, state, control, optimizer=None, **kwargs):
        optimizer.zero_grad()


class UnfreezeBert(TrainerCallback):
    """The encoder is trained from the fifth step on."""

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        model.bert.requires_grad_(state.global_step >= 4)

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        model.bert.requires_grad_(state.global_step >= 4)


def adamw(*modules):
    return torch.optim.AdamW([p for module in modules for p in module.parameters()], lr=1e-2, weight_decay=0.0)


class TestALossWithWeights:
    def trained(self, build, trainer_class=None, callbacks=(), **options):
        model, loss = bert(), LearnedWeights()
        trainer_options = {
            "optimizers": (adamw(model, loss), None),
            "compute_loss_func": loss,
            "callbacks": list(callbacks),
        }
        if trainer_class is not None:
            options |= {"trainer_class": trainer_class, "arguments_class": TrainingArguments}
        training = run(build(model, sentences(), trainer_options=trainer_options, **options))
        return training, training.weights | weights_of(loss)

    @pytest.mark.parametrize("method", METHODS_WITH_RHO)
    def test_rho_0_is_none(self, build, method):
        _, left = self.trained(build, method=method, rho=0.0)
        _, right = self.trained(build, method="none")
        assert distance(left, right) == 0.0

    def test_none_is_the_stock_trainer_that_clears_all_gradients(self, build):
        """The stock Trainer clears those of its model alone, so those of a loss would add up over the steps."""
        _, left = self.trained(build, method="none")
        _, right = self.trained(build, callbacks=[ClearGradients()], trainer_class=Trainer)
        assert distance(left, right) == 0.0

    def test_it_is_perturbed(self, build):
        training, weights = self.trained(build, **numbers("sam"), rho_warmup_steps=0)
        _, base = self.trained(build, method="none")
        assert abs(weights["log_weights"] - base["log_weights"]).max() > PERTURBED
        names = training.trainer._engine._parameters.perturbable().names
        assert names[-1] == f"param_groups.0.{len(names) - 1}"

    def test_no_perturb_finds_their_names(self, build):
        """With all the others perturbed, as where the pattern excludes nothing but them."""
        training, weights = self.trained(build, **numbers("sam"), no_perturb=r"^param_groups\.")
        names = training.trainer._engine._parameters.perturbable().names
        assert names == [name for name, _ in training.trainer.model.named_parameters()]
        _, all_perturbed = self.trained(build, **numbers("sam"))
        assert distance(weights, all_perturbed) > PERTURBED

    def test_a_pattern_that_finds_nothing_is_refused_with_their_optimizer_too(self, build):
        with pytest.raises(ValueError, match="no_perturb matches no parameter, got 'lm_head'"):
            self.trained(build, **numbers("sam"), no_perturb="lm_head")

    def test_mesa_averages_them_and_asks_the_model_without_them(self, build):
        training, _ = self.trained(build, **numbers("mesa"), **EVERY_STEP)
        assert training.trainer.sharpness_passes()["forward"] > training.trainer.sharpness_passes()["backward"]

    def test_a_third_pass_sees_the_inputs_as_the_first_did(self, build):
        """Where no gradient at w + eps is finite, with a loss that edits its inputs in place."""

        class Edits(PassTrainer):
            def compute_loss(self, model, inputs, *args, **kwargs):
                inputs["labels"].sub_(1).abs_()
                return super().compute_loss(model, inputs, *args, **kwargs)

        trainer = build(bert(), sentences(), trainer_class=Edits, **numbers("vasso"))
        trainer.disturb = {3 * step + 1: lambda loss: loss * float("nan") for step in range(8)}
        base = build(bert(), sentences(), trainer_class=Edits, method="none")
        assert distance(run(trainer).weights, run(base).weights) == 0.0

    @pytest.mark.parametrize("method", ["sam", "none"])
    def test_with_several_processes_it_is_refused_where_it_would_be_perturbed(self, build, monkeypatch, method):
        model, loss = bert(), LearnedWeights()
        options = {"optimizers": (adamw(model, loss), None), "compute_loss_func": loss}
        trainer = build(model, sentences(), method=method, trainer_options=options)
        monkeypatch.setattr(type(trainer.accelerator), "num_processes", 2)
        if method == "none":
            assert trainer._current_engine() is not None
            return
        with pytest.raises(ValueError, match="the optimizer holds 1 parameter.s. that the model does not have"):
            trainer._current_engine()


class TestAPartAddedByACallback:
    def trained(self, build, **options):
        return run(build(WithAdapter(), sentences(), trainer_options={"callbacks": [AddAPart()]}, **options))

    @pytest.mark.parametrize("method", METHODS_WITH_RHO)
    def test_rho_0_is_none(self, build, method):
        left = self.trained(build, method=method, rho=0.0)
        assert distance(left.weights, self.trained(build, method="none").weights) == 0.0

    def test_none_is_the_stock_trainer(self, build):
        left = self.trained(build, method="none")
        right = self.trained(build, trainer_class=Trainer, arguments_class=TrainingArguments)
        assert distance(left.weights, right.weights) == 0.0

    def test_it_is_perturbed_under_the_models_name(self, build):
        training = self.trained(build, **numbers("vasso"), **EVERY_STEP, max_steps=4)
        folder = training.trainer.args.output_dir
        for step, known in ((2, False), (3, True)):
            state = torch.load(f"{folder}/checkpoint-{step}/sharpness.pt", weights_only=True)
            assert ("added.1.weight" in state["parts"]["direction"]["tensors"]) == known


class TestGradualUnfreezing:
    def trained(self, build, resume=None, **options):
        model = bert()
        return build(
            model,
            sentences(),
            trainer_options={"callbacks": [UnfreezeBert()], "optimizers": (adamw(model), None)},
            no_perturb="bias",
            **numbers("vasso"),
            **EVERY_STEP,
            **options,
        )

    def test_resumed_is_straight_and_biases_stay(self, build):
        """Before and after the encoder is unfrozen, which the pattern did not see when the training began."""
        straight = run(self.trained(build))
        state = torch.load(f"{straight.trainer.args.output_dir}/checkpoint-8/sharpness.pt", weights_only=True)
        kept = state["parts"]["direction"]["tensors"]
        assert any(name.startswith("bert.") for name in kept)
        assert not any("bias" in name for name in kept)
        for step in (3, 6):
            checkpoint = f"{straight.trainer.args.output_dir}/checkpoint-{step}"
            resumed = run(self.trained(build), resume_from_checkpoint=checkpoint)
            assert distance(straight.weights, resumed.weights) == 0.0


class TestAPartOfTheModel:
    def trained(self, build, trainer_class=None, **options):
        model = bert()
        if trainer_class is not None:
            options |= {"trainer_class": trainer_class, "arguments_class": TrainingArguments}
        optimizers = (adamw(model.classifier), None)
        return run(build(model, sentences(), trainer_options={"optimizers": optimizers}, **options))

    def test_the_rest_is_not_perturbed(self, build):
        training = self.trained(build, **numbers("sam"), rho_warmup_steps=0)
        assert training.trainer._engine._parameters.perturbable().names == ["classifier.weight", "classifier.bias"]
        assert training.logs[-1]["sharpness/perturbation_norm"] == pytest.approx(0.3)

    @pytest.mark.parametrize("method", METHODS_WITH_RHO)
    def test_rho_0_is_none(self, build, method):
        """What clipping sees included: the gradients that nobody uses are those of one pass."""
        left = self.trained(build, method=method, rho=0.0, max_grad_norm=0.05)
        assert distance(left.weights, self.trained(build, method="none", max_grad_norm=0.05).weights) == 0.0

    def test_none_is_the_stock_trainer(self, build):
        left = self.trained(build, method="none")
        assert distance(left.weights, self.trained(build, trainer_class=Trainer).weights) == 0.0


def test_an_optimizer_that_is_exchanged_is_followed(build):
    """As a callback may do; what the old one held and the new one does not stays where it is."""

    class Exchange(TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            if state.global_step == 2:
                trainer.optimizer = trainer.accelerator.prepare(adamw(model.classifier))

    trainer = build(bert(), sentences(), trainer_options={"callbacks": [Exchange()]}, **numbers("sam"))
    trainer.train()
    assert trainer._engine._parameters.perturbable().names == ["classifier.weight", "classifier.bias"]

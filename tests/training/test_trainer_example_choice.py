"""Methods that make a pass with some of the examples: whose losses they compare, and what they refuse."""

import pytest
import torch
from model_families import FAMILIES
from tiny_training import PERTURBED, TRANSFORMERS_4, bert, distance, numbers, sentences
from transformers import BertForSequenceClassification, T5ForConditionalGeneration, default_data_collator

from hf_vasso import VassoTrainer
from hf_vasso.methods.esam import Sharpest
from hf_vasso.training.example_losses import refuse_other_losses
from hf_vasso.training.example_share import count_examples, take_examples


def batch_of(trainer):
    return next(iter(trainer.get_train_dataloader()))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_losses_of_single_examples_are_those_of_batches_of_one(build, family, smoothing):
    if smoothing and isinstance(family.model(), T5ForConditionalGeneration):
        pytest.skip("its smoothed loss needs the decoder's inputs, which a collator makes")
    trainer = build(
        family.model(), family.data(8), **numbers("esam"), label_smoothing_factor=smoothing, **family.options
    )
    inputs = batch_of(trainer)
    model = trainer.model.eval()
    with torch.no_grad():
        outputs = model(**inputs)
        losses = trainer.example_losses(inputs, outputs)
        refuse_other_losses(trainer, inputs, outputs, losses, trainer.compute_loss(model, dict(inputs)))
        assert losses.shape == (count_examples(inputs),)
        for number, loss in enumerate(losses):
            one = take_examples(inputs, torch.tensor([number]))
            assert loss.item() == pytest.approx(trainer.compute_loss(model, dict(one)).item(), rel=1e-5)
    assert losses.max() - losses.min() > 1e-3


@pytest.mark.parametrize("same_dropout", [True, False])
def test_the_ranking_draws_the_masks_of_the_pass_at_w(train, monkeypatch, same_dropout):
    """At rho 0 the losses of both points are then the same bits, and without dropout others."""
    seen = []

    def rows(self, at_w, perturbed):
        seen.append((at_w, perturbed))
        return [torch.arange(len(losses)) for losses in at_w]

    monkeypatch.setattr(Sharpest, "rows", rows)
    esam = {"method": "esam", "rho": 0.0, "method_args": {"beta": 1.0, "gamma": 1.0}, "same_dropout": same_dropout}
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    all_rows = train(bert(dropout=0.1), sentences(), **esam, **split)
    assert len(seen) == 8 and {len(at_w) for at_w, _ in seen} == {4}
    for at_w, perturbed in seen:
        assert all(torch.equal(here, there) for here, there in zip(at_w, perturbed, strict=True))
    none = train(bert(dropout=0.1), sentences(), method="none", same_dropout=same_dropout, **split)
    assert distance(all_rows.weights, none.weights) == 0.0  # the pass that gives the update has the stock stream


def test_esam_trains_on_the_chosen_examples(train):
    trained = train(bert(), sentences(), **numbers("esam"))
    assert trained.trainer.sharpness_passes() == {"forward": 8 * 2.5, "backward": 8 * 1.5}
    assert distance(trained.weights, train(bert(), sentences(), **numbers("sam")).weights) > PERTURBED
    assert all("sharpness/gap" not in entry for entry in trained.logs)


class OwnLoss(VassoTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(**inputs)
        return (outputs.loss, outputs) if return_outputs else outputs.loss


class OwnLossAndRanking(OwnLoss):
    def example_losses(self, inputs, outputs):
        return torch.nn.functional.cross_entropy(outputs.logits, inputs["labels"], reduction="none")


def test_a_loss_of_ones_own_needs_those_of_the_examples(build, train):
    with pytest.raises(ValueError, match="method 'esam' chooses examples by their losses.*override example_losses"):
        build(bert(), sentences(), trainer_class=OwnLoss, **numbers("esam"))
    with pytest.raises(ValueError, match="override example_losses"):
        build(bert(), sentences(), trainer_options={"compute_loss_func": lambda *_, **__: 0}, **numbers("esam"))
    own = train(bert(), sentences(), trainer_class=OwnLossAndRanking, **numbers("esam"))
    assert distance(own.weights, train(bert(), sentences(), **numbers("esam")).weights) == 0.0
    build(bert(), sentences(), trainer_class=OwnLoss, **numbers("sam"))


class FocalBert(BertForSequenceClassification):
    def forward(self, input_ids=None, attention_mask=None, labels=None):
        outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels)
        shares = outputs.logits.softmax(-1)[range(len(labels)), labels]
        outputs.loss = ((1 - shares) ** 2 * -shares.log()).mean()
        return outputs


def test_a_loss_of_the_models_own_is_noticed(train):
    model = FocalBert(bert().config).double()
    with pytest.raises(ValueError, match="the model's loss is 0.1.*, and the mean of the losses by which .* is 0.7"):
        train(model, sentences(), **numbers("esam"))


def test_unknown_shapes_are_refused(build):
    trainer = build(bert(), sentences(), **numbers("esam"))
    outputs = {"logits": torch.zeros(2, 3, 4)}
    with pytest.raises(ValueError, match=r"logits of shape \(2, 3, 4\) and labels of shape \(2,\): override"):
        trainer.example_losses({"labels": torch.zeros(2, dtype=torch.long)}, outputs)


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ({"ids": torch.zeros(2, 3), "scale": torch.tensor(1.0)}, "got ids: 2, scale: 0"),
        ({"ids": torch.zeros(2, 3), "mask": torch.zeros(6)}, "got ids: 2, mask: 6"),
        ({"ids": torch.zeros(2, 3), "texts": ["a", "b"]}, "got ids: 2, texts: list"),
    ],
)
def test_inputs_whose_examples_cannot_be_told_apart(inputs, words):
    with pytest.raises(ValueError, match=f"that of the batch, {words}"):
        count_examples(inputs)


def test_a_share_of_inputs_without_a_batch_dimension(train):
    def collate(examples):
        return default_data_collator(examples) | {"temperature": torch.tensor(1.0)}

    words = "that of the batch, got .*input_ids: 8.*, temperature: 0: batch the inputs so, or take another method"
    with pytest.raises(ValueError, match=words):
        train(bert(), sentences(), trainer_options={"data_collator": collate}, method="sam", ascent_fraction=0.5)


@pytest.mark.skipif(TRANSFORMERS_4, reason="transformers 4.57 does not hand the setting on")
@pytest.mark.parametrize("arguments", [{"method": "esam"}, {"method": "sam", "ascent_fraction": 0.5}], ids=str)
def test_ranks_with_other_numbers_of_micro_batches_cannot_average_each(build, arguments):
    words = f"method '{arguments['method']}' makes a pass with some of the examples, .* sync_each_batch averages each"
    accelerator_config = {"gradient_accumulation_kwargs": {"sync_each_batch": True}}
    with pytest.raises(ValueError, match=words):
        build(bert(), sentences(), accelerator_config=accelerator_config, **arguments)


def test_the_ascent_takes_the_first_examples(train, monkeypatch):
    taken = []
    take = take_examples

    def spy(inputs, rows):
        taken.append((len(inputs["labels"]), rows.tolist()))
        return take(inputs, rows)

    monkeypatch.setattr("hf_vasso.training.passes.take_examples", spy)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    trained = train(bert(), sentences(), method="sam", rho=0.3, ascent_fraction=0.4, max_steps=1, **split)
    assert taken == [(2, [0, 1]), (2, [0, 1])]  # ceil(0.4 * 8) = 4
    assert trained.trainer.sharpness_passes() == {"forward": 6, "backward": 6}
    assert trained.logs[0]["sharpness/loss_at_perturbed"] == 1.0

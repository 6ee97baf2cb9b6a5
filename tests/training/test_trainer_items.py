"""What the loss counts: labels, pixels or examples, so that a step is the same however it is cut."""

from functools import partial

import pytest
import torch
from image_models import IGNORED_PIXEL, SEGMENTERS, pictures, segmented
from model_families import IGNORED, SGD
from tiny_training import EXACT, LOGGED, bert, distance, numbers, sentences
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import (
    BeitConfig,
    BeitForImageClassification,
    BertForTokenClassification,
    Trainer,
)

from hf_vasso import VassoTrainer
from hf_vasso.training.loss_scale import item_shares

CUTS = [(4, 1), (2, 2), (1, 4)]


def cut(size, micro_batches):
    return {"per_device_train_batch_size": size, "gradient_accumulation_steps": micro_batches, "num_train_epochs": 1}


def assert_all_cuts_are_one(train, model, data, *, methods=("none", "sam"), tolerance=EXACT, **options):
    """With the stock Trainer, whose one micro-batch per step is right, for the second source."""
    trainer_class = options.pop("trainer_class", VassoTrainer)
    stock = options.pop("stock", Trainer)
    expected = train(model(), data, trainer_class=stock, **cut(4, 1), **options)
    for method in methods:
        found = [
            train(model(), data, trainer_class=trainer_class, **numbers(method), **cut(*c), **options) for c in CUTS
        ]
        if method == "none":
            assert distance(expected.weights, found[0].weights) == 0.0
        else:
            assert distance(expected.weights, found[0].weights) > 1e-4
        assert all(value.isfinite().all() for value in found[0].weights.values())
        for other in found[1:]:
            assert distance(found[0].weights, other.weights) <= tolerance
            assert other.losses == pytest.approx(found[0].losses, **LOGGED)


class MaskedMean:
    """As many scripts have it: the mean over the labels that count, which is 0/0 without one, as is its gradient."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        mask = labels.ne(IGNORED)
        losses = cross_entropy(outputs.logits.flatten(0, -2), labels.clamp(min=0).flatten(), reduction="none")
        loss = (losses * mask.flatten()).sum() / mask.sum()
        return (loss, outputs) if return_outputs else loss


class StockMaskedMean(MaskedMean, Trainer):
    """The stock Trainer with it."""


class OwnMaskedMean(MaskedMean, VassoTrainer):
    """Ours with it."""

    def example_losses(self, inputs, outputs):
        labels = inputs["labels"]
        losses = cross_entropy(outputs.logits.flatten(0, -2), labels.clamp(min=0).flatten(), reduction="none").reshape(
            labels.shape
        )
        return losses.sum(1) / labels.ne(IGNORED).sum(1)


class MaskedMeanInTheModel(BertForTokenClassification):
    """The same loss in the model."""

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        mask = labels.ne(IGNORED)
        losses = cross_entropy(outputs.logits.flatten(0, -2), labels.clamp(min=0).flatten(), reduction="none")
        outputs.loss = (losses * mask.flatten()).sum() / mask.sum()
        return outputs


def tagged(count=24, empty=lambda index: index % 2 == 0):
    """A label per token, and none at all in half of the examples, in which a micro-batch of two can have none too."""
    data = sentences(count)
    for index, example in enumerate(data):
        counted = (example["attention_mask"] == 1) & (not empty(index))
        example["labels"] = torch.where(counted, example["input_ids"] % 2, IGNORED)
    return data


def tagger(model_class=BertForTokenClassification):
    torch.manual_seed(0)
    return model_class(bert().config).double()


def test_micro_batches_without_a_label_do_not_run_into_the_rest(train):
    options = {"trainer_class": OwnMaskedMean, "stock": StockMaskedMean}
    assert_all_cuts_are_one(train, tagger, tagged(), methods=("none", "sam", "vasso", "gsam"), **options)


def test_a_masked_mean_in_the_model(train):
    assert_all_cuts_are_one(train, partial(tagger, MaskedMeanInTheModel), tagged())


def test_a_masked_mean_as_a_loss_function(train):
    def masked_mean(outputs, labels, num_items_in_batch=None):
        mask = labels.ne(IGNORED)
        losses = cross_entropy(outputs.logits.flatten(0, -2), labels.clamp(min=0).flatten(), reduction="none")
        return (losses * mask.flatten()).sum() / mask.sum()

    assert_all_cuts_are_one(train, tagger, tagged(), trainer_options={"compute_loss_func": masked_mean})


@pytest.mark.parametrize("method", ["esam", "mesa", "vasso-quarter"])
def test_methods_that_look_at_examples(train, method):
    arguments = numbers(method) | ({"method_args": {"start": 0}} if method == "mesa" else {})
    found = train(tagger(), tagged(), trainer_class=OwnMaskedMean, **arguments, **cut(1, 4))
    assert all(value.isfinite().all() for value in found.weights.values())
    assert all(0 < loss < 5 for loss in found.losses)


def test_a_step_without_any_label_moves_nothing(train):
    data = tagged(8, empty=lambda index: True)
    for method in ("none", "sam"):
        found = train(tagger(), data, trainer_class=OwnMaskedMean, method=method, weight_decay=0.0, **cut(2, 2))
        assert distance(found.weights, tagger().state_dict()) == 0.0
        assert found.losses == [0.0, 0.0]


@pytest.mark.parametrize("kind", SEGMENTERS)
def test_heads_that_ignore_the_label_of_their_configuration(train, kind):
    """In other shares of each picture; with one picture per micro-batch, some have none at all."""
    assert_all_cuts_are_one(train, partial(segmented, kind), pictures(8), **SGD, max_grad_norm=0.0)


def test_a_class_that_pixels_would_not_have(train):
    """The configuration is that of a segmentation, too, which leaves out 255; to a classifier it is a class."""

    def model():
        torch.manual_seed(0)
        sizes = {
            "drop_path_rate": 0.0,
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
        }
        config = BeitConfig(image_size=8, patch_size=4, num_labels=300, out_indices=[1], **sizes)
        return BeitForImageClassification(config).double()

    data = [
        {"pixel_values": example["pixel_values"][:, :8, :8], "labels": 255 - index % 3}
        for index, example in enumerate(pictures(8))
    ]
    assert_all_cuts_are_one(train, model, data, **SGD)


class IgnoresOne(BertForTokenClassification):
    """The mean over all labels but the one that its configuration states, which is 0/0 where there is no other."""

    def forward(self, input_ids=None, attention_mask=None, labels=None):
        outputs = super().forward(input_ids=input_ids, attention_mask=attention_mask)
        mask = labels.ne(self.config.ignore_index)
        losses = cross_entropy(outputs.logits.flatten(0, -2), labels.flatten(), reduction="none")
        outputs.loss = (losses * mask.flatten()).sum() / mask.sum()
        return outputs


@pytest.mark.parametrize("ignored", [0, 1])
def test_any_ignore_index_of_the_configuration(train, ignored):
    """Some micro-batches of two have no other label, which may be that of the first class, too."""

    def model():
        ours = tagger(IgnoresOne)
        ours.config.ignore_index = ignored
        return ours

    data = sentences(16)
    for index, example in enumerate(data):
        counted = (example["attention_mask"] == 1) & (index % 2 == 1)
        example["labels"] = torch.where(counted, example["input_ids"] % 2, ignored)
    assert_all_cuts_are_one(train, model, data)


class NestedNet(nn.Module):
    """Its examples are counted wherever they are."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1)).double()

    def forward(self, scale, net):
        return {"loss": scale * (self.net(net["x"]).squeeze(-1) - net["more"][0]).square().mean()}


class NestedTrainer(VassoTrainer):
    def floating_point_ops(self, inputs):
        return 0


def test_examples_in_nested_inputs(train):
    def collate(examples):
        x = torch.stack([example["x"] for example in examples])
        return {"scale": torch.tensor(2.0), "net": {"x": x, "more": [x.sum(1)]}}

    generator = torch.Generator().manual_seed(0)
    data = [{"x": torch.randn(4, generator=generator).double()} for _ in range(11)]  # the last step has 3, so 2 and 1
    options = {"trainer_options": {"data_collator": collate}, "remove_unused_columns": False}

    class Stock(Trainer):
        floating_point_ops = NestedTrainer.floating_point_ops

    assert_all_cuts_are_one(train, NestedNet, data, trainer_class=NestedTrainer, stock=Stock, **options)


def test_how_many_items_are_counted(build):
    trainer = build(segmented("segformer"), pictures(4))
    pixels = torch.zeros(2, 4, 4, dtype=torch.long)
    pixels[0] = IGNORED_PIXEL
    pixels[1, 0] = IGNORED
    x = torch.zeros(5, 3)
    batches = {
        12: {"labels": pixels},
        5: {"net": {"x": x}},
        4: [{"none": None}, [torch.tensor(1.0), x[:4]]],
        3: {"flag": True, "labels": [{"boxes": x[:1]}], "pixel_values": x[:3], "scale": x[:2]},
        1: {"names": ["a", "b"]},
    }
    del batches[3]["labels"]
    shares = item_shares(trainer, list(batches.values()))
    assert [share.own.item() for share in shares] == list(batches)

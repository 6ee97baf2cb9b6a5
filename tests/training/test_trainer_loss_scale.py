"""However a step's examples are cut into micro-batches, the step is the same: same loss, same weights."""

from functools import partial

import pytest
import torch
from model_families import FAMILIES, IGNORED, SGD
from tiny_training import (
    EXACT,
    LOGGED,
    OF_EACH_KIND,
    PERTURBED,
    SPLIT,
    assert_steps_of_both_kinds,
    bert,
    distance,
    numbers,
    sentences,
)
from torch.nn.functional import cross_entropy
from transformers import BertForQuestionAnswering, BertForTokenClassification, Trainer

from hf_vasso import SharpnessAwareMixin, VassoTrainer

WHOLE = {"per_device_train_batch_size": 8}


def assert_split_is_whole(train, model, data, *, method="vasso", split_into=SPLIT, tolerance=EXACT, **options):
    """Train with one micro-batch per step and with several, and without a perturbation."""
    whole = train(model(), data, **numbers(method), **WHOLE, **options)
    split = train(model(), data, **numbers(method), **split_into, **options)
    assert distance(whole.weights, split.weights) <= tolerance
    assert split.losses == pytest.approx(whole.losses, **LOGGED)
    if method != "none":
        unperturbed = train(model(), data, **numbers("none"), **WHOLE, **options)
        assert distance(whole.weights, unperturbed.weights) > PERTURBED
        assert_steps_of_both_kinds(whole, unperturbed)


@pytest.mark.parametrize(
    ("count", "smoothing", "tolerance"),
    [
        (32, 0.0, EXACT),
        (29, 0.0, EXACT),  # leaves a last step of 5 examples, in micro-batches of 2, 2 and 1
        (29, 0.2, 1e-8),  # the Trainer's label smoother sums in fp32: measured 2e-9
    ],
)
@pytest.mark.parametrize(
    "method", ["none", *(method for method in OF_EACH_KIND if method != "esam"), "vasso-re p=0.5"]
)
def test_methods(train, method, count, smoothing, tolerance):
    options = {"tolerance": tolerance, "label_smoothing_factor": smoothing}
    assert_split_is_whole(train, bert, sentences(count), method=method, **options)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_families(train, family):
    assert_split_is_whole(train, family.model, family.data(27), tolerance=family.tolerance, **family.options)


class OwnLossTrainer(VassoTrainer):
    """What users write for a loss of their own; nothing of the Trainer's method is called."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        loss = cross_entropy(outputs.logits, inputs["labels"])
        return (loss, outputs) if return_outputs else loss


class LabelPoppingTrainer(VassoTrainer):
    """Takes the labels out of the inputs, which the second pass needs again."""

    def _prepare_inputs(self, inputs):
        return inputs  # the very dict that the step holds

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        labels = inputs.pop("labels")
        outputs = model(**inputs)
        loss = cross_entropy(outputs.logits, labels)
        return (loss, outputs) if return_outputs else loss


class KeepsOutputs(Trainer):
    """A Trainer whose own `training_step` asks for the outputs as well."""

    def training_step(self, model, inputs, num_items_in_batch=None):
        model.train()
        loss, self.outputs = self.compute_loss(
            model, self._prepare_inputs(inputs), return_outputs=True, num_items_in_batch=num_items_in_batch
        )
        self.accelerator.backward(loss)
        return loss.detach()


class OutputsTrainer(SharpnessAwareMixin, KeepsOutputs):
    """The same, sharpness-aware."""


@pytest.mark.parametrize("trainer_class", [OwnLossTrainer, LabelPoppingTrainer, OutputsTrainer])
def test_subclass_with_its_own_loss(train, trainer_class):
    assert_split_is_whole(train, bert, sentences(27), trainer_class=trainer_class)


def test_rho_zero_is_none_with_a_loss_of_ones_own(train):
    options = {"trainer_class": OwnLossTrainer, **SPLIT}
    none = train(bert(dropout=0.1), sentences(27), method="none", **options)
    zero = train(bert(dropout=0.1), sentences(27), method="vasso", rho=0.0, **options)
    positive = train(bert(dropout=0.1), sentences(27), **numbers("vasso"), **options)
    assert distance(none.weights, zero.weights) == 0.0
    assert distance(none.weights, positive.weights) > PERTURBED


class TupleTrainer(VassoTrainer):
    """Batches are tuples of inputs and labels, as a collator of one's own may make them."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        tokens, labels = inputs
        return cross_entropy(model(input_ids=tokens).logits, labels)

    def floating_point_ops(self, inputs):
        return 0


def test_batches_that_are_tuples(train):
    def collate(examples):
        tokens = torch.stack([example["input_ids"] for example in examples])
        return tokens, torch.tensor([example["labels"] for example in examples])

    trainer_options = {"data_collator": collate}
    assert_split_is_whole(train, bert, sentences(27), trainer_class=TupleTrainer, trainer_options=trainer_options)


def sum_over_count(outputs, labels, num_items_in_batch=None):
    return cross_entropy(outputs.logits, labels, reduction="sum") / num_items_in_batch


def plain_mean(outputs, labels, num_items_in_batch=None):
    return cross_entropy(outputs.logits, labels)


@pytest.mark.parametrize("loss_function", [sum_over_count, plain_mean])
def test_loss_function(train, loss_function):
    assert_split_is_whole(train, bert, sentences(27), trainer_options={"compute_loss_func": loss_function})


def test_regression(train):
    data = [example | {"labels": example["labels"] * 1.5 - 0.3} for example in sentences(27)]
    assert_split_is_whole(train, partial(bert, num_labels=1), data)


def with_head(head_class):
    """BERT's configuration under another head."""
    config = bert().config
    torch.manual_seed(0)
    return head_class(config).double()


def test_question_answering(train):
    """No input is called `labels`, so the examples are counted."""
    data = [
        {"input_ids": example["input_ids"], "start_positions": example["labels"], "end_positions": 3}
        for example in sentences(27)
    ]
    assert_split_is_whole(train, partial(with_head, BertForQuestionAnswering), data, **SGD)


def tagged_tokens(count, empty=()):
    """A label per token, another number of them in every example, and none at all in those named."""
    data = sentences(count)
    for index, example in enumerate(data):
        counted = (example["attention_mask"] == 1) & (index not in empty)
        example["labels"] = torch.where(counted, example["input_ids"] % 2, IGNORED)
    return data


@pytest.mark.parametrize("empty", [(), range(0, 27, 3)], ids=["all_labelled", "micro_batches_without_a_label"])
def test_ragged_token_labels(train, empty):
    one_each = {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}
    assert_split_is_whole(
        train, partial(with_head, BertForTokenClassification), tagged_tokens(27, empty), split_into=one_each
    )

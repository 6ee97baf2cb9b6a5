"""Models whose outputs are no mapping with logits: what works, and what is refused in which words."""

import re
from functools import partial

import pytest
import torch
from image_models import clip, detections, detr, pictures, segmented
from model_families import FAMILIES
from tiny_training import LENGTH, VOCABULARY, bert, distance, numbers, sentences
from torch import nn
from torch.nn.functional import cross_entropy
from transformers import BertForQuestionAnswering, Trainer

from hf_vasso import VassoTrainer

SHORT = {"per_device_train_batch_size": 4, "max_steps": 4}
NEEDS_OUTPUTS = ("esam", "saf", "mesa")
START = {"saf": {"method_args": {"weight": 30.0}}, "mesa": {"method_args": {"weight": 30.0, "start": 0, "decay": 0.7}}}


def arguments(method):
    return numbers(method) | START.get(method, {})


def shown(examples, key="pixel_values"):
    return {key: torch.stack([example[key] for example in examples])}


@pytest.mark.parametrize("method", NEEDS_OUTPUTS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_tuples_are_as_mappings(train, method, smoothing):
    options = {"label_smoothing_factor": smoothing, "num_train_epochs": 2, **arguments(method)}
    mapping = train(bert(), sentences(8), **options)
    as_tuple = train(bert(return_dict=False), sentences(8), **options)
    assert distance(mapping.weights, as_tuple.weights) == 0.0
    none = train(bert(), sentences(8), method="none", label_smoothing_factor=smoothing)
    assert distance(mapping.weights, none.weights) > 1e-4


@pytest.mark.parametrize("method", ["esam", "mesa"])
def test_tuples_of_tokens_are_as_mappings(train, method):
    family, found = FAMILIES["t5"], []
    for return_dict in (True, False):
        model = family.model()
        model.config.return_dict = return_dict
        found.append(train(model, family.data(8), **family.options, **arguments(method), **SHORT))
    assert distance(found[0].weights, found[1].weights) == 0.0


class LogitsAlone(VassoTrainer):
    """Hands on the logits themselves for outputs, as losses of one's own often do."""

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        loss = cross_entropy(logits, inputs["labels"])
        return (loss, logits) if return_outputs else loss

    def example_losses(self, inputs, outputs):
        return cross_entropy(outputs, inputs["labels"], reduction="none")


@pytest.mark.parametrize("method", NEEDS_OUTPUTS)
def test_a_loss_of_ones_own_that_hands_on_its_logits(train, method):
    """Nor does it give the model all columns; the teacher gets those that the model got."""
    options = {"num_train_epochs": 2, **arguments(method)}
    found = train(bert(), sentences(8), trainer_class=LogitsAlone, **options)
    assert distance(found.weights, train(bert(), sentences(8), **options).weights) < 1e-12


def collate_pairs(examples):
    ids = torch.stack([example["input_ids"] for example in examples])
    ids[:, -1] = 2  # ends a text
    return {"input_ids": ids, **shown(examples), "return_loss": True}


def pairs(count=8):
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(3, VOCABULARY, (count, LENGTH), generator=generator)
    return [picture | {"input_ids": ids} for picture, ids in zip(pictures(count), tokens, strict=True)]


def collate_detections(examples):
    # New mappings, since the loss of a detection may write into them.
    return {**shown(examples), "labels": [dict(example["labels"]) for example in examples]}


class LossAlone(nn.Module):
    """Gives nothing but its loss, in a way that the Trainer reads."""

    def __init__(self, container):
        super().__init__()
        self.net, self.container = bert(), container

    def forward(self, input_ids, attention_mask, labels):
        return self.container(self.net(input_ids=input_ids, attention_mask=attention_mask, labels=labels).loss)


def question_answering(**config):
    torch.manual_seed(0)
    model = BertForQuestionAnswering(bert(**config).config)
    return model.double()


def spans(count=8):
    return [
        {"input_ids": example["input_ids"], "start_positions": example["labels"], "end_positions": 3}
        for example in sentences(count)
    ]


KINDS = {
    "clip": (clip, pairs, {"data_collator": collate_pairs}),
    "detr": (detr, partial(detections, 8), {"data_collator": collate_detections}),
    "a loss in a tuple": (partial(LossAlone, lambda loss: (loss,)), partial(sentences, 8), {}),
    "a loss in a dict": (partial(LossAlone, lambda loss: {"loss": loss}), partial(sentences, 8), {}),
    "question answering": (question_answering, spans, {}),
    "question answering as a tuple": (partial(question_answering, return_dict=False), spans, {}),
    "pixels": (partial(segmented, "segformer"), partial(pictures, 8), {}),
}


def trained(train, kind, **options):
    model, data, trainer_options = KINDS[kind]
    return train(model(), data(), trainer_options=trainer_options, remove_unused_columns=False, **SHORT, **options)


@pytest.mark.parametrize("kind", KINDS)
def test_methods_that_need_the_loss_alone(train, kind):
    none, zero, sam = (
        trained(train, kind, method=method, **rho)
        for method, rho in (("none", {}), ("sam", {"rho": 0.0}), ("sam", {"rho": 0.3}))
    )
    stock = trained(train, kind, trainer_class=Trainer)
    assert distance(stock.weights, none.weights) == 0.0
    assert distance(none.weights, zero.weights) == 0.0
    assert distance(none.weights, sam.weights) > 1e-4


CLIP_GIVES = (
    "loss, logits_per_image, logits_per_text, text_embeds, image_embeds, text_model_output, vision_model_output"
)
COMPARES = "compares logits of classes, (examples, ..., classes), and"
RETURN = "return such logits as `logits` or in a tuple after the loss, or take another method"


@pytest.mark.parametrize("method", ["saf", "mesa"])
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("clip", f"CLIPModel gives {CLIP_GIVES} for input_ids, pixel_values, return_loss: "),
        ("a loss in a tuple", "LossAlone gives a tuple of a loss alone for input_ids, attention_mask, labels: "),
        ("a loss in a dict", "LossAlone gives loss for input_ids, attention_mask, labels: "),
        ("question answering", "BertForQuestionAnswering gives loss, start_logits, end_logits for input_ids, "),
        ("question answering as a tuple", "BertForQuestionAnswering gives a tuple of a loss alone, a tensor of "),
        (
            "pixels",
            "SegformerForSemanticSegmentation gives logits of shape (4, 5, 8, 8) for labels of shape (4, 16, 16): ",
        ),
    ],
)
def test_what_gives_no_logits_of_classes(train, method, kind, words):
    words = re.escape(f"method '{method}' {COMPARES} {words}") + ".*" + re.escape(RETURN)
    with pytest.raises(ValueError, match=words):
        trained(train, kind, **arguments(method))


@pytest.mark.parametrize("kind", KINDS)
def test_what_gives_no_losses_of_examples(train, kind):
    with pytest.raises(ValueError, match="no loss of each example is known for .*: override example_losses in the tr"):
        trained(train, kind, method="esam")


def test_detections(train):
    """Those of a query can be held to what the average says of it; they are no single choice of an example."""
    none, mesa = (trained(train, "detr", **arguments(method)) for method in ("none", "mesa"))
    assert distance(none.weights, mesa.weights) > 1e-4
    with pytest.raises(ValueError, match=r"saf needs logits of classes, .*, got \(4, 4, 4\): take mesa"):
        trained(train, "detr", **arguments("saf"))
    with pytest.raises(ValueError, match="needs inputs that are all tensors .*, got pixel_values: 4, labels: list"):
        trained(train, "detr", method="vasso-quarter")


class GivesTheLossAlone(VassoTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        return model(**inputs).loss

    def example_losses(self, inputs, outputs):
        raise AssertionError


class NeverGivesOutputs(GivesTheLossAlone):
    def compute_loss(self, model, inputs, num_items_in_batch=None):
        return model(**inputs).loss


class AsksAnotherModel(VassoTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = self.model.bert(input_ids=inputs["input_ids"])
        logits = self.model.classifier(outputs.pooler_output)
        loss = cross_entropy(logits, inputs["labels"])
        return (loss, {"logits": logits}) if return_outputs else loss


@pytest.mark.parametrize("method", NEEDS_OUTPUTS)
def test_losses_of_ones_own_that_keep_the_outputs(train, build, method):
    words = (
        "needs the outputs of the model, and GivesTheLossAlone.compute_loss returned a loss alone with return_outputs"
    )
    with pytest.raises(ValueError, match=f"method '{method}' {words}=True: return"):
        train(bert(), sentences(), trainer_class=GivesTheLossAlone, **arguments(method))
    words = (
        f"method '{method}' needs the outputs of the model, and NeverGivesOutputs.compute_loss has no argument return_"
    )
    with pytest.raises(ValueError, match=words):
        build(bert(), sentences(), trainer_class=NeverGivesOutputs, **arguments(method))
    train(bert(), sentences(), trainer_class=NeverGivesOutputs, method="sam", max_steps=1)


def test_a_teacher_needs_a_model_to_ask(train):
    words = (
        "calls the model again with other weights, and AsksAnotherModel.compute_loss did not call the model that it"
    )
    with pytest.raises(ValueError, match=words):
        train(bert(), sentences(), trainer_class=AsksAnotherModel, **arguments("mesa"))
    train(bert(), sentences(), trainer_class=AsksAnotherModel, **arguments("saf"))


def collate_tuple(examples):
    return tuple(torch.stack([torch.as_tensor(example[name]) for example in examples]) for name in examples[0])


class TupleTrainer(VassoTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        ids, mask, labels = inputs
        outputs = model(input_ids=ids, attention_mask=mask, labels=labels)
        return (outputs.loss, outputs) if return_outputs else outputs.loss

    def example_losses(self, inputs, outputs):
        return cross_entropy(outputs.logits, inputs[2], reduction="none")

    def floating_point_ops(self, inputs):
        return 0


def test_batches_that_are_tuples(train):
    options = {"trainer_class": TupleTrainer, "trainer_options": {"data_collator": collate_tuple}, **SHORT}
    mesa = train(bert(), sentences(), **options, **arguments("mesa"))
    assert distance(mesa.weights, train(bert(), sentences(), **SHORT, **arguments("mesa")).weights) == 0.0
    for method in ("esam", "vasso-quarter"):
        with pytest.raises(ValueError, match="needs inputs that are all tensors .*, got a tuple of "):
            train(bert(), sentences(), **options, **numbers(method))
    with pytest.raises(ValueError, match="the positions of the examples go beside the inputs, and .* a tuple of .*: "):
        train(bert(), sentences(), **options, **arguments("saf"))

"""What a loss, a model or a hook edits in place stays in its pass: the next one sees what the first one saw."""

from collections import UserDict
from dataclasses import dataclass, is_dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tiny_training import LENGTH, PERTURBED, bert, distance, numbers, sentences
from torch import nn
from transformers import BatchEncoding, BertForSequenceClassification, Trainer, default_data_collator

from hf_vasso import SharpnessAwareMixin
from hf_vasso.training.loss_scale import item_shares
from hf_vasso.training.micro_batch import MicroBatch, copy_of

WHOLE = {"per_device_train_batch_size": 4}
SPLIT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}
ALL_ROWS = {"beta": 1.0, "gamma": 1.0}


def embedded(count=16):
    """Examples with inputs that are floats, which noise can be added to, and labels of 1 and 2."""
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "inputs_embeds": torch.randn(LENGTH, 16, generator=generator).double(),
            "attention_mask": example["attention_mask"],
            "labels": example["labels"] + 1,
        }
        for example in sentences(count)
    ]


def shift_labels(inputs):
    inputs["labels"] -= 1


def add_noise(inputs):
    shift_labels(inputs)
    inputs["inputs_embeds"] += 0.5 * torch.randn_like(inputs["inputs_embeds"])


def mix_up(inputs):
    shift_labels(inputs)
    inputs["inputs_embeds"].mul_(0.7).add_(inputs["inputs_embeds"].flip(0), alpha=0.3)


def edit_behind_autograd(inputs):
    inputs["labels"].data.sub_(1)
    inputs["inputs_embeds"].numpy()[:] *= 0.5


def take_out(inputs):
    labels = inputs.pop("labels")
    inputs["labels"] = labels - 1
    del inputs["attention_mask"]


class Edits:
    """A loss that edits what it gets; a twin of it edits a copy."""

    edit: Any = None
    in_place = True

    def compute_loss(self, model, inputs, *args, **kwargs):
        if not self.in_place:
            inputs = {name: value.clone() for name, value in inputs.items()}
        type(self).edit(inputs)
        return super().compute_loss(model, inputs, *args, **kwargs)

    def _prepare_inputs(self, inputs):
        return inputs  # the very dict that the step holds


def trainer_classes(edit):
    """The stock Trainer and a sharpness-aware one with a loss that edits, and one that edits a copy."""
    own = {"edit": staticmethod(edit)}
    return SimpleNamespace(
        stock=type("Stock", (Edits, Trainer), own),
        ours=type("Ours", (SharpnessAwareMixin, Edits, Trainer), own),
        twin=type("Twin", (SharpnessAwareMixin, Edits, Trainer), own | {"in_place": False}),
    )


EDITS = [shift_labels, add_noise, mix_up, edit_behind_autograd, take_out]


@pytest.mark.parametrize("edit", EDITS)
def test_none_is_the_stock_trainer(train, edit):
    classes = trainer_classes(edit)
    stock = train(bert(dropout=0.1), embedded(), trainer_class=classes.stock, **WHOLE)
    none = train(bert(dropout=0.1), embedded(), method="none", trainer_class=classes.ours, **WHOLE)
    assert distance(stock.weights, none.weights) == 0.0


@pytest.mark.parametrize("split", [WHOLE, SPLIT], ids=["4x1", "2x2"])
@pytest.mark.parametrize("edit", EDITS)
def test_rho_zero_is_none(train, edit, split):
    options = {"trainer_class": trainer_classes(edit).ours, **split}
    none = train(bert(dropout=0.1), embedded(), method="none", **options)
    for method in ("sam", "looksam"):
        zero = train(bert(dropout=0.1), embedded(), method=method, rho=0.0, **options)
        assert distance(none.weights, zero.weights) == 0.0, method


@pytest.mark.parametrize("method", ["sam", "vasso-quarter", "mesa"])
@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_is_that_of_a_copy(train, edit, method):
    classes = trainer_classes(edit)
    arguments = numbers(method) | SPLIT | ({"method_args": {"weight": 30.0}} if method == "mesa" else {})
    ours = train(bert(), embedded(), trainer_class=classes.ours, **arguments)
    twin = train(bert(), embedded(), trainer_class=classes.twin, **arguments)
    assert distance(ours.weights, twin.weights) == 0.0
    none = train(bert(), embedded(), trainer_class=classes.ours, method="none", **SPLIT)
    assert distance(ours.weights, none.weights) > PERTURBED


class EditingBert(BertForSequenceClassification):
    """A model that edits all that it gets, whether in place or in a copy."""

    in_place = True

    def forward(self, inputs_embeds=None, attention_mask=None, labels=None):
        if not self.in_place:
            inputs_embeds, attention_mask, labels = (x.clone() for x in (inputs_embeds, attention_mask, labels))
        labels -= 1
        attention_mask[:, 5:] = 0
        inputs_embeds *= 0.5
        return super().forward(inputs_embeds=inputs_embeds, attention_mask=attention_mask, labels=labels)


class CopyingBert(EditingBert):
    in_place = False


def editing(model_class, dropout=0.0):
    torch.manual_seed(0)
    return model_class(bert(dropout).config).double()


METHODS = ["none", "sam", "vasso-quarter", "looksam", "saf", "mesa"]


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_edits(train, method):
    arguments = numbers(method) | SPLIT | ({"method_args": {"weight": 30.0}} if method in ("saf", "mesa") else {})
    edits, copies = (train(editing(kind, 0.1), embedded(), **arguments) for kind in (EditingBert, CopyingBert))
    assert distance(edits.weights, copies.weights) == 0.0


@pytest.mark.parametrize("split", [WHOLE, SPLIT], ids=["4x1", "2x2"])
def test_a_ranking_with_a_model_that_edits(train, split):
    """Its two passes and the choice: at rho 0 with all examples it is the base optimizer."""
    none = train(editing(EditingBert, 0.1), embedded(), method="none", **split)
    esam = train(editing(EditingBert, 0.1), embedded(), method="esam", rho=0.0, method_args=ALL_ROWS, **split)
    assert distance(none.weights, esam.weights) == 0.0


def test_tensors_that_micro_batches_share(train):
    """A collator may give all of them the same one; each pass goes on with it as the stock Trainer does."""

    def collate():
        scale = torch.ones((), dtype=torch.float64)
        return lambda examples: default_data_collator(examples) | {"scale": scale}

    seen = []

    def edit(inputs):
        inputs["scale"] *= 0.9
        seen.append(inputs["scale"].item())
        shift_labels(inputs)
        inputs["inputs_embeds"] *= inputs.pop("scale")

    classes = trainer_classes(edit)
    for split in (WHOLE, SPLIT):
        kinds = {"stock": {}, "none": {"method": "none"}, "sam": {"method": "sam", "rho": 0.0}}
        found = {}
        for name, arguments in kinds.items():
            seen.clear()
            arguments |= split | {"trainer_options": {"data_collator": collate()}, "max_steps": 3}
            trainer_class = classes.stock if name == "stock" else classes.ours
            found[name] = train(bert(), embedded(), trainer_class=trainer_class, **arguments), list(seen)
        assert distance(found["none"][0].weights, found["sam"][0].weights) == 0.0
        if split is WHOLE:
            assert distance(found["none"][0].weights, found["stock"][0].weights) == 0.0
        each = len(found["none"][1]) // 3
        steps = [found["none"][1][i * each : (i + 1) * each] for i in range(3)]
        assert found["sam"][1] == [value for step in steps for value in step + step]


class Nested(nn.Module):
    """Takes its inputs in a dict, a list and a dataclass."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 1)).double()

    def forward(self, net, more, box):
        net["x"] += 1.0
        more[0]["y"] *= 2.0
        box.shift += 1.0
        loss = (self.net(net.pop("x")).squeeze(-1) - more.pop()["y"] - box.shift).square().mean()
        box.shift = None
        return {"loss": loss}


@dataclass
class Box:
    shift: Any


class KeepsInputs(Trainer):
    def _prepare_inputs(self, inputs):
        return inputs

    def floating_point_ops(self, inputs):
        return 0


class KeepsInputsSharp(SharpnessAwareMixin, KeepsInputs):
    """The same, sharpness-aware."""


def nested(examples):
    x = torch.stack([example["x"] for example in examples])
    return {"net": {"x": x}, "more": [{"y": x.sum(1)}], "box": Box(x.mean(1))}


@pytest.mark.parametrize("split", [WHOLE, SPLIT], ids=["4x1", "2x2"])
def test_nested_inputs(train, split):
    generator = torch.Generator().manual_seed(0)
    data = [{"x": torch.randn(4, generator=generator).double()} for _ in range(32)]
    options = {"trainer_options": {"data_collator": nested}, "remove_unused_columns": False, **split}
    none = train(Nested(), data, method="none", trainer_class=KeepsInputsSharp, **options)
    zero = train(Nested(), data, method="sam", rho=0.0, trainer_class=KeepsInputsSharp, **options)
    sam = train(Nested(), data, method="sam", rho=0.3, trainer_class=KeepsInputsSharp, **options)
    assert distance(none.weights, zero.weights) == 0.0
    assert distance(none.weights, sam.weights) > PERTURBED
    if split is WHOLE:
        stock = train(Nested(), data, trainer_class=KeepsInputs, **options)
        assert distance(none.weights, stock.weights) == 0.0


@pytest.mark.parametrize(
    "container",
    [
        lambda x: {"a": {"b": x}},
        lambda x: [x, [x]],
        lambda x: (x,),
        lambda x: Box((x,)),
        lambda x: UserDict(a=x),
        lambda x: BatchEncoding({"a": [x]}),
        lambda x: {"a": x.numpy()},
        lambda x: {"a": torch.nn.utils.rnn.pack_sequence([x])},
    ],
)
def test_a_copy_is_apart_from_what_it_is_of(container):
    def leaves(value):
        if torch.is_tensor(value) or isinstance(value, np.ndarray):
            return [value]
        if is_dataclass(value):
            value = list(vars(value).values())
        elif hasattr(value, "values"):
            value = list(value.values())
        return [leaf for part in value if part is not None for leaf in leaves(part)]

    given = container(torch.arange(3.0))
    copied = copy_of(given)
    assert type(copied) is type(given) and copied is not given
    before = [leaf.tolist() for leaf in leaves(given)]
    assert [leaf.tolist() for leaf in leaves(copied)] == before
    for leaf in leaves(copied):
        leaf += 5
    assert [leaf.tolist() for leaf in leaves(given)] == before


def test_what_stands_in_two_places_is_one_thing_in_the_copy():
    ids = torch.arange(3)
    copied = copy_of({"input_ids": ids, "labels": ids})
    assert copied["input_ids"] is copied["labels"] and copied["labels"] is not ids


def test_methods_that_perturb_nothing_copy_nothing(train, monkeypatch):
    made = []

    def counting(inputs):
        made.append(inputs)
        return copy_of(inputs)

    monkeypatch.setattr("hf_vasso.training.micro_batch.copy_of", counting)
    copies = {}
    for method in ("none", "mesa", "msam", "sam", "vasso-quarter", "esam"):
        made.clear()
        arguments = numbers(method) | ({"method_args": {"start": 0}} if method == "mesa" else {})
        train(bert(), sentences(), **arguments, **SPLIT, max_steps=1)
        copies[method] = len(made)
    assert copies == {"none": 0, "mesa": 0, "msam": 2, "sam": 4, "vasso-quarter": 2, "esam": 4}


def test_any_number_of_passes_get_the_same(build):
    inputs = {"x": torch.zeros(2), "more": [torch.ones(2)]}
    (share,) = item_shares(build(bert(), sentences()), [inputs])
    batch = MicroBatch(inputs, share, is_kept=True)
    for _ in range(4):
        given = batch.inputs_of_a_pass()
        assert given["x"].tolist() == [0.0, 0.0] and given["more"][0].tolist() == [1.0, 1.0]
        given.pop("x").add_(5.0)
        given["more"].pop().mul_(0.0)
    assert not inputs["more"]  # the first pass had the very inputs, as with the stock Trainer

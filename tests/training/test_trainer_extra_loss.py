"""SAF and MESA, which add to the loss: against trainings by hand, and with all kinds of data."""

import copy

import datasets
import pytest
import torch
from model_families import FAMILIES
from tiny_training import EXACT, SPLIT, bert, distance, numbers, sentences, weights_of
from torch.nn.functional import kl_div, log_softmax, softmax

from hf_vasso import SharpnessAwareStep, get_method
from hf_vasso.training.example_losses import counted_tokens

ONE_STEP_AN_EPOCH = {"num_train_epochs": 4, "learning_rate": 0.5, "optim": "sgd", "lr_scheduler_type": "constant"}


def stack(examples):
    return {name: torch.stack([torch.as_tensor(example[name]) for example in examples]) for name in examples[0]}


def by_hand(added, epochs=4):
    """SGD on the whole data, with something added to the loss: from epoch, model and logits."""
    model, batch = bert(), stack(sentences(8))
    for epoch in range(epochs):
        output = model(**batch)
        loss = output.loss + added(epoch, model, batch, output.logits)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= 0.5 * gradient * min(1.0, 1.0 / (norm.item() + 1e-6))
    return weights_of(model)


def term(teacher, student, weight, tau=5.0):
    shares = softmax(teacher / tau, -1)
    return weight * tau**2 * kl_div(log_softmax(student / tau, -1), shares, reduction="batchmean")


@pytest.mark.parametrize(("start", "lag"), [(1, 1), (2, 1), (2, 2)])
def test_saf_by_hand(train, start, lag):
    past = []

    def added(epoch, model, batch, logits):
        past.append(logits.detach())
        return term(past[epoch - lag], logits, weight=30.0) if epoch >= start else 0.0

    expected = by_hand(added)
    method_args = {"weight": 30.0, "start": start, "lag": lag}
    found = train(bert(), sentences(8), method="saf", method_args=method_args, **ONE_STEP_AN_EPOCH)
    assert distance(found.weights, expected) < EXACT
    assert distance(found.weights, by_hand(lambda *_: 0.0)) > 1e-4


@pytest.mark.parametrize("start", [0, 2])
def test_mesa_by_hand(train, start):
    averages = {}

    def added(epoch, model, batch, logits):
        for name, parameter in model.named_parameters():
            weights = parameter.detach().clone()
            averages[name] = 0.7 * averages.get(name, weights) + 0.3 * weights
        teacher = copy.deepcopy(model)
        teacher.load_state_dict(averages, strict=False)
        return term(teacher(**batch).logits.detach(), logits, weight=30.0) if epoch >= start else 0.0

    expected = by_hand(added)
    method_args = {"weight": 30.0, "decay": 0.7, "start": start}
    found = train(bert(), sentences(8), method="mesa", method_args=method_args, **ONE_STEP_AN_EPOCH)
    assert distance(found.weights, expected) < EXACT
    assert distance(found.weights, by_hand(lambda *_: 0.0)) > 1e-4
    assert found.trainer.sharpness_passes() == {"forward": 4 + 4 - start, "backward": 4}


@pytest.mark.parametrize("split", [{}, SPLIT], ids=["one_micro_batch", "accumulation"])
@pytest.mark.parametrize("method", ["saf", "mesa"])
def test_weight_zero_is_none(train, method, split):
    none = train(bert(0.1), sentences(27), method="none", **split)
    zero = train(bert(0.1), sentences(27), method=method, method_args={"weight": 0.0}, **split)
    assert distance(none.weights, zero.weights) == 0.0
    assert none.logs == zero.logs
    other = train(bert(0.1), sentences(27), method=method, **split)
    assert distance(none.weights, other.weights) > 1e-4


@pytest.mark.parametrize("method", ["saf", "mesa"])
def test_micro_batches_make_one_step(train, method):
    whole = train(bert(), sentences(27), **numbers(method))
    split = train(bert(), sentences(27), **numbers(method), **SPLIT)
    assert distance(whole.weights, split.weights) < EXACT


class Sentences(torch.utils.data.Dataset):
    """Examples with a column that the model does not take, which may not be hashed or compared."""

    def __len__(self):
        return 27

    def __getitem__(self, index):
        return {**sentences(27)[index], "text": object()}


def test_any_map_style_data_will_do(train):
    rows = [{**example, "text": str(number)} for number, example in enumerate(sentences(27))]
    names = sentences(1)[0].keys()
    plain = [{"text": row["text"], **{name: torch.as_tensor(row[name]).tolist() for name in names}} for row in rows]
    trained = [train(bert(), data, method="saf") for data in (rows, Sentences(), datasets.Dataset.from_list(plain))]
    assert distance(trained[0].weights, trained[1].weights) == 0.0
    assert distance(trained[0].weights, trained[2].weights) == 0.0
    assert distance(trained[0].weights, train(bert(), sentences(27), method="none").weights) > 1e-4


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(sentences(32))


@pytest.mark.parametrize(
    ("data", "options", "words"),
    [
        (Stream(), {"max_steps": 8}, "saf must know an example again in the next epoch, and Stream has no positions"),
        (
            sentences(32),
            {"num_train_epochs": 1},
            "the added term begins after 1 epochs of 4 steps, and this training",
        ),
        (
            sentences(32),
            {"max_steps": 4},
            "the added term begins after 1 epochs of 4 steps, and this training",
        ),
    ],
)
def test_refusals(build, data, options, words):
    with pytest.raises(ValueError, match=words):
        build(bert(), data, method="saf", **options).train()


def test_a_regression_has_no_classes(build):
    data = [{**example, "labels": float(example["labels"])} for example in sentences(32)]
    for method in ("saf", "mesa"):
        with pytest.raises(ValueError, match=f"{method} needs logits of classes"):
            build(bert(num_labels=1), data, method=method).train()


def test_mesa_counts_the_tokens_that_the_loss_counts(train):
    family = FAMILIES["t5"]
    base = train(family.model(), family.data(27), method="none", **family.options)
    mesa = train(family.model(), family.data(27), method="mesa", **family.options)
    split = train(family.model(), family.data(27), method="mesa", **SPLIT, **family.options)
    assert distance(base.weights, mesa.weights) > 1e-6
    assert distance(mesa.weights, split.weights) <= family.tolerance


@pytest.mark.parametrize("family", FAMILIES.values(), ids=FAMILIES)
def test_tokens_count_where_the_loss_depends_on_their_logits(build, family):
    trainer = build(family.model(), family.data(8), method="mesa", **family.options)
    inputs = next(iter(trainer.get_train_dataloader()))
    outputs = trainer.model.eval()(**inputs)
    (gradient,) = torch.autograd.grad(outputs.loss, outputs.logits)
    counted = counted_tokens(trainer, inputs, outputs.logits)
    if counted is None:
        assert gradient.dim() == 2  # of examples
    else:
        assert torch.equal(counted, gradient.abs().sum(-1) > 0) and 0 < counted.sum() < counted.numel()


def test_a_plain_loop_is_refused():
    model = torch.nn.Linear(2, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = SharpnessAwareStep(get_method("saf"), model.named_parameters(), optimizer, total_steps=9, steps_per_epoch=3)

    class Passes:
        def backward(self, batch, sync):
            raise AssertionError

    with pytest.raises(ValueError, match="saf needs passes that can do more, and Passes has no backward_with_extra"):
        step.step([None], Passes())
    with pytest.raises(ValueError, match="got steps_per_epoch=0"):
        SharpnessAwareStep(get_method("mesa"), model.named_parameters(), optimizer, total_steps=9)

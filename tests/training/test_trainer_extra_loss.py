"""SAF and MESA, which add to the loss: against trainings by hand, and with all kinds of data."""

import copy

import datasets
import pytest
import torch
from model_families import FAMILIES
from tiny_training import (
    EVERY_STEP,
    EXACT,
    SPLIT,
    TRANSFORMERS_4,
    bert,
    distance,
    numbers,
    run,
    sentences,
    weights_of,
)
from torch.nn.functional import kl_div, log_softmax, softmax
from torch.utils.data import DataLoader
from transformers import BertForTokenClassification

from hf_vasso import SharpnessAwareStep, VassoTrainer, get_method
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


BY_LENGTH = {"group_by_length": True} if TRANSFORMERS_4 else {"train_sampling_strategy": "group_by_length"}


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
        (sentences(32), BY_LENGTH, "saf cannot sort the training data by length: leave that out"),
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


def test_saf_leaves_tokens_to_mesa(build):
    model = BertForTokenClassification(bert().config).double()
    data = [{**example, "labels": example["input_ids"] % 2} for example in sentences(32)]
    with pytest.raises(ValueError, match=r"saf needs logits of classes.*, got \(8, 10, 2\): take mesa for tokens"):
        build(model, data, method="saf").train()
    build(model, data, method="mesa").train()


class OwnLoader(VassoTrainer):
    def get_train_dataloader(self):
        return DataLoader(self.train_dataset, batch_size=8, collate_fn=self.data_collator)


class StockLoader(VassoTrainer):
    def get_train_dataloader(self):
        return super().get_train_dataloader()


def test_saf_with_a_loader_of_ones_own(build, train):
    words = r"saf must know which examples .* let an override of get_train_dataloader call super\(\)"
    with pytest.raises(ValueError, match=words):
        build(bert(), sentences(32), method="saf", trainer_class=OwnLoader).train()
    build(bert(), sentences(32), method="mesa", trainer_class=OwnLoader).train()
    build(bert(), sentences(32), method="saf", trainer_class=StockLoader).train()


class EndlessLoader(VassoTrainer):
    def get_train_dataloader(self):
        return DataLoader(Stream(), batch_size=8, collate_fn=self.data_collator)


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (Stream(), {}),
        (datasets.IterableDataset.from_generator(lambda: iter(Stream())), {}),
        (Stream(), {"accelerator_config": {"dispatch_batches": False}}),
        (sentences(32), {"trainer_class": EndlessLoader}),
    ],
    ids=["stream", "streamed_datasets", "each_rank_reads", "own_loader"],
)
@pytest.mark.parametrize("method", ["mesa", "saf"])
def test_data_without_a_length(train, build, method, data, options):
    """An epoch is a number of steps for what these methods add; the others count none."""
    trained = train(bert(), data, method="sam", max_steps=2, **options)
    assert trained.trainer.state.global_step == 2
    trainer = build(bert(), data, method=method, max_steps=8, **options)
    with pytest.raises(
        ValueError, match=r"must know .*, and (Stream|IterableDataset) has no .*: give a data set with a "
    ):
        trainer.train()


class LoaderAlone(VassoTrainer):
    def get_train_dataloader(self):
        return DataLoader(sentences(32), batch_size=8, collate_fn=self.data_collator)


def test_mesa_counts_the_steps_of_the_loader(train):
    """The data behind a loader of one's own may be unknown to the Trainer."""
    options = {"method": "mesa", "trainer_class": LoaderAlone}
    known = train(bert(), sentences(32), **options)
    unknown = train(bert(), None, **options)
    assert distance(known.weights, unknown.weights) == 0.0
    assert distance(known.weights, train(bert(), sentences(32), method="none").weights) > 1e-4


@pytest.mark.parametrize(("lag", "count", "got"), [(2, 32, "lag 2 and 32"), (1, 27, "lag 1 and 27")])
def test_saf_resumed_as_another_training(train, build, lag, count, got):
    straight = train(bert(), sentences(32), method="saf", num_train_epochs=4, **EVERY_STEP)
    other = {"method": "saf", "method_args": {"lag": lag, "start": 2}, "num_train_epochs": 4}
    words = f"the logits that saf saved are for lag 1 and 32 examples, and this training has {got} examples: resume"
    with pytest.raises(ValueError, match=words):
        run(build(bert(), sentences(count), **other), f"{straight.trainer.args.output_dir}/checkpoint-6")


def test_mesa_of_a_model_in_few_bits(train):
    """The average is in fp32, and predicts among weights that are not averaged in the dtype of the model."""

    def model_in_few_bits():
        model = bert().to(torch.bfloat16)
        model.bert.embeddings.requires_grad_(False)
        return model

    method_args = {"weight": 30.0, "decay": 0.9998, "start": 0}
    found = train(model_in_few_bits(), sentences(32), method="mesa", method_args=method_args, **EVERY_STEP)
    state = torch.load(f"{found.trainer.args.output_dir}/checkpoint-8/sharpness.pt", weights_only=True)
    average = state["parts"]["extra_loss"]["tensors"]
    start = model_in_few_bits().state_dict()
    assert {tensor.dtype for tensor in average.values()} == {torch.float32}
    assert all(0 < (tensor - start[name]).abs().max() < 1e-4 for name, tensor in average.items())
    none = train(model_in_few_bits(), sentences(32), method="none")
    assert distance(found.weights, none.weights) > 1e-3


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
    size = {"total_steps": 9, "steps_per_epoch": 3, "num_examples": 24}
    step = SharpnessAwareStep(get_method("saf"), model.named_parameters(), optimizer, **size)

    class Passes:
        def backward(self, batch, sync):
            raise AssertionError

    with pytest.raises(ValueError, match="saf needs passes that can do more, and Passes has no backward_with_extra"):
        step.step([None], Passes())
    with pytest.raises(ValueError, match="got steps_per_epoch=0"):
        SharpnessAwareStep(get_method("mesa"), model.named_parameters(), optimizer, total_steps=9)

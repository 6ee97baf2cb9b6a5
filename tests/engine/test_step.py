"""The engine's own duties: faults, buffers, random numbers, radius, what is left out, hand-made parts."""

import math
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_vasso import Method, SharpnessAwareStep, get_method
from hf_vasso.methods.aesam import WhereSharp
from hf_vasso.methods.base import Descent, Direction, Schedule, by_parameter
from hf_vasso.methods.vasso import MovingAverage
from tests.engine.loops import EPOCH, LossPasses, examples, mean_square, two_layers, weights

VASSO = get_method("vasso", rho=0.2)
SAM = get_method("sam", rho=0.2)


def make(method, model, **engine):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"total_steps": 10} | engine
    return SharpnessAwareStep(method, model.named_parameters(), optimizer, **options)


def average_of(engine):
    return torch.cat([t.flatten() for t in engine.state_dict()["parts"]["direction"]["tensors"].values()])


class FaultyPasses(LossPasses):
    """Does something to the pass of a number, counted from 0."""

    def __init__(self, model, at, fault):
        super().__init__(mean_square(model))
        self.model, self.at, self.fault, self.count = model, at, fault, 0

    def backward(self, batch, sync):
        loss = super().backward(batch, sync)
        self.count += 1
        if self.count - 1 == self.at:
            self.fault(self.model)
        return loss


def poison(model):
    next(model.parameters()).grad.view(-1)[0] = float("nan")


class TestNotFiniteAscent:
    def test_the_first_step_goes_on_unperturbed(self):
        model = two_layers()
        clean = torch.autograd.grad(mean_square(model)(examples(0)), list(model.parameters()))
        engine = make(VASSO, model)
        result = engine.step([examples(0)], FaultyPasses(model, 0, poison), measure=True)
        assert result.skipped and engine.skipped_steps == 1
        assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), clean, strict=True))
        assert engine.state_dict()["parts"]["direction"]["tensors"] == {}

    def test_a_later_step_follows_the_last_average_which_stays(self):
        model = two_layers()
        engine = make(VASSO, model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        average = average_of(engine)
        result = engine.step([examples(1)], FaultyPasses(model, 0, poison), measure=True)
        assert torch.equal(average_of(engine), average)
        start = weights(model)
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(start + 0.2 * average / average.norm(), model.parameters())
        expected = torch.autograd.grad(mean_square(model)(examples(1)), list(model.parameters()))
        for parameter, gradient in zip(model.parameters(), expected, strict=True):
            assert (parameter.grad - gradient).abs().max() < 1e-12
        assert result.perturbation_norm.item() == pytest.approx(0.2)
        assert result.cosine is None

    def test_sam_has_no_last_adversary(self):
        model = two_layers()
        engine = make(SAM, model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        result = engine.step([examples(1)], FaultyPasses(model, 0, poison), measure=True)
        assert result.skipped and result.perturbation_norm is None
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())


class Edge(nn.Module):
    """Sound up to |weight| = 1, and not a number beyond, with a BatchNorm that counts rows and a dropout mask."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([0.9, -0.5], dtype=torch.float64))
        self.norm = nn.BatchNorm1d(2, affine=False).double()
        self.dropout = nn.Dropout(0.5)

    def forward(self, inputs):
        return self.dropout(self.norm(inputs * self.weight + (1 - self.weight.abs()).sqrt()))


class TestNotFiniteAtWPlusEps:
    """Without a scaler the step is that of the base optimizer: never NaN where w was sound."""

    def trained(self, method, steps=3, **options):
        torch.manual_seed(0)
        model = Edge()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        engine = SharpnessAwareStep(
            method, model.named_parameters(), optimizer, total_steps=9, buffers=model.buffers(), **options
        )
        results = []
        for number in range(steps):
            inputs, targets = examples(number)
            results.append(engine.step([(inputs[:, :2], targets[:, :2])], LossPasses(mean_square(model))))
            optimizer.step()
        return model, engine, results

    @pytest.mark.parametrize("name", ["sam", "vasso", "fsam", "sagm", "gsam", "looksam", "vasso-re"])
    def test_the_step_is_the_base_optimizers(self, name):
        """Bit for bit, its dropout masks and what BatchNorm counts included."""
        model, engine, results = self.trained(get_method(name, rho=50.0), steps=1, rho_warmup_steps=0)
        base, _, _ = self.trained(get_method("none"), steps=1)
        assert torch.isfinite(weights(model)).all()
        assert torch.equal(weights(model), weights(base))
        assert torch.equal(model.norm.running_mean, base.norm.running_mean)
        assert torch.equal(model.norm.num_batches_tracked, base.norm.num_batches_tracked)
        assert results[0].skipped_at == "perturbed" and engine.skipped_steps == 1

    @pytest.mark.parametrize("name", ["msam", "vasso-free", "vasso-quarter"])
    def test_where_no_pass_at_w_came_before(self, name):
        model, engine, results = self.trained(get_method(name, rho=50.0), rho_warmup_steps=0)
        assert torch.isfinite(weights(model)).all() and torch.isfinite(model.norm.running_mean).all()
        assert results[-1].skipped_at == "perturbed"
        assert results[-1].loss_at == "clean" and torch.isfinite(results[-1].loss)
        assert model.norm.num_batches_tracked == 3

    def test_state_and_counts(self):
        model = two_layers()
        engine = make(get_method("vasso-free", rho=0.2), model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        average = average_of(engine)
        result = engine.step([examples(1)], FaultyPasses(model, 0, poison))
        assert torch.equal(average_of(engine), average)
        assert (result.skipped_at, engine.skipped_steps, engine.passes) == ("perturbed", 1, 3)

    @pytest.mark.parametrize("name", ["sam", "gsam", "esam", "vasso-esam", "vasso-quarter"])
    def test_a_gradient_alone_is_noticed(self, name):
        """Its loss is finite; the pass after it is made at w, with all examples."""
        model, base = two_layers(), two_layers()
        result = make(get_method(name), model).step([examples(0)], FaultyPasses(model, 1, poison))
        make(get_method("none"), base).step([examples(0)], LossPasses(mean_square(base)))
        assert result.loss.isfinite() and result.skipped_at == "perturbed"
        for ours, theirs in zip(model.parameters(), base.parameters(), strict=True):
            assert torch.equal(ours.grad, theirs.grad)

    def test_where_w_is_not_sound_either(self):
        """As without a perturbation, and without a pass more."""
        model = two_layers()
        engine = make(get_method("sam"), model)

        class Passes(LossPasses):
            def backward(self, batch, sync):
                loss = super().backward(batch, sync)
                poison(model)
                return loss

        result = engine.step([examples(0)], Passes(mean_square(model)))
        assert (result.skipped_at, engine.passes) == ("clean", 2)


@pytest.mark.parametrize("lost", [0, 1])
def test_a_scaler_that_is_switched_off_skips_no_step(lost):
    """As none at all: what is not finite is replaced, at w and at w + eps."""
    model, base = two_layers(), two_layers()
    engine = make(SAM, model, scaler=torch.amp.GradScaler("cpu", enabled=False), rho_warmup_steps=0)
    engine.step([examples(0)], FaultyPasses(model, lost, poison))
    make(get_method("none"), base).step([examples(0)], LossPasses(mean_square(base)))
    assert engine.skipped_steps == 1
    for ours, theirs in zip(model.parameters(), base.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


@pytest.mark.parametrize("fault", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [0, 1, 2, 3])
def test_weights_are_restored_when_a_pass_fails(at, fault):
    def fail(_):
        raise fault("in the middle")

    model = two_layers()
    engine = make(VASSO, model)
    before = weights(model)
    inputs, targets = examples(0)
    with pytest.raises(fault):
        engine.step([(inputs[:4], targets[:4]), (inputs[4:], targets[4:])], FaultyPasses(model, at, fail))
    assert torch.equal(weights(model), before)


class ScaledPasses(LossPasses):
    """Passes under a GradScaler, with an overflow where told."""

    def __init__(self, model, scaler, overflow_at=None):
        super().__init__(mean_square(model))
        self.model, self.scaler, self.overflow_at, self.count = model, scaler, overflow_at, 0

    def backward(self, batch, sync):
        loss = self.loss(batch)
        self.scaler.scale(loss).backward()
        if self.count == self.overflow_at:
            next(self.model.parameters()).grad.view(-1)[0] = float("inf")
        self.count += 1
        return loss.detach()


class TestGradScaler:
    def train(self, method, overflow_at=None, steps=3):
        model = two_layers(torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
        options = EPOCH | {"total_steps": 3, "scaler": scaler}
        engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, **options)
        passes = ScaledPasses(model, scaler, overflow_at)
        for number in range(steps):
            result = engine.step([examples(number, torch.float32)], passes)
            scaler.unscale_(optimizer)
            scaler.step(optimizer)
            scaler.update()
        return model, engine, scaler, result

    @pytest.mark.parametrize("name", ["none", "sam", "asam", "vasso", "fsam", "saf", "mesa"])
    def test_a_power_of_two_changes_no_bit(self, name):
        method = get_method(name)
        model = two_layers(torch.float32)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=3, **EPOCH)
        for number in range(3):
            engine.step([examples(number, torch.float32)], LossPasses(mean_square(model)))
            optimizer.step()
        assert torch.equal(weights(self.train(method)[0]), weights(model))

    def test_overflow_in_the_ascent_skips_the_step_and_leaves_the_average(self):
        model, engine, scaler, result = self.train(VASSO, overflow_at=0, steps=1)
        assert result.skipped and scaler.get_scale() == 2048.0
        assert torch.equal(weights(model), weights(two_layers(torch.float32)))
        assert engine.state_dict()["parts"]["direction"]["tensors"] == {}

    def test_overflow_in_the_descent_skips_the_step(self):
        model, engine, scaler, result = self.train(VASSO, overflow_at=1, steps=1)
        assert result.skipped_at == "perturbed" and scaler.get_scale() == 2048.0
        assert torch.equal(weights(model), weights(two_layers(torch.float32)))
        assert torch.isfinite(average_of(engine)).all()

    @pytest.mark.parametrize("name", ["saf", "mesa"])
    def test_overflow_where_something_is_added_skips_the_step(self, name):
        model, engine, scaler, result = self.train(get_method(name), overflow_at=2)
        assert scaler.get_scale() == 2048.0
        assert torch.equal(weights(model), weights(self.train(get_method(name), steps=2)[0]))


def test_sparse_gradients_are_refused_by_name():
    embedding = nn.Embedding(4, 2, sparse=True)
    engine = make(SAM, embedding)
    with pytest.raises(ValueError, match="the gradient of weight is sparse.*build its embedding with sparse=False"):
        engine.step([torch.tensor([1])], LossPasses(lambda ids: embedding(ids).square().sum()))


class BucketPasses(LossPasses):
    """Leaves gradients as views of one lasting buffer, as DDP does with `gradient_as_bucket_view`."""

    def __init__(self, model):
        super().__init__(mean_square(model))
        self.parameters = list(model.parameters())
        self.bucket = torch.zeros(weights(model).numel(), dtype=torch.float64)

    def backward(self, batch, sync):
        loss = self.loss(batch)
        gradients = torch.autograd.grad(loss, self.parameters)
        self.bucket.copy_(torch.cat([gradient.flatten() for gradient in gradients]))
        parts = self.bucket.split([parameter.numel() for parameter in self.parameters])
        for parameter, part in zip(self.parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        return loss.detach()


class TestLastingBuffers:
    """What is kept from the pass at w must not lie where the next pass writes its gradient."""

    def test_average(self):
        model = two_layers()
        clean = torch.autograd.grad(mean_square(model)(examples(0)), list(model.parameters()))
        engine = make(VASSO, model)
        engine.step([examples(0)], BucketPasses(model))
        assert torch.equal(average_of(engine), torch.cat([gradient.flatten() for gradient in clean]))

    def test_clean_gradient_of_a_descent(self):
        gradients = []
        for passes in (BucketPasses, lambda model: LossPasses(mean_square(model))):
            model = two_layers()
            make(Method(rho=0.2, descent=MeanOfBoth()), model).step([examples(0)], passes(model))
            gradients.append(torch.cat([parameter.grad.flatten() for parameter in model.parameters()]))
        assert (gradients[0] - gradients[1]).abs().max() < 1e-14


class TestBuffers:
    def running_mean(self, method, steps=3):
        model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
        torch.nn.init.eye_(model[0].weight)
        torch.nn.init.zeros_(model[0].bias)
        engine = make(method, model, buffers=model.buffers())
        for number in range(steps):
            engine.step([examples(number)], LossPasses(lambda batch: (model(batch[0]) - batch[1]).square().mean()))
        return model[1]

    def test_batch_norm_counts_a_step_once_and_at_w(self):
        plain, twice = self.running_mean(get_method("none")), self.running_mean(SAM)
        assert twice.num_batches_tracked.item() == 3
        assert torch.equal(twice.running_mean, plain.running_mean)
        assert torch.equal(twice.running_var, plain.running_var)


class Centred(nn.Module):
    """Its outputs depend on a running mean, which each forward pass replaces by another tensor or edits in place."""

    def __init__(self, in_place):
        super().__init__()
        self.net, self.in_place = two_layers(), in_place
        self.register_buffer("mean", torch.zeros(3, dtype=torch.float64))

    def forward(self, inputs):
        outputs = self.net(inputs)
        new = 0.9 * self.mean + outputs.detach().mean(0)
        if self.in_place:
            self.mean.copy_(new)
            self.net.register_buffer("last", new)  # the first time there is one more
        else:
            self.mean = new
        return outputs - self.mean


@pytest.mark.parametrize("in_place", [True, False])
@pytest.mark.parametrize("name", ["sam", "vasso", "vasso-free", "vasso-quarter"])
def test_each_pass_begins_with_the_buffers_of_the_first(name, in_place):
    """So rho 0 is the base optimizer, and the buffers count a step once, for a model that depends on them, too."""
    trained = []
    for method in (get_method(name, rho=0.0), get_method("none")):
        model = Centred(in_place)
        engine = make(method, model, buffers=model.buffers)
        for number in range(3):
            inputs, targets = examples(number)
            batches = list(zip(inputs.chunk(2), targets.chunk(2), strict=True))
            engine.step(batches, LossPasses(mean_square(model), micro_batches=2))
            engine.optimizer.step()
        trained.append([model.mean, *model.parameters()])
    assert all(torch.equal(ours, base) for ours, base in zip(*trained, strict=True))


class DropoutPasses(LossPasses):
    """Keeps the dropout mask of each pass."""

    def __init__(self, model):
        super().__init__(lambda batch: (model(batch[0]) * self.mask()).square().mean())
        self.masks = []

    def mask(self):
        self.masks.append(torch.nn.functional.dropout(torch.ones(8, 3, dtype=torch.float64), 0.5))
        return self.masks[-1]


class TestRandomNumbers:
    def masks(self, method, steps=2, **engine):
        torch.manual_seed(7)
        model = two_layers()
        step = make(method, model, **engine)
        passes = DropoutPasses(model)
        for number in range(steps):
            step.step([examples(number)], passes)
        return passes.masks

    def test_both_passes_see_the_same_mask_and_the_stream_goes_on_as_without(self):
        stock = self.masks(get_method("none"))
        masks = self.masks(VASSO)
        for number in range(2):
            assert torch.equal(masks[2 * number], stock[number])
            assert torch.equal(masks[2 * number + 1], stock[number])

    def test_without_same_dropout_the_update_takes_the_stock_stream(self):
        stock = self.masks(get_method("none"))
        masks = self.masks(VASSO, same_dropout=False)
        for number in range(2):
            assert not torch.equal(masks[2 * number], stock[number])
            assert torch.equal(masks[2 * number + 1], stock[number])
        assert not torch.equal(masks[0], masks[2])

    def test_a_schedule_that_decides_late_gives_the_stock_stream_to_the_clean_pass(self):
        stock = self.masks(get_method("none"))
        masks = self.masks(Method(schedule=EverySecondDecidedLate(), rho=0.2), same_dropout=False)
        assert len(masks) == 3
        assert torch.equal(masks[0], stock[0]) and not torch.equal(masks[1], stock[0])
        assert torch.equal(masks[2], stock[1])


class TestRadius:
    def norms(self, steps=6, lr_lambda=None, **engine):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_lambda or (lambda step: 1.0))
        step = SharpnessAwareStep(SAM, model.named_parameters(), optimizer, total_steps=steps, **engine)
        found = []
        for number in range(steps):
            result = step.step([examples(number)], LossPasses(mean_square(model)), measure=True)
            found.append(result.perturbation_norm.item() / 0.2)
            optimizer.step()
            scheduler.step()
        return pytest.approx(found, abs=1e-9)

    def test_warm_up_in_steps_and_as_a_share(self):
        expected = [0, 1 / 3, 2 / 3, 1, 1, 1]
        assert expected == self.norms(rho_warmup_steps=3)
        assert expected == self.norms(rho_warmup_steps=0.5)

    def test_linear_after_the_warm_up(self):
        assert [0, 0.5, 1, 0.75, 0.5, 0.25] == self.norms(rho_warmup_steps=2, rho_scheduler_type="linear")

    def test_cosine(self):
        expected = [1, (1 + 3**0.5 / 2) / 2, 0.75, 0.5, 0.25, (1 - 3**0.5 / 2) / 2]
        assert expected == self.norms(rho_scheduler_type="cosine")

    def test_with_the_learning_rate(self):
        expected = [1, 0.8, 0.6, 0.4, 0.2, 0.0]
        assert expected == self.norms(rho_scheduler_type="learning_rate", lr_lambda=lambda step: 1 - step / 5)

    def test_with_a_learning_rate_that_climbs_to_its_peak(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        engine = SharpnessAwareStep(
            get_method("gsam", rho=0.5, rho_min=0.1), model.named_parameters(), optimizer, total_steps=10
        )
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.2, total_steps=10)
        for step in range(9):
            rate = scheduler.get_last_lr()[0]
            result = engine.step([examples(step)], LossPasses(mean_square(model)), measure=True)
            assert result.perturbation_norm.item() == pytest.approx(0.1 + 0.4 * rate / 0.2)
            optimizer.step()
            scheduler.step()

    def test_with_a_learning_rate_that_no_curve_sets(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        step = SharpnessAwareStep(
            SAM, model.named_parameters(), optimizer, total_steps=2, rho_scheduler_type="learning_rate"
        )
        optimizer.param_groups[0]["lr"] = 0.002  # as a scheduler for plateaus does
        result = step.step([examples(0)], LossPasses(mean_square(model)), measure=True)
        assert result.perturbation_norm.item() == pytest.approx(0.2 * 0.2)

    @pytest.mark.parametrize(
        ("numbers", "words"),
        [
            ({"rho_warmup_steps": 2.5}, "rho_warmup_steps must be a whole number of steps or a share of them below 1"),
            (
                {"rho_warmup_steps": -1},
                "rho_warmup_steps is a count of steps or a share of them and must be at least 0",
            ),
            ({"rho_scheduler_type": "linaer"}, "unknown rho_scheduler_type 'linaer', did you mean 'linear'?"),
            ({"rho_warmup_steps": 0.1, "total_steps": 0}, "needs the number of steps, got total_steps=0"),
        ],
    )
    def test_refusals(self, numbers, words):
        with pytest.raises(ValueError) as refusal:
            make(SAM, two_layers(), **numbers)
        assert words in str(refusal.value)


class TestNoPerturb:
    def test_what_matches_is_trained_and_not_perturbed(self):
        model = two_layers()
        engine = make(VASSO, model, no_perturb="^0|bias")
        seen = []
        passes = LossPasses(lambda batch: (seen.append(weights(model)), mean_square(model)(batch))[1])
        result = engine.step([examples(0)], passes, measure=True)
        moved = torch.nn.utils.parameters_to_vector(
            [p for n, p in model.named_parameters() if n == "2.weight"]
        ).numel()
        assert (seen[0] != seen[1]).sum().item() == moved
        assert result.perturbation_norm.item() == pytest.approx(0.2)
        assert list(engine.state_dict()["parts"]["direction"]["tensors"]) == ["2.weight"]
        assert all(parameter.grad is not None for parameter in model.parameters())

    def test_a_step_without_a_gradient_to_perturb_goes_on(self):
        model = two_layers()
        engine = make(VASSO, model, no_perturb="^0")
        result = engine.step([None], LossPasses(lambda _: model[0].weight.square().sum()), measure=True)
        assert (result.skipped, result.perturbation_norm) == (False, None)
        assert torch.equal(model[0].weight.grad, 2 * model[0].weight)

    @pytest.mark.parametrize(
        ("pattern", "words"),
        [
            ("(", "no_perturb must be a regular expression, got '('"),
            (
                "LayerNorm",
                "no_perturb matches no parameter, got 'LayerNorm'; the names look like 0.weight",
            ),
            (".", "no_perturb matches every trainable parameter, got '.'"),
        ],
    )
    def test_refusals(self, pattern, words):
        with pytest.raises(ValueError) as refusal:
            make(SAM, two_layers(), no_perturb=pattern)
        assert words in str(refusal.value)


@dataclass(frozen=True)
class MeanOfBoth(Descent):
    def combine(self, context, state, clean, perturbed):
        return [(c + p) / 2 for c, p in zip(clean, perturbed, strict=True)]


@dataclass(frozen=True)
class FirstStepOnly(Schedule):
    """Both passes at the first step, then the kind it is given."""

    then: str

    def before(self, context, state):
        return self.then if context.step else "both"


@dataclass(frozen=True)
class EverySecondDecidedLate(Schedule):
    def before(self, context, state):
        return "both"

    def after(self, context, state, norm):
        assert isinstance(norm, float)
        return "clean" if context.step % 2 else "both"


@dataclass(frozen=True)
class FedByDescents(Direction):
    """Keeps the last gradient at w + eps, and follows it."""

    def update(self, context, state, gradient):
        return gradient

    def after(self, context, state, gradient):
        by_parameter(state).update(zip(context.names, [g.clone() for g in gradient], strict=True))

    def reuse(self, context, state):
        return [by_parameter(state)[name] for name in context.names] if by_parameter(state) else None


class TestHandMadeParts:
    def test_descent_from_both_gradients(self):
        model = two_layers()
        engine = make(Method(rho=0.2, descent=MeanOfBoth()), model)
        clean = torch.autograd.grad(mean_square(model)(examples(0)), list(model.parameters()))
        engine.step([examples(0)], LossPasses(mean_square(model)))
        both = [parameter.grad.clone() for parameter in model.parameters()]
        make(SAM, model).step([examples(0)], LossPasses(mean_square(model)))
        for mean, c, parameter in zip(both, clean, model.parameters(), strict=True):
            assert (mean - (c + parameter.grad) / 2).abs().max() < 1e-14

    @pytest.mark.parametrize("scale", [1.0, 256.0])
    def test_descent_under_a_scaler_sees_unscaled_gradients(self, scale):
        model = two_layers(torch.float32)
        scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        engine = make(Method(rho=0.2, descent=MeanOfBoth()), model, scaler=scaler)
        engine.step([examples(0, torch.float32)], ScaledPasses(model, scaler))
        gradient = torch.cat([parameter.grad.flatten() for parameter in model.parameters()]) / scale
        reference = two_layers(torch.float32)
        make(Method(rho=0.2, descent=MeanOfBoth()), reference).step(
            [examples(0, torch.float32)], LossPasses(mean_square(reference))
        )
        assert torch.equal(gradient, torch.cat([parameter.grad.flatten() for parameter in reference.parameters()]))

    def test_descent_of_a_skipped_step_sees_no_clean_gradient(self):
        model = two_layers()
        engine = make(Method(rho=0.2, descent=MeanOfBoth()), model)
        engine.step([examples(0)], FaultyPasses(model, 0, poison))
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())

    def test_clean_steps_feed_the_average(self):
        model = two_layers()
        engine = make(Method(MovingAverage(0.5), schedule=FirstStepOnly("clean"), rho=0.2), model)
        expected = None
        for number in range(3):
            g = torch.cat(
                [
                    g.flatten()
                    for g in torch.autograd.grad(mean_square(model)(examples(number)), list(model.parameters()))
                ]
            )
            expected = g if expected is None else 0.5 * expected + 0.5 * g
            result = engine.step([examples(number)], LossPasses(mean_square(model)))
        assert (average_of(engine) - expected).abs().max() < 1e-14
        assert engine.passes == 4 and result.gap is None

    def test_perturbed_steps_reuse_the_average(self):
        model = two_layers()
        engine = make(Method(MovingAverage(0.5), schedule=FirstStepOnly("perturbed"), rho=0.2), model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        average = average_of(engine)
        result = engine.step([examples(1)], LossPasses(mean_square(model)), measure=True)
        assert (result.loss_at, result.gap, result.cosine) == ("perturbed", None, None)
        assert result.perturbation_norm.item() == pytest.approx(0.2)
        assert torch.equal(average_of(engine), average) and engine.passes == 3

    def test_a_direction_fed_by_descents_alone(self):
        model = two_layers()
        method = Method(FedByDescents(), schedule=FirstStepOnly("perturbed"), rho=0.2)
        engine = make(method, model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        assert torch.equal(average_of(engine), torch.cat([p.grad.flatten() for p in model.parameters()]))
        engine.step([examples(1)], FaultyPasses(model, 0, poison))
        assert torch.isfinite(average_of(engine)).all()


class TestState:
    def test_another_direction_starts_afresh_and_says_so(self, caplog):
        model = two_layers()
        engine = make(get_method("fsam"), model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        other = make(VASSO, model)
        other.load_state_dict(engine.state_dict())
        assert "The saved direction is GradientMinusAverage, the method's is MovingAverage" in caplog.text
        assert other.state_dict()["parts"]["direction"]["tensors"] == {}
        assert other.steps == 1

    def test_another_models_state_is_refused(self):
        model = two_layers()
        engine = make(VASSO, model)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        words = r"the saved direction does not fit the parameters of the model \(0.weight, 0.bias, 2.weight\)"
        for other in (nn.Linear(2, 2), nn.Sequential(nn.Linear(4, 7), nn.Tanh(), nn.Linear(7, 3))):
            with pytest.raises(ValueError, match=words):
                make(VASSO, other).load_state_dict(engine.state_dict())

    def test_a_file_of_it_loads_without_code(self, tmp_path):
        model = two_layers()
        engine = make(VASSO, model, same_dropout=False)
        engine.step([examples(0)], LossPasses(mean_square(model)))
        torch.save(engine.state_dict(), tmp_path / "state.pt")
        loaded = torch.load(tmp_path / "state.pt", weights_only=True)
        assert loaded["steps"] == 1 and loaded["passes"] == 2
        assert torch.equal(loaded["generator"], engine.state_dict()["generator"])


class TestTheFamily:
    """What single methods once got wrong."""

    def test_aesam_ascends_at_the_first_step_whatever_the_norm(self):
        schedule = get_method("aesam", delta=0.7).schedule
        context = SimpleNamespace(step=0, total_steps=10)
        norms = torch.rand(2000, generator=torch.Generator().manual_seed(0)).tolist()
        assert {schedule.after(context, {}, norm) for norm in norms} == {"both"}

    @pytest.mark.parametrize("name", ["gsam", "sagm", "looksam"])
    def test_a_bad_gradient_outside_the_perturbation_spoils_its_step_alone(self, name):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        method = get_method(name, rho=0.2)
        engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=9, no_perturb="0.bias")

        class Passes(LossPasses):
            def backward(self, batch, sync):
                loss = super().backward(batch, sync)
                if len(self.syncs) == 1:
                    model[0].bias.grad[0] = math.nan
                return loss

        result = engine.step([examples(0)], Passes(mean_square(model)))
        assert result.skipped
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())
        assert not engine.step([examples(1)], LossPasses(mean_square(model))).skipped
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())

    def test_looksam_keeps_nothing_that_is_not_finite(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = SharpnessAwareStep(get_method("looksam", k=2), model.named_parameters(), optimizer, total_steps=9)

        class Passes(LossPasses):
            def backward(self, batch, sync):
                loss = super().backward(batch, sync)
                if len(self.syncs) == 2:
                    model[0].weight.grad[0] = math.inf
                return loss

        engine.step([examples(0)], Passes(mean_square(model)))
        engine.step([examples(1)], LossPasses(mean_square(model)))
        assert all(torch.isfinite(parameter.grad).all() for parameter in model.parameters())

    def test_a_share_that_is_not_finite_is_counted_and_said(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = SharpnessAwareStep(get_method("vasso-quarter"), model.named_parameters(), optimizer, total_steps=9)
        inputs, targets = examples(0)
        inputs[0] = math.nan  # one of the first quarter, so the pass at w + eps is lost as well
        assert engine.step([(inputs, targets)], LossPasses(mean_square(model))).skipped
        assert engine.skipped_steps == 1

    def test_momentum_is_widened(self):
        model = two_layers(torch.bfloat16)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        engine = SharpnessAwareStep(get_method("msam", rho=0.5), model.named_parameters(), optimizer, total_steps=9)
        for step in range(2):
            result = engine.step([examples(step, torch.bfloat16)], LossPasses(mean_square(model)), measure=True)
            optimizer.step()
        assert result.perturbation_norm.dtype == torch.float32
        assert result.perturbation_norm.item() == pytest.approx(0.5, rel=1e-5)

    def test_msam_needs_a_momentum(self):
        for kind, steps_before in (
            (torch.optim.SGD, 0),
            (torch.optim.Adagrad, 0),
            (torch.optim.Adadelta, 1),
        ):
            model = two_layers()
            optimizer = kind(model.parameters(), lr=0.1)
            engine = SharpnessAwareStep(
                get_method("msam", rho=0.5), model.named_parameters(), optimizer, total_steps=9
            )
            for step in range(steps_before):
                engine.step([examples(step)], LossPasses(mean_square(model)))
                optimizer.step()
            with pytest.raises(ValueError, match=f"and {kind.__name__} keeps neither exp_avg nor"):
                engine.step([examples(steps_before)], LossPasses(mean_square(model)))

    def test_msam_goes_on_where_all_that_is_trained_is_new_to_the_optimizer(self):
        """As after the switch from one adapter to another: there is a momentum, but not yet of these."""
        trained = []
        for method in (get_method("msam", rho=0.5), get_method("none")):
            model = two_layers()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            engine = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=0)
            for number in range(2):
                model[0].requires_grad_(number == 0)
                model[2].requires_grad_(number == 1)
                engine.step([examples(number)], LossPasses(mean_square(model)))
                optimizer.step()
            trained.append(weights(model))
        assert torch.equal(*trained)

    @pytest.mark.parametrize(("of_groups", "default"), [((0.9, 0.5), 0.0), ((0.0, 0.0), 0.9)])
    def test_msam_reads_the_momentum_of_the_groups(self, of_groups, default):
        model = two_layers()
        groups = [
            {"params": layer.parameters(), "momentum": momentum}
            for layer, momentum in zip((model[0], model[2]), of_groups, strict=True)
        ]
        optimizer = torch.optim.SGD(groups, lr=0.1, momentum=default)
        engine = SharpnessAwareStep(get_method("msam", rho=0.5), model.named_parameters(), optimizer, total_steps=9)
        if not any(of_groups):
            with pytest.raises(ValueError, match="and SGD keeps neither exp_avg nor"):
                engine.step([examples(0)], LossPasses(mean_square(model)))
            return
        for step in range(2):
            result = engine.step([examples(step)], LossPasses(mean_square(model)), measure=True)
            optimizer.step()
        assert result.perturbation_norm.item() == pytest.approx(0.5)

    def test_msam_refuses_a_projected_momentum(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        engine = SharpnessAwareStep(get_method("msam", rho=0.5), model.named_parameters(), optimizer, total_steps=9)
        optimizer.state[model[0].weight]["exp_avg"] = torch.zeros(2, 4)  # of low rank, as GaLore keeps it
        with pytest.raises(ValueError, match=r"SGD keeps a momentum of shape \(2, 4\) for weights of shape \(6, 4\)"):
            engine.step([examples(0)], LossPasses(mean_square(model)))

    @pytest.mark.parametrize("numbers", [{"k": 5}, {"p": 0.0}], ids=str)
    def test_vasso_re_ascends_as_long_as_there_is_no_adversary(self, numbers):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = SharpnessAwareStep(
            get_method("vasso-re", **numbers), model.named_parameters(), optimizer, total_steps=9
        )
        lost = LossPasses(lambda batch: mean_square(model)(batch) * math.nan)
        assert engine.step([examples(0)], lost).skipped
        passes = []
        for step in range(1, 4):
            before = engine.passes
            engine.step([examples(step)], LossPasses(mean_square(model)))
            passes.append(engine.passes - before)
        assert passes == [2, 1, 1]

    def test_aesam_decides_by_the_whole_gradient(self, monkeypatch):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        norms = []
        monkeypatch.setattr(WhereSharp, "after", lambda self, context, state, norm: norms.append(norm) or "clean")
        engine = SharpnessAwareStep(
            get_method("aesam"), model.named_parameters(), optimizer, total_steps=9, no_perturb="^0"
        )
        engine.step([examples(0)], LossPasses(mean_square(model)))
        gradients = torch.autograd.grad(mean_square(model)(examples(0)), list(model.parameters()))
        assert norms == [pytest.approx(torch.cat([g.flatten() for g in gradients]).norm().item())]

    def test_rho_of_gsam_grows_from_0_in_a_warm_up(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        engine = SharpnessAwareStep(
            get_method("gsam", rho=0.4), model.named_parameters(), optimizer, total_steps=9, rho_warmup_steps=4
        )
        norms = [
            engine.step([examples(step)], LossPasses(mean_square(model)), measure=True).perturbation_norm.item()
            for step in range(5)
        ]
        assert norms == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])

    def test_passes_that_cannot_take_shares_are_refused(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        for name, lacks in (
            ("vasso-quarter", "count_examples, take"),
            ("esam", "backward_with_losses, count_examples"),
        ):
            engine = SharpnessAwareStep(get_method(name), model.named_parameters(), optimizer, total_steps=9)
            plain = SimpleNamespace(backward=None)
            with pytest.raises(ValueError, match=f"{name} needs passes that can do more, and .* has no {lacks}"):
                engine.step([examples(0)], plain)

    def test_aesam_needs_the_number_of_steps(self):
        model = two_layers()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        with pytest.raises(ValueError, match="got total_steps=0"):
            SharpnessAwareStep(get_method("aesam"), model.named_parameters(), optimizer, total_steps=0)


class TestLocalAscents:
    @pytest.mark.parametrize(
        ("name", "numbers", "syncs"),
        [
            ("vasso", {}, [False, False, False, True] * 2),
            ("vasso", {"ascent_every": 2}, [False, False, False, True] + [False, True]),
            ("esam", {}, [False, False, False, True] * 2),
            ("vasso-quarter", {}, [False, False, True] * 2),
            ("msam", {}, [False, True] * 2),
            ("none", {}, [False, True] * 2),
        ],
    )
    def test_what_gives_the_update_is_averaged(self, name, numbers, syncs):
        trained = []
        for ascent_sync in (False, True):
            model = two_layers()
            optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
            engine = SharpnessAwareStep(
                get_method(name, **numbers),
                model.named_parameters(),
                optimizer,
                total_steps=2,
                ascent_sync=ascent_sync,
            )
            passes = LossPasses(mean_square(model), micro_batches=2)
            for step in range(2):
                inputs, targets = examples(step)
                engine.step(list(zip(inputs.chunk(2), targets.chunk(2), strict=True)), passes)
                optimizer.step()
            trained.append((weights(model), passes.syncs))
        assert trained[0][1] == syncs
        assert torch.equal(trained[0][0], trained[1][0])  # one rank is all ranks

    @pytest.mark.parametrize("name", ["sam", "vasso", "vasso-quarter", "esam"])
    def test_ranks_take_part_in_the_same_passes_where_one_has_lost_its_ascent(self, name):
        """The gradient at w + eps is averaged, so both have lost that one; a share is taken by both or by none."""
        made = []
        for lost in ({0, 1}, {1}):
            model = two_layers()

            class Passes(LossPasses):
                taken = 0

                def backward(self, batch, sync, model=model, lost=lost):
                    loss = super().backward(batch, sync)
                    if len(self.syncs) - 1 in lost:
                        poison(model)
                    return loss

                def take(self, batches, rows):
                    self.taken += 1
                    return super().take(batches, rows)

            passes = Passes(mean_square(model))
            make(get_method(name), model, ascent_sync=False).step([examples(0)], passes)
            made.append((passes.syncs, passes.taken))
        assert made[0] == made[1]

    @pytest.mark.parametrize(
        ("name", "words"),
        [
            ("aesam", "WhereSharp decides by the one of all ranks"),
            ("sagm", "MeanOfBoth makes the update of the one of all ranks"),
        ],
    )
    def test_methods_that_need_one_gradient_at_w_for_all_ranks(self, name, words):
        with pytest.raises(ValueError, match=f"gives each rank a gradient at w of its own, and {words}: leave it out"):
            make(get_method(name), two_layers(), ascent_sync=False)

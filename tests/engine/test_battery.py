"""Every method through the same checks; a new method is in them as soon as it is in `METHODS`."""

import copy

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from hf_vasso import METHODS, SharpnessAwareStep, get_method
from hf_vasso.engine.tensors import norm
from hf_vasso.methods.asam import AdaptiveBall
from hf_vasso.methods.base import BatchGradient
from hf_vasso.methods.esam import RandomSubset
from hf_vasso.methods.sagm import ShiftedBall
from tests.engine.loops import EPOCH, STEPWISE, LossPasses, examples, mean_square, preset, two_layers, weights

RHO = 0.3

# What of a perturbation is rho, from geometry, eps, weights and clean gradient; for those not named its norm.
SIZES = {
    AdaptiveBall: lambda geometry, eps, w, g: length(
        [e / (p.abs() + geometry.eta) if p.dim() > 1 else e for e, p in zip(eps, w, strict=True)]
    ),
    ShiftedBall: lambda geometry, eps, w, g: length(torch._foreach_add(eps, g, alpha=geometry.alpha)),
    RandomSubset: lambda geometry, eps, w, g: geometry.beta * length(eps),
}
PERTURBING = [name for name in STEPWISE if name != "none"]


def make(name, model, rho=RHO, **engine):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine = EPOCH | {"total_steps": 10} | engine
    return SharpnessAwareStep(preset(name, rho), model.named_parameters(), optimizer, **engine), optimizer


def length(vector):
    return torch.cat([tensor.flatten() for tensor in vector]).norm().item()


class Watch(LossPasses):
    """Passes that remember the weights they saw."""

    def __init__(self, model, loss):
        super().__init__(loss)
        self.model, self.seen = model, []

    def backward(self, batch, sync):
        self.seen.append([parameter.detach().clone() for parameter in self.model.parameters()])
        return super().backward(batch, sync)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", METHODS)
def test_weights_come_back_bit_for_bit_and_dtypes_stay(name, dtype):
    model = two_layers(dtype)
    engine, optimizer = make(name, model)
    for number in range(3):
        before = weights(model)
        engine.step([examples(number, dtype)], LossPasses(mean_square(model)))
        assert torch.equal(weights(model), before)
        assert all(parameter.grad.dtype == dtype for parameter in model.parameters())
        optimizer.step()
    assert all(parameter.dtype == dtype for parameter in model.parameters())
    kept = [tensor for part in engine.state_dict()["parts"].values() for tensor in part["tensors"].values()]
    assert all(tensor.dtype == torch.promote_types(dtype, torch.float32) for tensor in kept)


@pytest.mark.parametrize("name", PERTURBING)
def test_perturbation_has_the_size_that_its_geometry_promises(name):
    model = two_layers()
    engine, optimizer = make(name, model)
    perturbed_steps = 0
    for number in range(10):
        passes = Watch(model, mean_square(model))
        clean = [parameter.detach().clone() for parameter in model.parameters()]
        gradient = torch.autograd.grad(mean_square(model)(examples(number)), list(model.parameters()))
        result = engine.step([examples(number)], passes, measure=True)
        eps = [there - here for here, there in zip(clean, passes.seen[-1], strict=True)]
        if length(eps) > 0:
            perturbed_steps += 1
            assert result.perturbation_norm.item() == pytest.approx(length(eps), rel=1e-9)
            geometry = engine.method.geometry
            size = SIZES.get(type(geometry), lambda geometry, eps, w, g: length(eps))
            assert size(geometry, eps, clean, gradient) == pytest.approx(RHO, rel=1e-9)
        optimizer.step()
    assert perturbed_steps >= 2


@pytest.mark.parametrize("name", PERTURBING)
def test_measured_cosine_is_that_of_the_perturbation_and_the_clean_gradient(name):
    model = two_layers()
    engine, optimizer = make(name, model)
    cosines = []
    for number in range(10):
        gradient = torch.autograd.grad(mean_square(model)(examples(number)), list(model.parameters()))
        passes = Watch(model, mean_square(model))
        result = engine.step([examples(number)], passes, measure=True)
        if result.cosine is not None and engine.method.ascent_fraction == 1:
            eps = torch.cat([(there - here).flatten() for here, there in zip(*passes.seen, strict=True)])
            clean = torch.cat([g.flatten() for g in gradient])
            expected = torch.nn.functional.cosine_similarity(eps, clean, dim=0)
            assert result.cosine.item() == pytest.approx(expected.item(), abs=1e-9)
            cosines.append(result.cosine.item())
        optimizer.step()
    on_a_ball = not isinstance(engine.method.geometry, AdaptiveBall | RandomSubset)
    follows_the_batch = isinstance(engine.method.direction, BatchGradient) and on_a_ball
    assert not cosines or follows_the_batch == (min(cosines) > 0.999)


@pytest.mark.parametrize("name", STEPWISE)
def test_zero_gradient_is_safe(name):
    model = two_layers()
    engine, _ = make(name, model)
    result = engine.step([None], LossPasses(lambda _: sum(p.sum() * 0 for p in model.parameters())), measure=True)
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in model.parameters())
    assert not result.skipped


@pytest.mark.parametrize("name", METHODS)
def test_one_trainable_parameter(name):
    model = two_layers()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    model[2].bias.requires_grad_(False)
    engine, optimizer = make(name, model)
    moved = set()
    for number in range(4):
        before = [parameter.detach().clone() for parameter in model.parameters()]
        passes = Watch(model, mean_square(model))
        engine.step([examples(number)], passes)
        moved |= {i for i, (a, b) in enumerate(zip(before, passes.seen[-1], strict=True)) if not torch.equal(a, b)}
        assert [parameter.grad is None for parameter in model.parameters()] == [True, True, False, True]
        optimizer.step()
    assert moved == ({2} if engine.method.schedule.perturbs else set())


@pytest.mark.parametrize("name", STEPWISE)
def test_a_tensor_without_a_gradient_is_left_alone_and_its_state_kept(name):
    model = nn.ModuleDict({"left": nn.Linear(2, 1), "right": nn.Linear(2, 1)}).double()
    inputs = torch.tensor([[1.0, 2.0]], dtype=torch.float64)
    both = lambda _: (model["left"](inputs) + model["right"](inputs)).sum().square()  # noqa: E731
    left_only = lambda _: model["left"](inputs).sum().square()  # noqa: E731
    engine, optimizer = make(name, model)
    engine.step([None], LossPasses(both))
    optimizer.step()
    before = copy.deepcopy(engine.state_dict()["parts"]["direction"]["tensors"])
    passes = Watch(model, left_only)
    engine.step([None], passes)
    for (parameter_name, parameter), here, there in zip(
        model.named_parameters(), passes.seen[0], passes.seen[-1], strict=True
    ):
        if parameter_name.startswith("right"):
            assert parameter.grad is None
            # What is perturbed without a gradient at w does not know which tensors will have none.
            assert torch.equal(here, there) or engine.method.schedule.reuses
            if before:
                after = engine.state_dict()["parts"]["direction"]["tensors"]
                assert torch.equal(after[parameter_name], before[parameter_name])


@pytest.mark.parametrize("name", STEPWISE)
def test_tied_weights_are_perturbed_once(name):
    model = nn.ModuleDict({"encoder": nn.Linear(3, 3, bias=False), "decoder": nn.Linear(3, 3, bias=False)}).double()
    model["decoder"].weight = model["encoder"].weight
    inputs = torch.eye(3, dtype=torch.float64)
    passes = Watch(model, lambda _: model["decoder"](model["encoder"](inputs)).square().sum())
    engine, optimizer = make(name, model)
    if engine.method.passes == "1":  # such a method needs a step before the first perturbation
        engine.step([None], passes)
        optimizer.step()
    before = model["encoder"].weight.detach().clone()
    result = engine.step([None], passes, measure=True)
    assert len(passes.seen[0]) == 1
    if result.perturbation_norm is not None:
        moved = (passes.seen[-1][0] - before).norm().item()
        assert moved == pytest.approx(result.perturbation_norm.item())


@pytest.mark.parametrize("name", [name for name in METHODS if get_method(name).selection is None])
def test_micro_batches_make_one_step(name):
    found, passes_made = [], []
    for parts in (1, 4):
        model = two_layers()
        engine, optimizer = make(name, model)
        for number in range(6):
            inputs, targets = examples(number)
            passes = LossPasses(mean_square(model), micro_batches=parts)
            engine.step(list(zip(inputs.chunk(parts), targets.chunk(parts), strict=True)), passes)
            optimizer.step()
            sweeps = passes.syncs.count(True)  # one reduction each, in its last micro-batch
            assert passes.syncs[-1] and len(passes.syncs) <= parts * sweeps
        found.append(weights(model))
        passes_made.append(engine.passes / parts)
    assert (found[0] - found[1]).abs().max() < 1e-12  # the order of a sum
    assert passes_made[0] == pytest.approx(passes_made[1])


@pytest.mark.parametrize("name", METHODS)
def test_as_many_passes_are_made_as_the_method_says(name):
    """Counted by the model's own hooks, in examples."""
    model = two_layers()
    engine, optimizer = make(name, model)
    forward, backward = [], []
    model.register_forward_hook(lambda _, inputs, output: forward.append(len(output) * torch.is_grad_enabled()))
    model[2].register_full_backward_hook(lambda *gradients: backward.append(len(gradients[2][0])))
    steps = 60
    for step in range(steps):
        engine.step([examples(step)], LossPasses(mean_square(model)))
        optimizer.step()
    per_step = sum(forward) / len(examples(0)[0]) / steps
    assert sum(backward) == sum(forward)
    assert engine.passes / steps == pytest.approx(per_step)
    alone = engine.method.mean_forward_passes - engine.method.mean_passes
    not_yet = getattr(engine.method.extra_loss, "start", 0) * EPOCH["steps_per_epoch"]
    assert engine.forward_passes_alone == alone * (steps - not_yet)
    if "share" in engine.method.passes:
        assert 1 < per_step < engine.method.mean_passes == 2
    else:
        chance = 0.2 if "p" in engine.method.numbers else 0.0  # three standard deviations of 60 coins
        assert per_step == pytest.approx(engine.method.mean_passes, abs=chance + 1e-9)


class NamedAsInAState(nn.Module):
    """Its parameters are named like what AE-SAM and SAF keep."""

    def __init__(self):
        super().__init__()
        self.mean = nn.Parameter(torch.ones(4, 3, dtype=torch.float64))
        self.variance = nn.Parameter(torch.ones(3, dtype=torch.float64))
        self.logits = nn.Parameter(torch.ones(3, dtype=torch.float64))

    def forward(self, inputs):
        return torch.tanh(inputs @ self.mean + self.variance) * self.logits


@pytest.mark.parametrize("build", [two_layers, NamedAsInAState])
@pytest.mark.parametrize("name", METHODS)
def test_saved_and_loaded_equals_straight(name, build):
    straight, resumed = build(), build()
    engine, optimizer = make(name, straight)
    other, other_optimizer = make(name, resumed)
    for number in range(6):
        engine.step([examples(number)], LossPasses(mean_square(straight)))
        optimizer.step()
        if number == 3:
            state = copy.deepcopy(other.state_dict())
            optimizer_state = copy.deepcopy(other_optimizer.state_dict())
            other, other_optimizer = make(name, resumed)
            other.load_state_dict(state)
            other_optimizer.load_state_dict(optimizer_state)
        other.step([examples(number)], LossPasses(mean_square(resumed)))
        other_optimizer.step()
    assert torch.equal(weights(straight), weights(resumed))
    assert (other.steps, other.passes) == (engine.steps, engine.passes)


@pytest.mark.parametrize("name", METHODS)
def test_at_most_one_wait_for_the_device_in_each_pass(name, monkeypatch):
    """Whether the gradient is finite; a clean pass alone that feeds nothing does not ask."""
    # On the CPU reading a number costs nothing, and add_scaled_ does so; here it takes the road of an accelerator.
    monkeypatch.setattr(
        "hf_vasso.engine.tensors.add_scaled_",
        lambda targets, tensors, scale: torch._foreach_add_(targets, torch._foreach_mul(tensors, scale)),
    )
    model = two_layers()
    engine, optimizer = make(name, model)
    for number in range(2):
        with CountReads() as reads:
            engine.step([examples(number)], passes := LossPasses(mean_square(model)))
        optimizer.step()
        assert reads.count <= len(passes.syncs) + ("looksam" in name)  # it also looks at what it keeps, at an ascent
        assert reads.count == 2 or engine.method.passes != "2"


class CountReads(TorchDispatchMode):
    """Counts the numbers that Python reads out of tensors that may lie on a device."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.drawn = []  # by the engine's own generator, which lies on the CPU: reading these costs nothing

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if (kwargs or {}).get("generator") is not None:
            self.drawn.append(result)
        if func is torch.ops.aten._local_scalar_dense.default:
            self.count += not any(args[0].data_ptr() == number.data_ptr() for number in self.drawn)
        return result


def scaled(model, scaler, fault=1.0):
    """Passes under a GradScaler; an infinite fault lets the gradients overflow."""
    return LossPasses(lambda batch: scaler.scale(mean_square(model)(batch)) * fault)


@pytest.mark.parametrize("name", STEPWISE)
def test_a_scaled_loss_changes_no_bit(name):
    """The scale is a power of two, and grows on the way: what is kept between steps must be kept without it."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4096.0, growth_interval=2)
    plain, under_scaler = two_layers(torch.float32), two_layers(torch.float32)
    engine, optimizer = make(name, plain)
    other, other_optimizer = make(name, under_scaler, scaler=scaler)
    for number in range(8):
        engine.step([examples(number, torch.float32)], LossPasses(mean_square(plain)))
        optimizer.step()
        other.step([examples(number, torch.float32)], scaled(under_scaler, scaler))
        scaler.step(other_optimizer)
        scaler.update()
    assert scaler.get_scale() == 4096.0 * 2**4
    assert torch.equal(weights(plain), weights(under_scaler))
    assert other.passes == engine.passes


def kept(engine):
    """What the parts keep between steps, by question and name."""
    parts = engine.state_dict()["parts"]
    return {
        (question, name): torch.as_tensor(value)
        for question, part in parts.items()
        for name, value in (part["tensors"] | part["others"]).items()
    }


@pytest.mark.parametrize("name", STEPWISE)
def test_an_overflow_leaves_what_is_kept_alone_and_skips_the_step(name):
    """Every second step overflows: at w, or at w + eps where that is the only pass."""
    scaler = torch.amp.GradScaler("cpu", init_scale=4096.0)
    model = two_layers(torch.float32)
    engine, optimizer = make(name, model, scaler=scaler)
    for number in range(12):
        overflows = number % 2 == 0
        before, w = kept(engine), weights(model)
        engine.step([examples(number, torch.float32)], scaled(model, scaler, fault=torch.inf if overflows else 1.0))
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(weights(model), w) == overflows
        if overflows:
            after = kept(engine)
            assert after.keys() == before.keys()
            assert all(torch.equal(after[entry], before[entry]) for entry in before)
    assert scaler.get_scale() == 4096.0 / 2**6


def test_norm_of_a_large_tensor_is_that_of_float64():
    vector = torch.randn(12_000_000, generator=torch.Generator().manual_seed(0))
    found = norm([vector], placed_like=[vector])
    assert found.item() == pytest.approx(vector.double().norm().item(), rel=5e-5)  # torch's own is off by 5e-4

"""Fifty steps against loops in float64 that are written here, parameter by parameter, from the papers' formulas."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hf_vasso import METHODS, SharpnessAwareStep
from tests.engine.loops import LossPasses, examples, mean_square, preset, two_layers, weights

STEPS = 50
RHO = 0.2
STEPS_PER_EPOCH = 5

Gradient = list[Tensor]


@dataclass
class Loop:
    """A training without the engine: what a method remembers, and the loss of the step that runs."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: int = 0
    memory: dict[str, Any] = field(default_factory=dict)

    def gradient(
        self,
        shift: Gradient | None = None,
        rows: Sequence[int] = range(8),
        added: Callable[[Tensor], Tensor | float] = lambda logits: 0.0,
    ) -> Gradient:
        """The gradient at w plus a shift, of some examples of the step and of what is added for their logits."""
        parameters = list(self.model.parameters())
        start = [p.detach().clone() for p in parameters]
        for p, s in zip(parameters, shift or [], strict=False):
            p.data = p.data + s
        inputs, targets = examples(self.step)
        logits = self.model(inputs[list(rows)])
        loss = (logits - targets[list(rows)]).square().mean() + added(logits)
        found = torch.autograd.grad(loss, parameters)
        for p, before in zip(parameters, start, strict=True):
            p.data = before
        return list(found)

    def average(self, gradient: Gradient, theta: float = 0.4) -> Gradient:
        old = self.memory.get("d", gradient)
        self.memory["d"] = [(1 - theta) * d + theta * g for d, g in zip(old, gradient, strict=True)]
        return self.memory["d"]

    def momentum(self) -> Gradient | None:
        kept = [self.optimizer.state[p] for p in self.model.parameters()]
        if not all(kept):
            return None
        return [entry["exp_avg"] if "exp_avg" in entry else entry["momentum_buffer"] for entry in kept]

    def scales(self, eta: float = 0.01) -> Gradient:
        """ASAM's T."""
        named = self.model.named_parameters()
        return [p.detach().abs() + eta if "weight" in n else torch.ones_like(p) for n, p in named]


def length(vector: Gradient) -> float:
    return sum(float((v * v).sum()) for v in vector) ** 0.5


def inner(one: Gradient, other: Gradient) -> float:
    return sum(float((a * b).sum()) for a, b in zip(one, other, strict=True))


def times(factor: float, vector: Gradient) -> Gradient:
    return [factor * v for v in vector]


def plus(one: Gradient, other: Gradient) -> Gradient:
    return [a + b for a, b in zip(one, other, strict=True)]


def ball(vector: Gradient, rho: float = RHO) -> Gradient:
    return times(rho / length(vector), vector)


def stretched(loop: Loop, vector: Gradient) -> Gradient:
    scales = loop.scales()
    size = length([t * v for t, v in zip(scales, vector, strict=True)])
    return [RHO * t * t * v / size for t, v in zip(scales, vector, strict=True)]


def divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """5^2 KL(softmax(teacher / 5) || softmax(student / 5)), the mean over the examples."""
    p, q = ((logits / 5).exp() / (logits / 5).exp().sum(1, keepdim=True) for logits in (teacher, student))
    return 25 * (p * (p / q).log()).sum(1).mean()


# --- the methods: what the base optimizer gets at a step ---


def fsam(loop: Loop) -> Gradient:
    g = loop.gradient()
    m = loop.memory.get("m")
    followed = g if m is None else plus(g, times(-1.0, m))
    loop.memory["m"] = g if m is None else plus(times(0.9, m), times(0.1, g))
    return loop.gradient(ball(followed))


def sagm(loop: Loop) -> Gradient:
    g = loop.gradient()
    return times(0.5, plus(g, loop.gradient(times(RHO / length(g) - 0.001, g))))


def gsam(loop: Loop) -> Gradient:
    g = loop.gradient()
    share = loop.optimizer.param_groups[0]["lr"] / loop.memory.setdefault("peak", loop.optimizer.param_groups[0]["lr"])
    g_p = loop.gradient(ball(g, RHO / 5 + (RHO - RHO / 5) * share))
    parallel = times(inner(g, g_p) / inner(g_p, g_p), g_p)
    return plus(g_p, times(-0.4, plus(g, times(-1.0, parallel))))


def looksam(loop: Loop, adversary: Callable[[Gradient], Gradient] = lambda g: g) -> Gradient:
    g = loop.gradient()
    followed = adversary(g)
    if loop.step % 5 == 0:
        g_p = loop.gradient(ball(followed))
        loop.memory["g_v"] = plus(g_p, times(-inner(g_p, g) / inner(g, g), g))
        return g_p
    g_v = loop.memory["g_v"]
    return plus(g, times(0.1 * length(g) / length(g_v), g_v))


def aesam(loop: Loop, adversary: Callable[[Gradient], Gradient] = lambda g: g) -> Gradient:
    g = loop.gradient()
    followed = adversary(g)
    squared = inner(g, g)
    mu = 0.9 * loop.memory.get("mu", squared) + 0.1 * squared
    variance = 0.9 * loop.memory.get("variance", 0.0) + 0.1 * (squared - mu) ** 2
    loop.memory |= {"mu": mu, "variance": variance}
    c = loop.step / STEPS * -1.0 + (1 - loop.step / STEPS) * 1.0
    return loop.gradient(ball(followed)) if squared >= mu + c * math.sqrt(variance) else g


def ss_sam(loop: Loop) -> Gradient:
    g = loop.gradient()
    coin = loop.memory.setdefault("coin", torch.Generator().manual_seed(0))
    return loop.gradient(ball(g)) if torch.rand((), generator=coin) < 0.5 else g


def msam(loop: Loop) -> Gradient:
    v = loop.momentum()
    return loop.gradient() if v is None else loop.gradient(times(-RHO / length(v), v))


def vasso_re(loop: Loop) -> Gradient:
    if loop.step % 2 == 0:
        loop.average(loop.gradient())
    return loop.gradient(ball(loop.memory["d"]))


def vasso_free(loop: Loop) -> Gradient:
    d = loop.memory.get("d")
    g_p = loop.gradient() if d is None else loop.gradient(ball(d))
    loop.average(g_p)
    return g_p


def esam(loop: Loop, adversary: Callable[[Gradient], Gradient] = lambda g: g) -> Gradient:
    generator = loop.memory.setdefault("generator", torch.Generator().manual_seed(0))
    followed = adversary(loop.gradient())
    drawn = torch.rand(len(followed), generator=generator)
    chosen = drawn < 0.6 if (drawn < 0.6).any() else drawn == drawn.min()
    subset = [v * float(c) for v, c in zip(followed, chosen, strict=True)]
    eps = times(RHO / length(subset) / 0.6, subset)
    inputs, targets = examples(loop.step)
    losses = []
    for shift in (None, eps):
        for p, e in zip(loop.model.parameters(), shift or [], strict=False):
            p.data = p.data + e
        losses.append((loop.model(inputs) - targets).square().mean(1).detach())
        for p, e in zip(loop.model.parameters(), shift or [], strict=False):
            p.data = p.data - e
    sharpness = (losses[1] - losses[0]).tolist()
    rows = [4 * half + i for half in (0, 1) for i in sorted(range(4), key=lambda i: -sharpness[4 * half + i])[:2]]
    return loop.gradient(eps, rows=rows)


def saf(loop: Loop) -> Gradient:
    logits = loop.memory.setdefault("logits", [])
    logits.append(loop.model(examples(loop.step)[0]).detach())
    if loop.step < STEPS_PER_EPOCH:
        return loop.gradient()
    past = logits[loop.step - STEPS_PER_EPOCH]
    return loop.gradient(added=lambda logits: 0.3 * divergence(past, logits))


def mesa(loop: Loop) -> Gradient:
    w = [p.detach().clone() for p in loop.model.parameters()]
    loop.memory["v"] = plus(times(0.8, loop.memory.get("v", w)), times(0.2, w))
    if loop.step < STEPS_PER_EPOCH:
        return loop.gradient()
    average = copy.deepcopy(loop.model)
    for p, v in zip(average.parameters(), loop.memory["v"], strict=True):
        p.data = v
    teacher = average(examples(loop.step)[0]).detach()
    return loop.gradient(added=lambda logits: 0.8 * divergence(teacher, logits))


REFERENCES: dict[str, Callable[[Loop], Gradient]] = {
    "none": lambda loop: loop.gradient(),
    "sam": lambda loop: loop.gradient(ball(loop.gradient())),
    "asam": lambda loop: loop.gradient(stretched(loop, loop.gradient())),
    "vasso": lambda loop: loop.gradient(ball(loop.average(loop.gradient()))),
    "fsam": fsam,
    "sagm": sagm,
    "gsam": gsam,
    "looksam": looksam,
    "aesam": aesam,
    "ss-sam": ss_sam,
    "esam": esam,
    "msam": msam,
    "saf": saf,
    "mesa": mesa,
    "vasso-re": vasso_re,
    "vasso-free": vasso_free,
    "vasso-asam": lambda loop: loop.gradient(stretched(loop, loop.average(loop.gradient()))),
    "vasso-aesam": lambda loop: aesam(loop, loop.average),
    "vasso-esam": lambda loop: esam(loop, loop.average),
    "vasso-looksam": lambda loop: looksam(loop, loop.average),
    "vasso-quarter": lambda loop: loop.gradient(ball(loop.average(loop.gradient(rows=range(2))))),
}


def by_loop(name: str, make_optimizer: Callable[..., torch.optim.Optimizer]) -> Tensor:
    model = two_layers()
    loop = Loop(model, make_optimizer(model.parameters()))
    schedule = decay(loop.optimizer)
    for loop.step in range(STEPS):
        for p, g in zip(model.parameters(), REFERENCES[name](loop), strict=True):
            p.grad = g
        loop.optimizer.step()
        schedule.step()
    return weights(model)


def by_engine(name: str, make_optimizer: Callable[..., torch.optim.Optimizer]) -> Tensor:
    model = two_layers()
    optimizer = make_optimizer(model.parameters())
    schedule = decay(optimizer)
    step = SharpnessAwareStep(
        preset(name, RHO),
        model.named_parameters(),
        optimizer,
        total_steps=STEPS,
        steps_per_epoch=STEPS_PER_EPOCH,
        num_examples=8 * STEPS_PER_EPOCH,
    )
    for number in range(STEPS):
        inputs, targets = examples(number)
        micro_batches = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
        first = 8 * (number % STEPS_PER_EPOCH)
        step.step(micro_batches, LossPasses(mean_square(model), micro_batches=2, first=first))
        optimizer.step()
        schedule.step()
    return weights(model)


def decay(optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / (2 * STEPS))


OPTIMIZERS = {
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_engine_equals_the_loop(name, optimizer):
    found, expected = by_engine(name, OPTIMIZERS[optimizer]), by_loop(name, OPTIMIZERS[optimizer])
    assert (found - expected).abs().max() < 1e-10  # rounding of float64, grown over fifty steps
    plain = by_loop("none", OPTIMIZERS[optimizer])
    assert name == "none" or (found - plain).abs().max() > 1e-3


# --- momentum that is kept here, too, and differs by parameter group ---


@dataclass
class Sgd:
    """v = momentum v + g ;  w = w - lr v"""

    lr: float
    momentum: float
    v: dict[str, Tensor] = field(default_factory=dict)

    def move(self, name: str, w: Tensor, g: Tensor) -> None:
        self.v[name] = self.momentum * self.v.get(name, 0.0) + g
        w -= self.lr * self.v[name]


@dataclass
class AdamW:
    """
    v = beta1 v + (1 - beta1) g ;  s = beta2 s + (1 - beta2) g^2
    w = (1 - lr decay) w - lr v / (1 - beta1^t) / (sqrt(s / (1 - beta2^t)) + 1e-8)
    """

    lr: float
    betas: tuple[float, float]
    weight_decay: float
    steps: dict[str, int] = field(default_factory=dict)
    v: dict[str, Tensor] = field(default_factory=dict)
    s: dict[str, Tensor] = field(default_factory=dict)

    def move(self, name: str, w: Tensor, g: Tensor) -> None:
        t = self.steps[name] = self.steps.get(name, 0) + 1
        one, two = self.betas
        self.v[name] = one * self.v.get(name, 0.0) + (1 - one) * g
        self.s[name] = two * self.s.get(name, 0.0) + (1 - two) * g * g
        w *= 1 - self.lr * self.weight_decay
        w -= self.lr * self.v[name] / (1 - one**t) / ((self.s[name] / (1 - two**t)).sqrt() + 1e-8)


GROUPS = {
    torch.optim.SGD: (Sgd, {"lr": 0.05, "momentum": 0.9}, {"lr": 0.02, "momentum": 0.5}),
    torch.optim.AdamW: (
        AdamW,
        {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1},
        {"lr": 0.03, "betas": (0.5, 0.9), "weight_decay": 0.0},
    ),
}


def msam_by_hand(rho: float, by_hand: type[Sgd | AdamW], *numbers: dict[str, Any]) -> Tensor:
    model = two_layers()
    loop = Loop(model, torch.optim.SGD(model.parameters()))
    weight, bias = (by_hand(**of_group) for of_group in numbers)
    groups = {name: weight if "weight" in name else bias for name, _ in model.named_parameters()}
    for loop.step in range(STEPS):
        v = [group.v[name] for name, group in groups.items() if group.v]
        gradient = loop.gradient(times(-rho / length(v), v) if v else None)  # one norm over both groups
        for (name, group), p, g in zip(groups.items(), model.parameters(), gradient, strict=True):
            group.move(name, p.data, g)
    return weights(model)


@pytest.mark.parametrize("kind", GROUPS)
def test_msam_with_two_parameter_groups(kind):
    by_hand, *numbers = GROUPS[kind]
    model = two_layers()
    named = list(model.named_parameters())
    groups = [{"params": [p for n, p in named if "weight" in n]}, {"params": [p for n, p in named if "bias" in n]}]
    optimizer = kind([groups[0], groups[1] | numbers[1]], **numbers[0])
    step = SharpnessAwareStep(preset("msam", RHO), named, optimizer, total_steps=STEPS)
    for number in range(STEPS):
        step.step([examples(number)], LossPasses(mean_square(model)))
        optimizer.step()
    assert (weights(model) - msam_by_hand(RHO, by_hand, *numbers)).abs().max() < 1e-10
    assert (weights(model) - msam_by_hand(0.0, by_hand, *numbers)).abs().max() > 1e-3

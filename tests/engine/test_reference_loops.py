"""Fifty steps against loops in float64 that are written here, parameter by parameter, from the papers' formulas."""

import pytest
import torch

from hf_vasso import METHODS, SharpnessAwareStep, get_method
from tests.engine.loops import LossPasses, examples, mean_square, two_layers, weights

STEPS = 50
RHO = 0.2


def unit(vector):
    length = sum(float((v * v).sum()) for v in vector) ** 0.5
    return [v / length for v in vector]


def stretched(vector, model, eta=0.01):
    names = [name for name, _ in model.named_parameters()]
    scales = [p.detach().abs() + eta if "weight" in n else 1.0 for n, p in zip(names, model.parameters(), strict=True)]
    length = sum(float(((t * v) ** 2).sum()) for t, v in zip(scales, vector, strict=True)) ** 0.5
    return [t * t * v / length for t, v in zip(scales, vector, strict=True)]


def average(theta):
    memory = []

    def follow(gradient):
        memory[:] = (
            [(1 - theta) * d + theta * g for d, g in zip(memory, gradient, strict=True)] if memory else list(gradient)
        )
        return list(memory)

    return follow


def minus_average(sigma, lmbda):
    memory = []

    def follow(gradient):
        followed = [g - sigma * m for g, m in zip(gradient, memory, strict=True)] if memory else list(gradient)
        memory[:] = (
            [lmbda * m + (1 - lmbda) * g for m, g in zip(memory, gradient, strict=True)] if memory else list(gradient)
        )
        return followed

    return follow


# per method: what the adversary follows, and the shape of its ball
REFERENCES = {
    "none": (None, None),
    "sam": (lambda: lambda g: g, lambda v, model: unit(v)),
    "asam": (lambda: lambda g: g, stretched),
    "vasso": (lambda: average(0.4), lambda v, model: unit(v)),
    "fsam": (lambda: minus_average(1.0, 0.9), lambda v, model: unit(v)),
    "vasso-asam": (lambda: average(0.4), stretched),
}


def reference(name, make_optimizer):
    model = two_layers()
    optimizer = make_optimizer(model.parameters())
    make_follow, ball = REFERENCES[name]
    follow = make_follow() if make_follow else None
    for step in range(STEPS):
        loss = mean_square(model)
        clean = torch.autograd.grad(loss(examples(step)), list(model.parameters()))
        if follow is None:
            descent = clean
        else:
            start = [p.detach().clone() for p in model.parameters()]
            direction = ball(follow(list(clean)), model)
            for p, d in zip(model.parameters(), direction, strict=True):
                p.data = p.data + RHO * d
            descent = torch.autograd.grad(loss(examples(step)), list(model.parameters()))
            for p, before in zip(model.parameters(), start, strict=True):
                p.data = before
        for p, g in zip(model.parameters(), descent, strict=True):
            p.grad = g
        optimizer.step()
    return weights(model)


def engine(name, make_optimizer):
    model = two_layers()
    optimizer = make_optimizer(model.parameters())
    method = get_method(name) if name == "none" else get_method(name, rho=RHO)
    step = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=STEPS)
    for number in range(STEPS):
        inputs, targets = examples(number)
        micro_batches = [(inputs[:4], targets[:4]), (inputs[4:], targets[4:])]
        step.step(micro_batches, LossPasses(mean_square(model), micro_batches=2))
        optimizer.step()
    return weights(model)


OPTIMIZERS = {
    "sgd-momentum": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", METHODS)
def test_engine_equals_the_loop(name, optimizer):
    found, expected = engine(name, OPTIMIZERS[optimizer]), reference(name, OPTIMIZERS[optimizer])
    assert (found - expected).abs().max() < 1e-10  # rounding of float64, grown over fifty steps
    plain = reference("none", OPTIMIZERS[optimizer])
    assert name == "none" or (found - plain).abs().max() > 1e-3

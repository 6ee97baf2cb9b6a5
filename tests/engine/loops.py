"""Small models and loops that the engine's tests share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hf_vasso import METHODS, Method, SharpnessAwareStep, get_method
from hf_vasso.methods.base import BatchOutput

STEPWISE = [name for name in METHODS if get_method(name).extra_loss is None]
"""The methods that any loop can take; the others add to the loss of a model."""

EPOCH = {"steps_per_epoch": 2, "num_examples": 8}
"""What they ask for: the same examples at each step of an epoch, with other inputs."""


@dataclass
class Taken:
    """Some examples of a micro-batch, with their share of all that were taken."""

    batch: Any
    share: float


class LossPasses:
    """Passes through a function from batch to mean loss, each micro-batch an equal share of the step."""

    def __init__(self, loss: Callable[[Any], Tensor], micro_batches: int = 1, first: int = 0) -> None:
        self.loss = loss
        self.micro_batches = micro_batches
        self.first = self.position = first  # of the examples of a step, which come in order
        self.syncs: list[bool] = []

    def backward(self, batch: Any, sync: bool) -> Tensor:
        self.syncs.append(sync)
        if isinstance(batch, Taken):
            loss = self.loss(batch.batch) * batch.share
        else:
            loss = self.loss(batch) / self.micro_batches
        loss.backward()
        return loss.detach()

    def backward_with_losses(self, batch: Any, sync: bool) -> tuple[Tensor, Tensor]:
        losses = self.losses_without_gradients(batch)
        return self.backward(batch, sync), losses

    def losses_without_gradients(self, batch: Any) -> Tensor:
        with torch.no_grad():
            if not isinstance(batch, tuple):
                return self.loss(batch)[None]
            examples = range(len(batch[0]))
            return torch.stack([self.loss(tuple(tensor[i : i + 1] for tensor in batch)) for i in examples])

    def backward_with_extra_loss(self, batch: Any, sync: bool, extra_loss: Callable[[BatchOutput], Tensor]) -> Tensor:
        plain = self.loss
        assert isinstance(plain, MeanSquare)
        model, positions = plain.model, torch.arange(self.position, self.position + len(batch[0]))
        self.position = self.first if sync else self.position + len(batch[0])

        @torch.no_grad()
        def forward(averages: dict[str, Tensor]) -> Tensor:
            cast = {name: tensor.to(model.get_parameter(name).dtype) for name, tensor in averages.items()}
            return functional_call(model, cast, (batch[0],))

        def with_extra(_: Any) -> Tensor:
            logits = model(batch[0])
            return plain.of(logits, batch[1]) + extra_loss(BatchOutput(logits, None, positions, forward))

        self.loss = with_extra
        try:
            return self.backward(batch, sync)
        finally:
            self.loss = plain

    def gather(self, positions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        return positions, logits

    def count_examples(self, batch: Any) -> int:
        return len(batch[0]) if isinstance(batch, tuple) else 1

    def take(self, batches: Sequence[Any], rows: Sequence[Tensor]) -> list[Taken]:
        total = sum(map(len, rows))
        return [
            Taken(tuple(tensor[row] for tensor in batch) if isinstance(batch, tuple) else batch, len(row) / total)
            for batch, row in zip(batches, rows, strict=True)
        ]


@dataclass
class MeanSquare:
    """The mean square of what a model says of the inputs of a batch minus its targets."""

    model: nn.Module

    def __call__(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        return self.of(self.model(batch[0]), batch[1])

    def of(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean()


def two_layers(dtype: torch.dtype = torch.float64, seed: int = 0) -> nn.Sequential:
    """A network with weights and biases, whose loss is not quadratic."""
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return model


def examples(step: int, dtype: torch.dtype = torch.float64, count: int = 8) -> tuple[Tensor, Tensor]:
    """Inputs and targets of a step."""
    generator = torch.Generator().manual_seed(1000 + step)
    inputs = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    targets = torch.randn(count, 3, generator=generator, dtype=torch.float64)
    return inputs.to(dtype), targets.to(dtype)


def mean_square(model: nn.Module) -> MeanSquare:
    return MeanSquare(model)


def preset(name: str, rho: float) -> Method:
    """A preset with a radius, where it has one."""
    has_radius = "rho" in signature(METHODS[name]).parameters
    return get_method(name, rho=rho) if has_radius else get_method(name)


def train(method: Method, steps: int = 5, model: nn.Module | None = None, lr: float = 0.05, **engine: Any) -> Tensor:
    """All weights after some steps of SGD with momentum."""
    model = two_layers() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    step = SharpnessAwareStep(method, model.named_parameters(), optimizer, total_steps=steps, **(EPOCH | engine))
    for number in range(steps):
        step.step([examples(number)], LossPasses(mean_square(model)))
        optimizer.step()
    return weights(model)


def weights(model: nn.Module) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()]).clone()

"""The model's parameters as the engine sees them: their gradients, and their values kept and put back."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress
from typing import Any

import torch
from torch import Tensor

from hf_vasso.engine import tensors
from hf_vasso.methods.base import Vector

__all__ = ["Parameters", "PerParameter", "compile_pattern", "counted_once", "kept_by_optimizer"]


@dataclass
class PerParameter:
    """One tensor per parameter: this rank's shards, unscaled, in fp32 or wider."""

    names: list[str]
    parameters: Vector
    values: Vector

    def where(self, keep: Callable[[str], bool]) -> "PerParameter":
        """The entries whose name passes; the object itself where all do."""
        chosen = [keep(name) for name in self.names]
        if all(chosen):
            return self
        return PerParameter(
            list(compress(self.names, chosen)),
            list(compress(self.parameters, chosen)),
            list(compress(self.values, chosen)),
        )


class Parameters:
    """
    The parameters of a model by name.

    Args:
        named_parameters: Names and parameters.
        no_perturb: Regular expression; a parameter in whose name it is found is never perturbed.
        scaler: The `GradScaler` by which the loss is scaled, if one is used.

    Raises:
        ValueError: If `no_perturb` does not compile, or leaves out none or all of the trainable parameters.
    """

    def __init__(self, named_parameters: Iterable[tuple[str, Tensor]], no_perturb: str | None, scaler: Any) -> None:
        self.by_name = dict(named_parameters)
        self._scaler = scaler
        self._unperturbed = _names_left_out(no_perturb, [n for n, p in self.by_name.items() if p.requires_grad])
        self._kept: dict[str, Tensor] = {}

    def is_perturbed(self, name: str) -> bool:
        """Whether a parameter may be perturbed."""
        return name not in self._unperturbed

    def perturbable(self) -> PerParameter:
        """The trainable parameters that may be perturbed, with themselves as values."""
        names = [name for name, p in self.by_name.items() if p.requires_grad and self.is_perturbed(name)]
        parameters = [self.by_name[name] for name in names]
        return PerParameter(names, parameters, tensors.local(parameters))

    def clear_gradients(self) -> None:
        """Let go of all gradients."""
        for parameter in self.by_name.values():
            parameter.grad = None

    def gradients(self) -> PerParameter:
        """
        The gradients in `p.grad`: the very tensors where they are unscaled and wide enough, else copies.

        Raises:
            ValueError: If one is sparse.
        """
        found = {name: parameter.grad for name, parameter in self.by_name.items() if parameter.grad is not None}
        for name, gradient in found.items():
            if gradient.is_sparse:
                raise ValueError(
                    f"the gradient of {name} is sparse, and a perturbation needs dense ones: build its embedding with "
                    "sparse=False"
                )
        values = tensors.widen(tensors.local(list(found.values())))
        if self._scaler is not None and values:
            values = list(torch._foreach_mul(values, 1.0 / self._loss_scale(values[0].device)))
        return PerParameter(list(found), [self.by_name[name] for name in found], values)

    def write_gradients(self, parameters: Vector, values: Vector) -> None:
        """Put unscaled gradients into `p.grad`, scaled as the base optimizer's caller expects them."""
        targets = tensors.local([parameter.grad for parameter in parameters if parameter.grad is not None])
        if any(target is not value for target, value in zip(targets, values, strict=True)):
            torch._foreach_copy_(targets, values)
        if self._scaler is not None:
            torch._foreach_mul_(targets, self._loss_scale(targets[0].device))

    @contextmanager
    def restored(self, names: list[str]) -> Iterator[None]:
        """Keep a copy of these parameters and put it back at the end, whatever happens in between."""
        parameters = tensors.local([self.by_name[name] for name in names])
        for name, parameter in zip(names, parameters, strict=True):
            if name not in self._kept:
                self._kept[name] = torch.empty_like(parameter)
        kept = [self._kept[name] for name in names]
        _copy(kept, parameters)
        try:
            yield
        finally:
            _copy(parameters, kept)

    def _loss_scale(self, device: torch.device) -> Tensor:
        return self._scaler.scale(torch.ones((), device=device))  # get_scale() would wait for the device


@contextmanager
def counted_once(buffers: Vector) -> Iterator[None]:
    """Undo what a second pass over the same rows does to the buffers."""
    kept = [buffer.clone() for buffer in buffers]
    try:
        yield
    finally:
        _copy(buffers, kept)


def kept_by_optimizer(
    optimizer: torch.optim.Optimizer, parameters: Vector, names: Sequence[str]
) -> list[Tensor | None]:
    """
    What an optimizer keeps for each parameter under the first of some names, as of its momentum.

    Returns:
        This rank's shards, in fp32 or wider; None for a parameter for which it keeps nothing.

    Raises:
        ValueError: What it keeps has another shape than the parameter.
    """
    entries = [optimizer.state.get(parameter, {}) for parameter in parameters]
    kept = [next((entry[name] for name in names if entry.get(name) is not None), None) for entry in entries]
    for tensor, parameter in zip(kept, parameters, strict=True):
        if tensor is not None and tensor.shape != parameter.shape:
            raise ValueError(
                f"{type(optimizer).__name__} keeps a momentum of shape {tuple(tensor.shape)} for weights of shape "
                f"{tuple(parameter.shape)}, which nobody can follow: take an optimizer that keeps it whole, such as "
                "AdamW"
            )
    return [None if tensor is None else tensors.widen(tensors.local([tensor]))[0] for tensor in kept]


def _copy(targets: Vector, sources: Vector) -> None:
    with torch.no_grad():
        if targets:
            torch._foreach_copy_(targets, sources)


def compile_pattern(no_perturb: str) -> re.Pattern[str]:
    """
    Compile the expression that names parameters to leave out.

    Raises:
        ValueError: If it is no regular expression.
    """
    try:
        return re.compile(no_perturb)
    except re.error as error:
        raise ValueError(f"no_perturb must be a regular expression, got {no_perturb!r}: {error}") from error


def _names_left_out(no_perturb: str | None, trainable: list[str]) -> set[str]:
    if no_perturb is None:
        return set()
    pattern = compile_pattern(no_perturb)
    found = {name for name in trainable if pattern.search(name)}
    if not found or len(found) == len(trainable):
        count = "no" if not found else "every"
        raise ValueError(
            f"no_perturb matches {count} trainable parameter, got {no_perturb!r}; their names look like "
            f"{', '.join(trainable[:3])}"
        )
    return found

"""The parameters as the engine sees them: their gradients, and their values kept and put back."""

import math
import operator
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

__all__ = [
    "Parameters",
    "PerParameter",
    "check_no_perturb",
    "compile_pattern",
    "copy_",
    "kept_by_optimizer",
]


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
    The parameters that a step is about: those that the optimizer holds now, by name.

    Args:
        named_parameters: Names and parameters of the model, or the function that lists them as they are now.
        optimizer: It holds what is trained. A parameter that the model does not have is named by its place there,
            `param_groups.<group>.<place>`.
        no_perturb: Regular expression; a parameter in whose name it is found is never perturbed.
        scaler: The `GradScaler` by which the loss is scaled, if one is used.

    Raises:
        ValueError: If `no_perturb` does not compile, matches no parameter or all that are trained, or if the optimizer
            holds none of the model's trainable parameters.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, Tensor]] | Callable[[], Iterable[tuple[str, Tensor]]],
        optimizer: torch.optim.Optimizer,
        no_perturb: str | None,
        scaler: Any,
    ) -> None:
        given = named_parameters if callable(named_parameters) else list(named_parameters)
        self._of_model = given if callable(given) else lambda: given
        self._scaler = scaler
        self._no_perturb = None if no_perturb is None else compile_pattern(no_perturb)
        self._kept: dict[str, Tensor] = {}
        self._away: list[str] = []
        self._held: Vector = []
        self.by_name: dict[str, Tensor] = {}
        """All parameters of the model, and what only the optimizer holds."""
        self.follow(optimizer, forget=lambda names: None)
        if no_perturb is not None:
            trainable = [name for name, p in self._trained.items() if p.requires_grad]
            check_no_perturb(no_perturb, list(self.by_name), trainable)

    def follow(self, optimizer: torch.optim.Optimizer, forget: Callable[[list[str]], None]) -> None:
        """
        Update to what the optimizer holds now. Where nothing has changed this only compares identities.

        Args:
            optimizer: It holds what is trained.
            forget: Called after a change with the names that no longer stand for the same tensor, so that what was
                saved for them is out of date.

        Raises:
            ValueError: If it holds none of the model's trainable parameters.
        """
        held = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if len(held) == len(self._held) and all(map(operator.is_, held, self._held)):
            return
        of_model = _each_once(self._of_model())
        groups = enumerate(optimizer.param_groups)
        places = [(f"param_groups.{i}.{j}", p) for i, group in groups for j, p in enumerate(group["params"])]
        by_name = _each_once([*of_model.items(), *places])
        of_optimizer = set(map(id, held))
        trained = {name: p for name, p in by_name.items() if id(p) in of_optimizer}
        trainable = [name for name, p in of_model.items() if p.requires_grad]
        if trainable and trained.keys().isdisjoint(trainable):
            raise ValueError(
                f"the optimizer holds none of the model's {len(trainable)} trainable parameters, such as "
                f"{trainable[0]}: build it over the parameters of this model"
            )
        lost = [name for name, parameter in self.by_name.items() if by_name.get(name) is not parameter]
        for name in lost:
            self._kept.pop(name, None)
        forget(lost)
        self.by_name, self._trained = by_name, trained
        self._perturbed = {name: p for name, p in trained.items() if not self._is_left_out(name)}
        self._held = held  # last: an exception above is met by the next step again

    def is_perturbed(self, name: str) -> bool:
        """Whether a parameter may be perturbed."""
        return name in self._perturbed

    def _is_left_out(self, name: str) -> bool:
        return self._no_perturb is not None and self._no_perturb.search(name) is not None

    def perturbable(self) -> PerParameter:
        """The trained parameters that may be perturbed, with themselves as values."""
        found = {name: parameter for name, parameter in self._perturbed.items() if parameter.requires_grad}
        parameters = list(found.values())
        return PerParameter(list(found), parameters, tensors.local(parameters))

    def clear_gradients(self) -> None:
        """Set all gradients to None, those of parameters that are not trained included."""
        for parameter in self.by_name.values():
            parameter.grad = None

    def gradients(self) -> PerParameter:
        """
        The gradients in `p.grad`: the very tensors where they are unscaled and wide enough, else copies.

        Raises:
            ValueError: If one is sparse or complex.
        """
        found = self._gradients()
        values = tensors.widen(tensors.local(list(found.values())))
        if self._scaler is not None and values:
            values = list(torch._foreach_mul(values, 1.0 / self._loss_scale(values[0].device)))
        return PerParameter(list(found), [self.by_name[name] for name in found], values)

    def gradients_are_finite(self) -> bool:
        """Whether all gradients are finite, on all ranks: the host waits for the device."""
        found = self._gradients()
        values = tensors.widen(tensors.local(list(found.values())))
        return not values or math.isfinite(tensors.norm(values, [self.by_name[name] for name in found]).item())

    def _gradients(self) -> dict[str, Tensor]:
        found = {name: parameter.grad for name, parameter in self._trained.items() if parameter.grad is not None}
        for name, gradient in found.items():
            if gradient.is_sparse:
                raise ValueError(
                    f"the gradient of {name} is sparse, and a perturbation needs dense ones: build its embedding with "
                    "sparse=False"
                )
            if gradient.is_complex():
                raise ValueError(
                    f"{name} is complex, and a perturbation needs real weights: keep it as a real tensor, and make "
                    "the complex one of it by torch.view_as_complex in the model"
                )
        return found

    def write_gradients(self, parameters: Vector, values: Vector) -> None:
        """Put unscaled gradients into `p.grad`, scaled as the base optimizer's caller expects them."""
        targets = tensors.local([parameter.grad for parameter in parameters if parameter.grad is not None])
        if any(target is not value for target, value in zip(targets, values, strict=True)):
            torch._foreach_copy_(targets, values)
        if self._scaler is not None:
            torch._foreach_mul_(targets, self._loss_scale(targets[0].device))

    @contextmanager
    def restored(self, names: list[str]) -> Iterator[None]:
        """Keep a copy of these parameters and put it back at the end; after an exception `put_back` does."""
        parameters = tensors.local([self.by_name[name] for name in names])
        for name, parameter in zip(names, parameters, strict=True):
            if name not in self._kept:
                self._kept[name] = torch.empty_like(parameter)
        copy_([self._kept[name] for name in names], parameters)
        self._away = names
        yield
        self.put_back()

    def put_back(self) -> None:
        """Move the parameters back to where they were before `restored`; once they are there this does nothing."""
        parameters = tensors.local([self.by_name[name] for name in self._away])
        copy_(parameters, [self._kept[name] for name in self._away])
        self._away = []

    def _loss_scale(self, device: torch.device) -> Tensor:
        return self._scaler.scale(torch.ones((), device=device))  # get_scale() would wait for the device


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


def copy_(targets: Vector, sources: Vector) -> None:
    """Copy the sources into the targets; both may be empty."""
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


def check_no_perturb(no_perturb: str, names: list[str], trainable: list[str]) -> None:
    """
    Refuse an expression that leaves out nothing, or all that is trained.

    Args:
        no_perturb: A regular expression.
        names: All names, those of frozen parameters included, which may be trained later.
        trainable: Names of what is trained now.

    Raises:
        ValueError: It has the expression and some names.
    """
    pattern = compile_pattern(no_perturb)
    if not any(map(pattern.search, names)):
        count = "no parameter"
    elif trainable and all(map(pattern.search, trainable)):
        count = "every trainable parameter"
    else:
        return
    raise ValueError(
        f"no_perturb matches {count}, got {no_perturb!r}; the names look like {', '.join((trainable or names)[:3])}"
    )


def _each_once(named: Iterable[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Each tensor once, under the first of its names."""
    known: set[int] = set()
    return {name: p for name, p in named if not (id(p) in known or known.add(id(p)))}

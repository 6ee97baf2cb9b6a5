"""
The questions that a sharpness-aware method answers, and SAM's own answers.

    direction   which vector does the adversary follow?              vector = update(gradient at w)
    geometry    how does it become a perturbation of size rho?       eps = perturbation(rho, vector)
    schedule    which passes does this step pay for?                 "both", "clean" or "perturbed"
    descent     which gradient does the base optimizer get?          combine(gradient at w, gradient at w + eps)

Two more are asked of few: which examples pay for the pass at w + eps (`Selection`), and what is added to the loss of a
method that makes no such pass (`ExtraLoss`). The defaults are SAM's answers (Foret et al. 2021, arXiv 2010.01412).

A part is a frozen dataclass of numbers; what it remembers between steps stands in the `state` dict that is handed to
it: tensors of parameters in `by_parameter(state)`, all else beside that under names of its own. Vectors are lists of
tensors in the order of `context.names`, in fp32 or wider; parts work on them with `torch._foreach_*` and change in
place only what is theirs.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hf_vasso.methods.checks import check_whole

__all__ = [
    "NORM_FLOOR",
    "Ball",
    "BatchOutput",
    "BatchGradient",
    "Context",
    "Descent",
    "Direction",
    "EveryKth",
    "EveryStep",
    "ExtraLoss",
    "Geometry",
    "Part",
    "PassesOfStep",
    "Schedule",
    "Selection",
    "Vector",
    "by_parameter",
    "count_of_share",
    "filled",
    "overrides",
    "recall",
]

Vector = list[Tensor]
PassesOfStep = Literal["both", "clean", "perturbed"]

NORM_FLOOR = 1e-12  # keeps rho / ||vector|| finite when the gradient is zero; the sources use 1e-7 to 1e-16


@dataclass(frozen=True)
class Context:
    """
    What a part may know about the running step.

    Args:
        step: Optimizer steps taken before this one, counted from 0.
        total_steps: Optimizer steps of the whole training, 0 where unknown.
        steps_per_epoch: Optimizer steps of a pass over the data, 0 where unknown.
        num_examples: Examples of the data, 0 where unknown.
        optimizer: The base optimizer.
        generator: Random numbers that are equal on all ranks and are saved with the checkpoint.
        names: Names of this step's tensors, in the order of every vector.
        parameters: The weights in that order, at w; local shards where they are sharded.
        norm: The l2 norm over all tensors and all shards, as a tensor without dimensions.
        dot: The inner product over all tensors and all shards, as a tensor without dimensions.
        kept_by_optimizer: For each parameter what the base optimizer keeps under the first of some names, None where
            it keeps nothing.
    """

    step: int
    total_steps: int
    steps_per_epoch: int
    num_examples: int
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    names: Sequence[str]
    parameters: Vector
    norm: Callable[[Vector], Tensor]
    dot: Callable[[Vector, Vector], Tensor]
    kept_by_optimizer: Callable[[Sequence[str]], list[Tensor | None]]

    def projection(self, vector: Vector, onto: Vector) -> Tensor:
        """The number times which `onto` is the part of `vector` along it, as a tensor without dimensions."""
        return self.dot(vector, onto) / (self.norm(onto).square() + NORM_FLOOR**2)

    @property
    def learning_rate(self) -> float:
        """The learning rate of the first parameter group."""
        return float(self.optimizer.param_groups[0]["lr"])


class Part:
    """What all answers have in common."""

    keeps = 0
    """Copies of the trainable weights that it keeps between steps."""

    def check(self, context: Context) -> None:
        """Refuse, with a ValueError, a training that it cannot be a part of. Called before the first step."""

    def check_loaded(self, context: Context, state: dict[str, Any]) -> None:
        """Refuse, with a ValueError, a loaded state with which this training cannot go on."""


class Direction(Part, ABC):
    """Which vector the adversary follows."""

    remembers = True
    """Whether `update` keeps something, so that it must also see the gradients of steps without a perturbation."""

    @abstractmethod
    def update(self, context: Context, state: dict[str, Any], gradient: Vector) -> Vector:
        """
        Take in a finite gradient at w (unscaled, unclipped, synchronised) and return the vector to follow.

        It may be the gradient of a share of the step's examples, and that of a step without a perturbation.
        """

    def after(self, context: Context, state: dict[str, Any], gradient: Vector) -> None:
        """Take in a finite gradient at w + eps. Most directions have no use for it."""

    def reuse(self, context: Context, state: dict[str, Any]) -> Vector | None:
        """The vector of a step that has no usable gradient at w, None where there is none yet."""
        return None


class Geometry(Part, ABC):
    """How a vector becomes a perturbation of size rho."""

    @abstractmethod
    def perturbation(self, context: Context, rho: float, vector: Vector) -> tuple[Vector, Tensor]:
        """
        The perturbation as eps = scale * tensors.

        Args:
            rho: Radius, >= 0.
            vector: What the adversary follows. It is only read: it may be a moving average or a momentum buffer.

        Returns:
            The tensors, which may be those of `vector`, and the scale, a tensor without dimensions on their device.
            So a perturbation that is a multiple of the vector needs no memory and no pass over the weights.
        """


class Schedule(Part, ABC):
    """Which passes a step pays for."""

    perturbs = True
    """Whether any step is perturbed."""

    reuses = False
    """Whether some steps are perturbed without a gradient at w, for which the direction must have a `reuse`."""

    without_adversary: PassesOfStep = "both"
    """The passes of such a step where the direction has nothing to reuse yet; "perturbed" makes it at w."""

    ascents = "1"
    """Mean passes per step beside the one that gives the update, in words and the schedule's numbers."""

    mean_ascents = 1.0
    """The same as a number; where the training decides, the most that it can be."""

    def every(self, k: int) -> "Schedule | None":
        """The same schedule with an ascent every k steps, None for one that decides in its own way."""
        return None

    @abstractmethod
    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        """The passes of this step: "both", only the "clean" one at w, or only the "perturbed" one at w + eps."""

    def after(self, context: Context, state: dict[str, Any], norm: float) -> Literal["both", "clean"]:
        """The same question again once the norm of the whole clean gradient is known."""
        return "both"


class Descent(Part, ABC):
    """
    Which gradient the base optimizer gets, where that is not simply the one of the last pass.

    For it the clean gradient outlives the perturbed pass, which costs one more copy of the weights.
    """

    @abstractmethod
    def combine(self, context: Context, state: dict[str, Any], clean: Vector, perturbed: Vector) -> Vector:
        """The gradient for the base optimizer at a step with both passes. Both may be changed in place."""

    def alone(self, context: Context, state: dict[str, Any], clean: Vector) -> Vector:
        """The same at a step with the clean pass alone."""
        return clean


class Selection(Part, ABC):
    """Which examples pay for the pass at w + eps."""

    share = 1.0
    """Their share of all."""

    share_name = "share"
    """The number that says so."""

    @abstractmethod
    def rows(self, at_w: Vector, perturbed: Vector) -> list[Tensor]:
        """
        The numbers of the examples to take, at least one of each micro-batch.

        Args:
            at_w: Of each micro-batch the loss of each example at w, (examples,).
            perturbed: The same at w + eps, with the same dropout masks.
        """


@dataclass(frozen=True)
class BatchOutput:
    """
    What a model gave for a micro-batch.

    Args:
        logits: (examples, ..., classes), with their graph.
        counted: (examples, ...): which of the logits the loss counts, where those of some tokens are left out; else
            None.
        positions: (examples,): which ones of the data these are; None unless asked for.
        forward: From weights by parameter name, of any dtype, to the logits of the same inputs, without dropout and
            without a graph.
    """

    logits: Tensor
    counted: Tensor | None
    positions: Tensor | None
    forward: Callable[[dict[str, Tensor]], Tensor]


class ExtraLoss(Part, ABC):
    """What is added to the loss, for methods that make one pass, at w."""

    needs_positions = False
    """Whether it must know which examples of the data a micro-batch holds."""

    forwards_alone = 0.0
    """Passes per step that go forward alone."""

    def before_step(self, context: Context, state: dict[str, Any]) -> None:
        """Look at the weights before a step."""

    @abstractmethod
    def loss(self, context: Context, state: dict[str, Any], output: BatchOutput) -> Tensor:
        """What is added to the mean loss of a micro-batch, without dimensions."""

    def record(self, context: Context, state: dict[str, Any], positions: Tensor, logits: Tensor) -> None:
        """Take in the logits of the whole step, of all ranks. Only for who needs positions."""


@dataclass(frozen=True)
class BatchGradient(Direction):
    """The gradient of the step's own examples."""

    remembers = False

    def update(self, context: Context, state: dict[str, Any], gradient: Vector) -> Vector:
        return gradient


@dataclass(frozen=True)
class Ball(Geometry):
    """eps = rho v / ||v||, one norm over all parameters: ||eps|| = rho."""

    def perturbation(self, context: Context, rho: float, vector: Vector) -> tuple[Vector, Tensor]:
        return vector, rho / (context.norm(vector) + NORM_FLOOR)


@dataclass(frozen=True)
class EveryStep(Schedule):
    """Both passes at every step."""

    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        return "both"

    def every(self, k: int) -> "Schedule":
        return EveryKth(k)


@dataclass(frozen=True)
class EveryKth(Schedule):
    """
    Both passes every k steps, the first one included; in between only the one at w.

    Args:
        k: Steps from one ascent to the next, >= 1. 1 is every step.
    """

    k: int

    between: ClassVar[PassesOfStep] = "clean"
    ascents = "1/k"

    @property
    def mean_ascents(self) -> float:
        return 1.0 / self.k

    @property
    def reuses(self) -> bool:
        return self.between == "perturbed"

    def __post_init__(self) -> None:
        check_whole("k is the number of steps from one ascent to the next", self.k, minimum=1)

    def before(self, context: Context, state: dict[str, Any]) -> PassesOfStep:
        return "both" if context.step % self.k == 0 else self.between

    def every(self, k: int) -> "Schedule":
        return replace(self, k=k)


def overrides(part: object, base: type, name: str) -> bool:
    """Whether a part has its own version of an optional answer."""
    return getattr(type(part), name) is not getattr(base, name)


def by_parameter(state: dict[str, Any]) -> dict[str, Tensor]:
    """What `state` keeps for parameters: a dict of its own, since a parameter may have any name."""
    return state.setdefault("by_parameter", {})


def recall(state: dict[str, Any], names: Sequence[str], start: Vector) -> Vector:
    """The tensors that `state` keeps for parameters; one not kept yet begins as a copy of its entry in `start`."""
    kept = by_parameter(state)
    for name, tensor in zip(names, start, strict=True):
        if name not in kept:
            kept[name] = tensor.clone()
    return [kept[name] for name in names]


def filled(kept: Sequence[Tensor | None], like: Vector) -> Vector | None:
    """What is kept, with zeros where a tensor of `like` has nothing yet; None where none of them has."""
    if all(tensor is None for tensor in kept):
        return None
    return [torch.zeros_like(other) if tensor is None else tensor for tensor, other in zip(kept, like, strict=True)]


def count_of_share(share: float, total: int) -> int:
    """How many of `total` examples a share is, rounded up, at least 1; 0.07 of 100 are 7, whatever floats say."""
    return max(1, math.ceil(round(share * total, 9)))

"""The questions of a step: each goes to a part of the method, with its context and what that part keeps."""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from hf_vasso.engine import tensors
from hf_vasso.engine.parameters import Parameters, PerParameter, kept_by_optimizer
from hf_vasso.engine.part_state import load_parts, save_parts
from hf_vasso.engine.rho import RhoSchedule
from hf_vasso.methods.base import NORM_FLOOR, Context, Descent, Direction, PassesOfStep, by_parameter, overrides
from hf_vasso.methods.method import Method

__all__ = ["Questions"]


@dataclass
class Questions:
    """
    A method in a training.

    Args:
        method: Its parts are asked.
        parameters: Those of the training.
        optimizer: The base optimizer.
        rho_schedule: How rho runs.
        generator: Random numbers that are equal on all ranks.
        total_steps: Optimizer steps of the whole training, 0 where unknown.
        steps_per_epoch: Optimizer steps of a pass over the data, 0 where unknown.
        num_examples: Examples of the data, 0 where unknown.
        steps: Steps made so far.
        state: What the parts keep, by question.
    """

    method: Method
    parameters: Parameters
    optimizer: torch.optim.Optimizer
    rho_schedule: RhoSchedule
    generator: torch.Generator
    total_steps: int
    steps_per_epoch: int
    num_examples: int
    steps: int = 0
    state: dict[str, dict[str, Any]] = field(init=False)

    def __post_init__(self) -> None:
        self.state = {question: {} for question in self.method.parts}

    def check(self) -> None:
        """
        Let the parts refuse a training that they cannot work in.

        Raises:
            ValueError: It names what they lack.
        """
        for part in self.method.parts.values():
            part.check(self.context(self.parameters.perturbable()))

    def save(self) -> dict[str, dict[str, Any]]:
        """What the parts keep, for a file: a collective where parameters are sharded."""
        return save_parts(self.method.parts, self.state, self.parameters.by_name)

    def load(self, saved: dict[str, dict[str, Any]]) -> None:
        """Go on from what `save` returned."""
        context = self.context(self.parameters.perturbable())
        self.state = load_parts(self.method.parts, saved, self.parameters.by_name, context)

    def forget(self, names: list[str]) -> None:
        """Let go of what is kept for parameters of these names."""
        for name in names:
            for state in self.state.values():
                by_parameter(state).pop(name, None)

    def context(self, per_parameter: PerParameter) -> Context:
        """What a part may know about the running step."""
        parameters = per_parameter.parameters
        return Context(
            step=self.steps,
            total_steps=self.total_steps,
            steps_per_epoch=self.steps_per_epoch,
            num_examples=self.num_examples,
            optimizer=self.optimizer,
            generator=self.generator,
            names=per_parameter.names,
            parameters=tensors.local(parameters),
            norm=partial(tensors.norm, placed_like=parameters),
            dot=partial(tensors.dot, placed_like=parameters),
            kept_by_optimizer=partial(kept_by_optimizer, self.optimizer, parameters),
        )

    def before_step(self, perturbable: PerParameter) -> PassesOfStep:
        """Which passes the step makes, as far as is known before them."""
        context = self.context(perturbable)
        if self.method.extra_loss is not None:
            self.method.extra_loss.before_step(context, self.state["extra_loss"])
        return self.method.schedule.before(context, self.state["schedule"])

    def after_clean_pass(self, perturbable: PerParameter, norm: float) -> PassesOfStep:
        """The same once the norm of the gradient at w is known."""
        return self.method.schedule.after(self.context(perturbable), self.state["schedule"], norm)

    def adversary(self, gradient: PerParameter) -> PerParameter:
        """The vector that a step follows whose gradient at w is known."""
        vector = self.method.direction.update(self.context(gradient), self.state["direction"], gradient.values)
        return replace(gradient, values=vector)

    def last_adversary(self, perturbable: PerParameter) -> PerParameter | None:
        """The vector of a step that has no usable gradient at w."""
        vector = self.method.direction.reuse(self.context(perturbable), self.state["direction"])
        return None if vector is None else replace(perturbable, values=vector)

    @torch.no_grad()
    def perturb(
        self, adversary: PerParameter, clean: PerParameter | None, measure: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Move to w + eps; return ||eps|| and its cosine to the gradient at w when measured."""
        gradient = clean.where(self.parameters.is_perturbed).values if measure and clean is not None else None
        context = self.context(adversary)
        rho = self.rho_schedule.radius(context, self.method.rho_min or 0.0, self.method.rho)
        vector, scale = self.method.geometry.perturbation(context, rho, adversary.values)
        tensors.add_scaled_(context.parameters, vector, scale)
        if not measure:
            return None, None
        norm = context.norm(vector)
        if gradient is None:
            return scale.abs() * norm, None
        cosine = scale.sign() * context.dot(vector, gradient) / (norm * context.norm(gradient) + NORM_FLOOR)
        return scale.abs() * norm, cosine

    @torch.no_grad()
    def after_perturbed_pass(self) -> None:
        """Show the gradient at w + eps to a direction that is fed by it."""
        if overrides(self.method.direction, Direction, "after"):
            gradient = self.parameters.gradients().where(self.parameters.is_perturbed)
            if gradient.names:
                self.method.direction.after(self.context(gradient), self.state["direction"], gradient.values)

    @torch.no_grad()
    def combine(self, descent: Descent, clean: PerParameter, is_alone: bool) -> None:
        """Replace `p.grad` by what the descent makes of the gradients of this step."""
        perturbed = clean if is_alone else self.parameters.gradients()
        shared = set(clean.names) & set(perturbed.names)  # a parameter may have a gradient in one pass alone
        if not shared:
            return
        clean, perturbed = clean.where(shared.__contains__), perturbed.where(shared.__contains__)
        context, state = self.context(clean), self.state["descent"]
        if is_alone:
            gradient = descent.alone(context, state, clean.values)
        else:
            gradient = descent.combine(context, state, clean.values, perturbed.values)
        self.parameters.write_gradients(clean.parameters, gradient)

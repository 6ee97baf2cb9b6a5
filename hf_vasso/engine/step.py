"""
One optimizer step of a sharpness-aware method, for any training loop.

    clean pass          forward and backward over all micro-batches of the step at w
    direction           vector = update(clean gradient)
    perturbation        w + eps, w kept as a copy
    perturbed pass      the same micro-batches at w + eps, then w again, bit for bit
    descent             the gradient in p.grad, for the caller to clip and to step with

The engine asks a `Method` its questions and knows none by name.
"""

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from hf_vasso.engine.buffers import Buffers
from hf_vasso.engine.parameters import Parameters
from hf_vasso.engine.passes import Passes, StepResult
from hf_vasso.engine.questions import Questions
from hf_vasso.engine.rho import RhoSchedule
from hf_vasso.engine.savepoint import Savepoint
from hf_vasso.engine.streams import Streams
from hf_vasso.engine.sweeps import Ascent, Share, Sweeps
from hf_vasso.methods.base import PassesOfStep, Schedule, overrides
from hf_vasso.methods.method import Method

__all__ = ["SharpnessAwareStep"]


class SharpnessAwareStep:
    """
    The forward and backward passes of an optimizer step, by a sharpness-aware method.

    Args:
        method: The method, from `get_method` or put together by hand.
        named_parameters: Names and parameters, `model.named_parameters()`; or the function that lists them,
            `model.named_parameters`, which also names what is added to the model later.
        optimizer: The base optimizer, which the engine reads and never steps. What its parameter groups hold at a step
            is perturbed in that step, parameters that the model does not have included; all else stays where it is.
        total_steps: Optimizer steps of the whole training, for schedules. 0 where unknown.
        steps_per_epoch: Optimizer steps of a pass over the data, for methods with an extra loss. 0 where unknown.
        num_examples: Examples of the data, for the same. 0 where unknown.
        scaler: The `GradScaler` by which `passes` scale the loss, if one is used; one that is disabled counts as none.
        buffers: The model's buffers, or the function that lists them, `model.buffers`. When some hold floats
            (BatchNorm's statistics), all count the first pass only, and each pass begins with the same ones.
        rho_warmup_steps: Steps over which rho grows from 0, >= 0. Below 1 it is a share of `total_steps`. None is a
            tenth of them, and 0 where they are unknown.
        rho_scheduler_type: "constant", "linear", "cosine" or "learning_rate". None is constant, or the
            learning rate's for a method with a `rho_min`.
        no_perturb: Regular expression; a parameter in whose name it is found is trained but never perturbed.
        same_dropout: Whether both passes draw the same random numbers. Either way the pass that gives the update draws
            those that it would draw without a perturbation.
        ascent_sync: Whether the gradient of an ascent is averaged over ranks. If not, each perturbs along its own, and
            keeps a state of its own; a step has one reduction less.
        seed: Seed of the engine's own random numbers; equal on all ranks.
        undo_on_error: Whether a step that raises leaves what the method keeps as it was, at the price of a copy of it.
            Weights, buffers, random numbers and counters are put back in any case.

    Raises:
        ValueError: For a number out of its range, a `no_perturb` that leaves out none or all parameters, an optimizer
            that holds none of the model's, or an `ascent_sync` of False where all ranks need the same gradient at w.

    Example:
        >>> import torch
        >>> from hf_vasso import SharpnessAwareStep, get_method
        >>> model = torch.nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> engine = SharpnessAwareStep(get_method("vasso"), model.named_parameters(), optimizer, total_steps=0)
        >>> class MeanSquare:
        ...     def backward(self, batch, sync):
        ...         loss = model(batch).square().mean()
        ...         loss.backward()
        ...         return loss.detach()
        >>> result = engine.step([torch.ones(4, 2)], MeanSquare(), measure=True)
        >>> optimizer.step()
        >>> round(result.perturbation_norm.item(), 4)
        0.01
    """

    def __init__(
        self,
        method: Method,
        named_parameters: Iterable[tuple[str, Tensor]] | Callable[[], Iterable[tuple[str, Tensor]]],
        optimizer: torch.optim.Optimizer,
        *,
        total_steps: int,
        steps_per_epoch: int = 0,
        num_examples: int = 0,
        scaler: Any = None,
        buffers: Iterable[Tensor] | Callable[[], Iterable[Tensor]] = (),
        rho_warmup_steps: float | None = None,
        rho_scheduler_type: str | None = None,
        no_perturb: str | None = None,
        same_dropout: bool = True,
        ascent_sync: bool = True,
        seed: int = 0,
        undo_on_error: bool = True,
    ) -> None:
        self.method = method
        self.scaler = scaler if scaler is not None and scaler.is_enabled() else None
        self.skipped_steps = 0
        """Steps so far that met a gradient that was not finite, at w or at w + eps."""
        own_type = "constant" if method.rho_min is None else "learning_rate"
        rho_schedule = RhoSchedule(total_steps, rho_warmup_steps, rho_scheduler_type or own_type)
        self._parameters = Parameters(named_parameters, optimizer, no_perturb, self.scaler)
        self._generator = torch.Generator().manual_seed(seed)
        self._streams = Streams(same_dropout, overrides(method.schedule, Schedule, "after"), self._generator)
        self._questions = Questions(
            method,
            self._parameters,
            optimizer,
            rho_schedule,
            self._generator,
            total_steps=total_steps,
            steps_per_epoch=steps_per_epoch,
            num_examples=num_examples,
        )
        self._buffers = Buffers(buffers)
        self._ascent_sync = ascent_sync
        self._sweeps = Sweeps(method, self._parameters, self._buffers, ascent_sync)
        self._before = Savepoint(self._parameters, self._buffers, self._questions, self._sweeps, undo_on_error)
        self._questions.check()

    def step(self, batches: Iterable[Any], passes: Passes, measure: bool = False) -> StepResult:
        """
        Leave in `p.grad` the gradient that the base optimizer is to step with.

        Args:
            batches: The micro-batches of the step.
            passes: How to run a forward and backward pass over one of them.
            measure: Whether to measure the norm of the perturbation and its cosine, which reads all weights once more.

        Returns:
            The losses and measurements. Under a `GradScaler` a step with `skipped_at` has gradients that are not
            finite, so the scaler skips it.

        Raises:
            ValueError: If a gradient is sparse or complex.
            Exception: What `passes` raise. All but the gradients is as it was before the step.
        """
        batches = list(batches)
        self._sweeps.check(passes)
        self._parameters.follow(self.optimizer, self._forget)
        self._before.take()
        skipped_steps = self.skipped_steps
        try:
            return self._make_step(batches, passes, measure)
        except BaseException:
            self._before.restore()
            self.skipped_steps = skipped_steps
            raise

    def _make_step(self, batches: list[Any], passes: Passes, measure: bool) -> StepResult:
        ascent = self._before_passes()
        if ascent.kind != "perturbed":
            ascent = self._ascend(ascent.kind, batches, passes)
        if ascent.kind == "clean":
            assert ascent.loss is not None
            result = StepResult(loss=ascent.loss, skipped_at="clean" if ascent.skipped else None)
        else:
            result = self._descend(ascent, batches, passes, measure)
        if self.method.descent is not None and ascent.clean is not None:
            self._questions.combine(self.method.descent, ascent.clean, is_alone=ascent.kind == "clean")
        self.steps += 1
        self.skipped_steps += result.skipped
        ascent.record()  # last, as it is the one thing that cannot be undone
        return result

    @property
    def steps(self) -> int:
        """Steps made so far."""
        return self._questions.steps

    @steps.setter
    def steps(self, steps: int) -> None:
        self._questions.steps = steps

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """The base optimizer, which may be exchanged between two steps."""
        return self._questions.optimizer

    @optimizer.setter
    def optimizer(self, optimizer: torch.optim.Optimizer) -> None:
        self._questions.optimizer = optimizer

    @property
    def passes(self) -> float:
        """Passes over a micro-batch made so far, each forward and backward; one over a share counts as that share."""
        return self._sweeps.passes

    @property
    def forward_passes_alone(self) -> float:
        """Passes that went forward alone, to rank the examples or to ask a teacher."""
        return self._sweeps.forward_alone

    def state_dict(self) -> dict[str, Any]:
        """
        Everything that a later step depends on: a collective where parameters are sharded.

        Returns:
            Numbers, strings and whole tensors on the CPU, which `torch.load(..., weights_only=True)` reads.
        """
        return {
            "steps": self.steps,
            "passes": self.passes,
            "forward_passes_alone": self.forward_passes_alone,
            "skipped_steps": self.skipped_steps,
            "generator": self._generator.get_state(),
            "parts": self._questions.save(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """
        Go on from a saved state. A part of another kind than the saved one starts afresh and says so in the log.

        Args:
            state: What `state_dict` returned.

        Raises:
            ValueError: If the state belongs to another model, or a part cannot go on with it in this training.
        """
        self._parameters.follow(self.optimizer, self._forget)
        self._questions.load(state["parts"])
        self.steps = state["steps"]
        self._sweeps.passes = state["passes"]
        self._sweeps.forward_alone = state.get("forward_passes_alone", 0)  # unknown to version 0.1
        self.skipped_steps = state["skipped_steps"]
        self._generator.set_state(state["generator"])

    def _forget(self, lost: list[str]) -> None:
        """Follow a change of the model, in which tensors of these names are gone."""
        self._buffers.follow()
        self._questions.forget(lost)

    @torch.no_grad()
    def _before_passes(self) -> Ascent:
        """Decide which passes the step makes, and take the adversary of before if that is to be reused."""
        perturbable = self._parameters.perturbable()
        if not perturbable.names:
            return Ascent("clean")  # all that the optimizer holds is frozen, or matches no_perturb
        kind = self._questions.before_step(perturbable)
        if kind != "perturbed":
            return Ascent(kind)
        adversary = self._questions.last_adversary(perturbable)
        return Ascent(kind if adversary is not None else self.method.schedule.without_adversary, adversary=adversary)

    def _ascend(self, kind: PassesOfStep, batches: list[Any], passes: Passes) -> Ascent:
        """Run the clean pass, and find the vector that the adversary follows."""
        whole = kind == "clean" or self.method.ascent_fraction == 1.0
        with self._streams.clean(kind, whole):
            ascent = self._sweep_at_w(kind, batches, passes, whole)
        if kind == "clean" and not self.method.direction.remembers and self.method.descent is None:
            return ascent  # the stock step: nobody asks for its gradient
        ascent.clean = self._parameters.gradients()
        if self.method.descent is not None:  # the next pass writes over views, as those of DDP's buckets
            ascent.clean.values = [value.clone() if value._is_view() else value for value in ascent.clean.values]
        perturbable = ascent.clean.where(self._parameters.is_perturbed)
        if not perturbable.names:
            return ascent
        with torch.no_grad():
            # The host waits for the pass here; ranks get the same number. What is not perturbed counts too, since a
            # descent combines it.
            norm = self._questions.context(ascent.clean).norm(ascent.clean.values).item()
            if math.isfinite(norm):
                ascent.adversary = self._questions.adversary(perturbable)
                if kind == "both":
                    ascent.kind = self._questions.after_clean_pass(perturbable, norm)
                return ascent
        ascent.skipped = True
        ascent.clean = None
        with torch.no_grad():
            ascent.adversary = self._questions.last_adversary(perturbable)
        if self.scaler is not None and self._ascent_sync:
            ascent.kind = "clean"  # what overflowed stays in p.grad, so that the scaler skips the step and backs off
        return ascent

    def _sweep_at_w(self, kind: PassesOfStep, batches: list[Any], passes: Passes, whole: bool) -> Ascent:
        """The clean pass, with what the method asks for beside the gradient."""
        if not whole:
            return Ascent(kind, self._sweeps.over_first_share(batches, passes), is_whole=False)
        if self.method.extra_loss is not None:
            context = self._questions.context(self._parameters.perturbable())
            state = self._questions.state["extra_loss"]
            loss, record = self._sweeps.with_extra_loss(batches, passes, context, state)
            return Ascent(kind, loss, record=record)
        if self.method.selection is not None and kind == "both":
            loss, ranked = self._sweeps.over_all_ranked(batches, passes)
            return Ascent(kind, loss, ranked=ranked)
        return Ascent(kind, self._sweeps.over_all(batches, passes, is_ascent=kind == "both"))

    def _descend(self, ascent: Ascent, batches: list[Any], passes: Passes, measure: bool) -> StepResult:
        """Leave the gradient at w + eps in `p.grad`, or where it is not finite the one at w."""
        clean_loss = ascent.loss if ascent.is_whole else None  # the loss of a share is not that of the step
        is_first = clean_loss is None
        names = ascent.adversary.names if ascent.adversary is not None else []
        # All ranks must make the same passes, and the ascent of one is not known to the others without ascent_sync.
        is_skipped_by_all = ascent.skipped and self._ascent_sync
        norm = cosine = None
        chosen = Share.whole(batches)
        with self._parameters.restored(names), self._buffers_of_second_pass(not is_first):
            if ascent.adversary is not None:
                norm, cosine = self._perturb(ascent, measure)
            if ascent.ranked is not None and not is_skipped_by_all:
                chosen = self._sweeps.chosen(ascent.ranked, batches, passes)
            with self._streams.perturbed(alone=is_first):
                loss = self._sweeps.over(chosen, passes)
        skipped_at = "clean" if ascent.skipped else None
        result = StepResult(loss, "perturbed", perturbation_norm=norm, cosine=cosine, skipped_at=skipped_at)
        if clean_loss is not None:
            gap = loss - clean_loss if chosen.batches is batches else None  # else the two are of different examples
            result = replace(result, loss=clean_loss, loss_at="clean", gap=gap)
        if self._parameters.gradients_are_finite():
            self._questions.after_perturbed_pass()
            return result
        if self._ascent_sync and (ascent.skipped or not names):
            return result  # there is no finite gradient at w either
        result.skipped_at = "perturbed"
        if self.scaler is None:  # a scaler skips the step and lowers its scale
            loss = self._sweep_at_w_instead(batches, passes, is_first)
            ascent.clean = None  # there are no two gradients to combine
            result = replace(result, loss=loss, loss_at="clean") if is_first else result
        return result

    def _sweep_at_w_instead(self, batches: list[Any], passes: Passes, lost_the_first: bool) -> Tensor:
        """A pass at w that replaces the lost one, which may have been the first of the step."""
        if lost_the_first:
            self._buffers.put_back(self._before.buffer_copies)
        with self._buffers_of_second_pass(not lost_the_first):
            with self._streams.perturbed(alone=lost_the_first):
                return self._sweeps.over_all(batches, passes, is_ascent=False)

    def _buffers_of_second_pass(self, is_second: bool) -> AbstractContextManager[None]:
        return self._buffers.counted_once(self._before.buffer_copies) if is_second else nullcontext()

    def _perturb(self, ascent: Ascent, measure: bool) -> tuple[Tensor | None, Tensor | None]:
        """Move to w + eps and let go of what is no longer needed."""
        assert ascent.adversary
        measured = self._questions.perturb(ascent.adversary, ascent.clean, measure)
        ascent.adversary = None
        if self.method.descent is None:
            ascent.clean = None
        return measured

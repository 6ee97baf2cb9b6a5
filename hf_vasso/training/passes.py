"""The passes of the engine, made by a Trainer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from hf_vasso.methods import Method
from hf_vasso.methods.base import BatchOutput
from hf_vasso.training.added_loss import added_loss, logits_with, observed_calls, observed_losses
from hf_vasso.training.example_losses import counted_tokens, refuse_other_losses
from hf_vasso.training.example_share import count_examples, take_examples
from hf_vasso.training.loss_scale import item_shares, own_mean
from hf_vasso.training.micro_batch import MicroBatch
from hf_vasso.training.outputs import class_logits
from hf_vasso.training.positions import POSITIONS

__all__ = ["TrainerPasses", "micro_batches"]


def micro_batches(trainer: Trainer, method: Method, held: Sequence[Any]) -> list[MicroBatch]:
    """The micro-batches of a step, from the inputs that the trainer held back for it."""
    shares = item_shares(trainer, held)
    is_kept = method.schedule.perturbs  # a pass at w + eps is made again at w where its gradient is not finite
    return [MicroBatch(inputs, share, is_kept) for inputs, share in zip(held, shares, strict=True)]


class TrainerPasses:
    """The engine's passes through the Trainer's own `training_step`."""

    def __init__(self, trainer: Trainer, model: nn.Module, training_step: Callable[..., Tensor]) -> None:
        self._trainer = trainer
        self._model = model
        self._training_step = training_step

    def backward(self, batch: MicroBatch, sync: bool) -> Tensor:
        return self._backward(batch, batch.inputs_of_a_pass(), sync)

    def count_examples(self, batch: MicroBatch) -> int:
        return count_examples(batch.inputs)

    def backward_with_losses(self, batch: MicroBatch, sync: bool) -> tuple[Tensor, Tensor]:
        with observed_losses(self._trainer) as found:
            loss = self.backward(batch, sync)
        return loss, found[0]

    @torch.no_grad()
    def losses_without_gradients(self, batch: MicroBatch) -> Tensor:
        trainer: Any = self._trainer
        inputs = trainer._prepare_inputs(batch.inputs_of_a_pass())
        given = copy.copy(inputs)
        with trainer.compute_loss_context_manager():
            loss, outputs = trainer.compute_loss(self._model, inputs, return_outputs=True)
        losses = trainer.example_losses(given, outputs)
        if trainer.state.global_step == 0 and not trainer.has_own_example_losses:
            refuse_other_losses(trainer, given, outputs, losses, loss)
        return losses

    def backward_with_extra_loss(
        self, batch: MicroBatch, sync: bool, extra_loss: Callable[[BatchOutput], Tensor]
    ) -> Tensor:
        inputs = batch.inputs_of_a_pass()
        positions = None
        if isinstance(inputs, Mapping):
            inputs = dict(inputs)
            positions = inputs.pop(POSITIONS, None)

        with observed_calls(self._model) as calls:

            def added(given: Any, outputs: Any) -> Tensor:
                logits = class_logits(self._trainer, given, outputs)
                where = positions if positions is None else positions.to(logits.device)
                forward = partial(logits_with, self._trainer, given, calls)
                return extra_loss(BatchOutput(logits, counted_tokens(self._trainer, given, logits), where, forward))

            with added_loss(self._trainer, added):
                return self._backward(batch, inputs, sync)

    def gather(self, positions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        accelerator = self._trainer.accelerator
        padded: Any = accelerator.pad_across_processes((positions, logits), pad_index=-1)  # ranks may have fewer
        positions, logits = accelerator.gather(padded)  # pyright: ignore[reportAssignmentType]
        known = positions >= 0
        return positions[known], logits[known]

    def take(self, batches: Sequence[MicroBatch], rows: Sequence[Tensor]) -> list[MicroBatch]:
        for batch in batches:
            self.count_examples(batch)  # else rows of something else would be taken
        taken = [take_examples(batch.inputs, row) for batch, row in zip(batches, rows, strict=True)]
        shares = item_shares(self._trainer, taken)
        return [MicroBatch(inputs, share, is_kept=False) for inputs, share in zip(taken, shares, strict=True)]

    def _backward(self, batch: MicroBatch, inputs: Any, sync: bool) -> Tensor:
        accelerator = self._trainer.accelerator
        state = accelerator.gradient_state
        state._set_sync_gradients(sync)  # read by accelerate, and by the Trainer's hooks on replicated parameters
        sync_anyway = state.plugin_kwargs.get("sync_each_batch", False)
        with (
            nullcontext() if sync or sync_anyway else accelerator.no_sync(self._model),
            own_mean(self._trainer, batch.share),
        ):
            return self._training_step(self._model, inputs, batch.share.own if batch.share.has_labels else None)

"""The passes of the engine, made by a Trainer."""

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Trainer

from hf_vasso.methods.base import BatchOutput
from hf_vasso.training.added_loss import added_loss, logits_with, observed_losses
from hf_vasso.training.example_losses import counted_tokens, refuse_other_losses
from hf_vasso.training.example_share import count_examples, take_examples
from hf_vasso.training.loss_scale import ItemShare, item_shares, own_mean
from hf_vasso.training.positions import POSITIONS

__all__ = ["TrainerPasses"]


class TrainerPasses:
    """The engine's passes through the Trainer's own `training_step`."""

    def __init__(self, trainer: Trainer, model: nn.Module, training_step: Callable[..., Tensor]) -> None:
        self._trainer = trainer
        self._model = model
        self._training_step = training_step

    def backward(self, batch: tuple[dict[str, Any], ItemShare], sync: bool) -> Tensor:
        inputs, share = batch
        accelerator = self._trainer.accelerator
        state = accelerator.gradient_state
        state._set_sync_gradients(sync)  # read by accelerate, and by the Trainer's hooks on replicated parameters
        sync_anyway = state.plugin_kwargs.get("sync_each_batch", False)
        with (
            nullcontext() if sync or sync_anyway else accelerator.no_sync(self._model),
            own_mean(self._trainer, share),
        ):
            # A copy, since a subclass may take the labels out of the inputs that the second pass needs again.
            return self._training_step(self._model, copy.copy(inputs), share.own if share.has_labels else None)

    def count_examples(self, batch: tuple[dict[str, Any], ItemShare]) -> int:
        return count_examples(batch[0])

    def backward_with_losses(self, batch: tuple[dict[str, Any], ItemShare], sync: bool) -> tuple[Tensor, Tensor]:
        with observed_losses(self._trainer) as found:
            loss = self.backward(batch, sync)
        return loss, found[0]

    @torch.no_grad()
    def losses_without_gradients(self, batch: tuple[dict[str, Any], ItemShare]) -> Tensor:
        trainer: Any = self._trainer
        inputs = trainer._prepare_inputs(copy.copy(batch[0]))
        with trainer.compute_loss_context_manager():
            loss, outputs = trainer.compute_loss(self._model, dict(inputs), return_outputs=True)
        losses = trainer.example_losses(inputs, outputs)
        if trainer.state.global_step == 0 and not trainer.has_own_example_losses:
            refuse_other_losses(trainer, inputs, outputs, losses, loss)
        return losses

    def backward_with_extra_loss(
        self, batch: tuple[dict[str, Any], ItemShare], sync: bool, extra_loss: Callable[[BatchOutput], Tensor]
    ) -> Tensor:
        inputs, share = batch
        inputs = dict(inputs)
        positions = inputs.pop(POSITIONS, None)

        def added(given: Mapping[str, Any], outputs: Any) -> Tensor:
            logits = outputs["logits"]
            where = positions if positions is None else positions.to(logits.device)
            forward = partial(logits_with, self._trainer, given)
            return extra_loss(BatchOutput(logits, counted_tokens(self._trainer, given, logits), where, forward))

        with added_loss(self._trainer, added):
            return self.backward((inputs, share), sync)

    def gather(self, positions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        accelerator = self._trainer.accelerator
        padded: Any = accelerator.pad_across_processes((positions, logits), pad_index=-1)  # ranks may have fewer
        positions, logits = accelerator.gather(padded)  # pyright: ignore[reportAssignmentType]
        known = positions >= 0
        return positions[known], logits[known]

    def take(
        self, batches: Sequence[tuple[dict[str, Any], ItemShare]], rows: Sequence[Tensor]
    ) -> list[tuple[dict[str, Any], ItemShare]]:
        for batch in batches:
            self.count_examples(batch)  # else rows of something else would be taken
        taken = [take_examples(inputs, row) for (inputs, _), row in zip(batches, rows, strict=True)]
        return list(zip(taken, item_shares(self._trainer, taken), strict=True))

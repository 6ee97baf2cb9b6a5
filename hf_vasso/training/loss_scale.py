"""
The loss as the mean over the items of the whole optimizer step, whatever head the model has.

Each micro-batch is asked for its own mean: it is told its own count of items and that no accumulation goes on. Heads,
label smoothers and loss functions then agree, whether they honour the count or ignore it. The mean is divided by
total / (own * ranks), total over all micro-batches and ranks, so that the sum over micro-batches and the average that
the ranks take give one mean over the step. For even batches that divisor is exactly the number of micro-batches.

The stock Trainer leaves this to the head, and most heads of transformers 5 ignore the count: docs/loss-scale.md.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from hf_vasso.training.instance_attributes import instance_attributes

__all__ = ["IGNORE_INDEX", "ItemShare", "item_shares", "own_count", "own_mean"]

IGNORE_INDEX = -100  # the label that every loss of transformers leaves out


@dataclass(frozen=True)
class ItemShare:
    """
    A micro-batch's part in the items of its step.

    Args:
        own: Its items, at least 1.
        has_labels: Whether the items were counted in labels, so that heads may be told their number.
        empty: Whether it has no item at all, so that its loss counts nothing, not even NaN.
        weight: Its items times the ranks that average their gradients.
        total: The items of the step, over all its micro-batches and ranks, at least 1.
    """

    own: Tensor
    has_labels: bool
    empty: Tensor
    weight: Tensor
    total: Tensor

    def scale(self, loss: Tensor) -> Tensor:
        """What the micro-batch's own mean contributes to the step's loss."""
        wide = torch.promote_types(loss.dtype, torch.float32)
        divisor = (self.total.to(wide) / self.weight.to(wide)).to(loss.dtype)
        return torch.where(self.empty, torch.zeros_like(loss), loss / divisor)


def item_shares(trainer: Trainer, batches: Sequence[Any]) -> list[ItemShare]:
    """The share of each micro-batch of a step: one collective with several ranks, and no wait for the device."""
    shifted = getattr(trainer, "_loss_shifts_labels", False)  # transformers 5; 4.57 counts all labels
    counts = torch.stack([_count_items(batch, shifted) for batch in batches]).to(trainer.args.device)
    # Without average_tokens_across_devices each rank takes a mean of its own, as in the stock Trainer.
    ranks = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
    total = counts.sum()
    if ranks > 1:
        total = torch.as_tensor(trainer.accelerator.gather(total)).sum()
    return [
        ItemShare(
            own=count.clamp(min=1),
            has_labels=isinstance(batch, Mapping) and "labels" in batch,
            empty=count == 0,
            weight=count.clamp(min=1) * ranks,
            total=total.clamp(min=1),
        )
        for batch, count in zip(batches, counts, strict=True)
    ]


@contextmanager
def own_mean(trainer: Trainer, share: ItemShare) -> Iterator[None]:
    """
    Let `training_step` take a micro-batch's own mean and weigh it by its share.

    `compute_loss` is shadowed on the instance, so that a subclass' own is weighed too.
    """
    unweighed = trainer.compute_loss

    def compute_loss(*args: Any, **kwargs: Any) -> Any:
        loss = unweighed(*args, **kwargs)
        return (share.scale(loss[0]), *loss[1:]) if isinstance(loss, tuple) else share.scale(loss)

    with (
        instance_attributes(trainer, compute_loss=compute_loss, current_gradient_accumulation_steps=1),
        own_count(trainer),
    ):
        yield


def own_count(trainer: Trainer) -> AbstractContextManager[None]:
    """Keep `compute_loss` from multiplying by the ranks, which most heads have not divided by."""
    return instance_attributes(trainer.args, average_tokens_across_devices=False)


def _count_items(batch: Any, shifted: bool) -> Tensor:
    """Labels that count, or the examples where there are no labels."""
    if isinstance(batch, Mapping):
        if torch.is_tensor(batch.get("shift_labels")):
            return batch["shift_labels"].ne(IGNORE_INDEX).sum()
        labels = batch.get("labels")
        if torch.is_tensor(labels):
            return (labels[..., 1:] if shifted else labels).ne(IGNORE_INDEX).sum()
        batch = batch.values()
    return torch.tensor(next((len(value) for value in batch if torch.is_tensor(value)), 1))

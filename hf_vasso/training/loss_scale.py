"""
The loss as the mean over the items of the whole optimizer step, whatever head the model has.

Each micro-batch is asked for its own mean: it is told its own count of items and that no accumulation goes on. Heads,
label smoothers and loss functions then agree, whether they honour the count or ignore it. The mean is divided by
total / (own * ranks), total over all micro-batches and ranks, so that the sum over micro-batches and the average that
the ranks take give one mean over the step. For even batches that divisor is exactly the number of micro-batches.

The stock Trainer leaves this to the head, and most heads of transformers 5 ignore the count: docs/loss-scale.md.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer

from hf_vasso.training.counted_labels import IGNORE_INDEX, counted_labels, ignored_labels
from hf_vasso.training.instance_attributes import instance_attributes

__all__ = ["IGNORE_INDEX", "ItemShare", "item_shares", "own_count", "own_mean"]

_LABELS = ("labels", "shift_labels")


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
        filler: A label that counts.
    """

    own: Tensor
    has_labels: bool
    empty: Tensor
    weight: Tensor
    total: Tensor
    filler: int = 0

    def scale(self, loss: Tensor) -> Tensor:
        """What the micro-batch's own mean contributes to the step's loss."""
        wide = torch.promote_types(loss.dtype, torch.float32)
        divisor = (self.total.to(wide) / self.weight.to(wide)).to(loss.dtype)
        return torch.where(self.empty, torch.zeros_like(loss), loss / divisor)

    def with_a_label(self, inputs: Any) -> Any:
        """
        The inputs of the micro-batch; if no label counts, all labels are replaced by one that does.

        A mean over nothing is 0/0, and its backward pass gives NaN even if the loss is then multiplied by 0. With
        labels the loss is a number, which counts 0 times. The host does not wait for the device to learn which it is.
        """
        if not isinstance(inputs, Mapping) or (self.empty.device.type == "cpu" and not self.empty):
            return inputs
        filled: Any = copy.copy(inputs)
        for name in _LABELS:
            if torch.is_tensor(inputs.get(name)):
                labels = inputs[name]
                filled[name] = labels.masked_fill(self.empty.to(labels.device), self.filler)
        return filled


def item_shares(trainer: Trainer, batches: Sequence[Any]) -> list[ItemShare]:
    """The share of each micro-batch of a step: one collective with several ranks, and no wait for the device."""
    labels = [_labels(trainer, batch) for batch in batches]
    counts = torch.stack(
        [
            torch.tensor(_count_examples(batch) or 1) if of_batch is None else counted_labels(trainer, of_batch).sum()
            for batch, of_batch in zip(batches, labels, strict=True)
        ]
    ).to(trainer.args.device)
    # Without average_tokens_across_devices each rank takes a mean of its own, as in the stock Trainer.
    ranks = trainer.accelerator.num_processes if trainer.args.average_tokens_across_devices else 1
    total = counts.sum()
    if ranks > 1:
        total = torch.as_tensor(trainer.accelerator.gather(total)).sum()
    return [
        ItemShare(
            own=count.clamp(min=1),
            has_labels=of_batch is not None and "labels" in batch,
            empty=count == 0,
            weight=count.clamp(min=1) * ranks,
            total=total.clamp(min=1),
            filler=0 if of_batch is None else int(0 in ignored_labels(trainer, of_batch)),
        )
        for batch, of_batch, count in zip(batches, labels, counts, strict=True)
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


def _labels(trainer: Trainer, batch: Any) -> Tensor | None:
    """The labels that a model predicts; None where there are none, or no tensor of them."""
    if not isinstance(batch, Mapping):
        return None
    if torch.is_tensor(batch.get("shift_labels")):
        return batch["shift_labels"]
    labels = batch.get("labels")
    if not torch.is_tensor(labels):
        return None
    shifted = getattr(trainer, "_loss_shifts_labels", False)  # transformers 5; 4.57 counts all labels
    return labels[..., 1:] if shifted else labels


def _count_examples(batch: Any) -> int | None:
    """The length of the first tensor, however deep it lies; None without one that has a dimension."""
    if torch.is_tensor(batch):
        return len(batch) if batch.dim() else None
    if isinstance(batch, Mapping):
        parts = list(batch.values())
    elif isinstance(batch, (list, tuple)):
        parts = list(batch)
    elif is_dataclass(batch) and not isinstance(batch, type):
        parts = [getattr(batch, entry.name) for entry in fields(batch)]
    else:
        return None
    return next((count for count in map(_count_examples, parts) if count is not None), None)

"""Ways to look at a running training, and to disturb it, that the tests of the Trainer share."""

from collections.abc import Callable
from typing import Any

import torch
from tiny_training import weights_of
from torch import Tensor, nn
from transformers import default_data_collator

from hf_vasso import VassoTrainer

__all__ = ["BatchRecorder", "PassTrainer", "vasso_by_hand"]

Batch = dict[str, Tensor]


class BatchRecorder:
    """A data collator that keeps the batches it made, in order."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __call__(self, examples: list[dict[str, Any]]) -> Batch:
        batch = default_data_collator(examples)
        self.batches.append(dict(batch))
        return batch


class PassTrainer(VassoTrainer):
    """
    Numbers the passes over micro-batches from 0, keeps the weights that each saw, and may disturb one.

    Attributes:
        seen: The weights at each pass.
        disturb: Number of a pass to what becomes of its loss.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.seen: list[dict[str, Tensor]] = []
        self.disturb: dict[int, Callable[[Tensor], Tensor]] = {}
        super().__init__(*args, **kwargs)

    def compute_loss(self, model: nn.Module, *args: Any, **kwargs: Any) -> Any:
        self.seen.append(weights_of(model))
        loss = super().compute_loss(model, *args, **kwargs)
        return self.disturb.get(len(self.seen) - 1, _as_it_is)(loss)


def _as_it_is(loss: Tensor) -> Tensor:
    return loss


def vasso_by_hand(
    model: nn.Module,
    batches: list[Batch],
    *,
    rho: float,
    theta: float,
    learning_rate: float,
    max_grad_norm: float,
    lost: tuple[int, ...] = (),
) -> list[float]:
    """
    VASSO with AdamW, clipping and a linear schedule as its paper writes it, one batch per step.

    Args:
        lost: Steps whose gradient at w is not to be used.

    Returns:
        The losses at w.
    """
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0)
    average: list[Tensor] | None = None
    losses = []
    model.train()
    for step, batch in enumerate(batches):
        loss = model(**batch).loss
        gradients = torch.autograd.grad(loss, parameters)
        losses.append(loss.item())
        if step not in lost:
            old = average if average is not None else gradients
            average = [(1 - theta) * d + theta * g for d, g in zip(old, gradients, strict=True)]
        before = [parameter.detach().clone() for parameter in parameters]
        if average is not None:
            norm = torch.sqrt(sum(d.square().sum() for d in average))
            with torch.no_grad():
                for parameter, d in zip(parameters, average, strict=True):
                    parameter += rho * d / norm
        optimizer.zero_grad()
        model(**batch).loss.backward()
        with torch.no_grad():
            for parameter, w in zip(parameters, before, strict=True):
                parameter.copy_(w)
        torch.nn.utils.clip_grad_norm_(parameters, max_grad_norm)
        optimizer.param_groups[0]["lr"] = learning_rate * (1 - step / len(batches))
        optimizer.step()
    return losses

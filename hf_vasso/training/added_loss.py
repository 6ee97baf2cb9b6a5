"""Let the loss of a micro-batch show what it was made of, and add to it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from transformers import Trainer

from hf_vasso.training.instance_attributes import instance_attributes

__all__ = ["added_loss", "logits_with", "observed_losses"]


@contextmanager
def added_loss(trainer: Any, extra_loss: Callable[[Mapping[str, Any], Any], Tensor | float]) -> Iterator[None]:
    """
    Let `compute_loss` add something to its loss.

    Args:
        trainer: Its `compute_loss` is shadowed, that of a subclass too.
        extra_loss: From what the model got, labels included, and what it gave to what is added.
    """
    plain = trainer.compute_loss

    def compute_loss(model: Any, inputs: dict[str, Any], return_outputs: bool = False, **kwargs: Any) -> Any:
        given = dict(inputs)  # a label smoother takes the labels out
        loss, outputs = plain(model, inputs, return_outputs=True, **kwargs)
        loss = loss + extra_loss(given, outputs)
        return (loss, outputs) if return_outputs else loss

    with instance_attributes(trainer, compute_loss=compute_loss):
        yield


def logits_with(trainer: Trainer, inputs: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Tensor:
    """
    What the model says with other weights, without dropout.

    Args:
        trainer: Its model is used, and left in the mode in which it is.
        inputs: What the model got. Some make their decoder's inputs of the labels.
        weights: By parameter name, cast to the parameter's dtype; others are the model's own, and so are the buffers.

    Returns:
        The logits, without a graph.
    """
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    cast = {name: tensor.to(model.get_parameter(name).dtype) for name, tensor in weights.items()}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            return functional_call(model, cast, (), dict(inputs))["logits"]
    finally:
        model.train(was_training)


@contextmanager
def observed_losses(trainer: Any) -> Iterator[list[Tensor]]:
    """
    Put down the loss of each example of each micro-batch that `compute_loss` sees, at no price.

    Args:
        trainer: A trainer with the method `example_losses`. Its `compute_loss` is shadowed, that of a subclass too.

    Yields:
        A list that fills, (examples,) each.
    """
    found: list[Tensor] = []

    def observe(inputs: Mapping[str, Any], outputs: Any) -> float:
        found.append(trainer.example_losses(inputs, outputs).detach())
        return 0.0

    with added_loss(trainer, observe):
        yield found

"""Let the loss of a micro-batch show what it was made of, and add to it."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from hf_vasso.training.instance_attributes import instance_attributes
from hf_vasso.training.micro_batch import copy_of
from hf_vasso.training.outputs import class_logits, loss_and_outputs

__all__ = ["Call", "added_loss", "logits_with", "observed_calls", "observed_losses"]

Call = tuple[tuple[Any, ...], dict[str, Any]]
"""Arguments of a model."""


@contextmanager
def added_loss(trainer: Any, extra_loss: Callable[[Any, Any], Tensor | float]) -> Iterator[None]:
    """
    Let `compute_loss` add something to its loss.

    Args:
        trainer: Its `compute_loss` is shadowed, that of a subclass too.
        extra_loss: From what `compute_loss` got and what the model gave to what is added. What was taken out of the
            inputs is still there; tensors that it edited in place are the edited ones.
    """
    plain = trainer.compute_loss

    def compute_loss(model: Any, inputs: Any, return_outputs: bool = False, **kwargs: Any) -> Any:
        given = copy.copy(inputs)  # a label smoother takes the labels out
        loss, outputs = loss_and_outputs(trainer, plain(model, inputs, return_outputs=True, **kwargs))
        loss = loss + extra_loss(given, outputs)
        return (loss, outputs) if return_outputs else loss

    with instance_attributes(trainer, compute_loss=compute_loss):
        yield


@contextmanager
def observed_calls(model: nn.Module) -> Iterator[list[Call]]:
    """
    Record what a model is called with, copied before the call because the model may edit it in place.

    Args:
        model: As it is called, whatever is wrapped around it.

    Yields:
        A list that fills.
    """
    calls: list[Call] = []

    def observe(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append((copy_of(args), copy_of(kwargs)))

    hook = model.register_forward_pre_hook(observe, with_kwargs=True)
    try:
        yield calls
    finally:
        hook.remove()


def logits_with(trainer: Any, inputs: Any, calls: Sequence[Call], weights: Mapping[str, Tensor]) -> Tensor:
    """
    What the model says with other weights, without dropout.

    Args:
        trainer: Its model is used, and left in the mode in which it is.
        inputs: What `compute_loss` got.
        calls: What the model was called with. The last of them is repeated.
        weights: By parameter name, cast to the parameter's dtype; others are the model's own, and so are the buffers.
            Weights that the model does not have, such as those of a loss, are ignored.

    Returns:
        The logits, without a graph.

    Raises:
        ValueError: No such call was seen.
    """
    if not calls:
        raise ValueError(
            f"method {trainer.method.name!r} calls the model again with other weights, and {type(trainer).__name__}."
            "compute_loss did not call the model that it was given: call that one, or take another method"
        )
    args, kwargs = calls[-1]
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    own = dict(model.named_parameters())
    cast = {name: tensor.to(own[name].dtype) for name, tensor in weights.items() if name in own}
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            return class_logits(trainer, inputs, functional_call(model, cast, args, kwargs))
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

    def observe(inputs: Any, outputs: Any) -> float:
        found.append(trainer.example_losses(inputs, outputs).detach())
        return 0.0

    with added_loss(trainer, observe):
        yield found

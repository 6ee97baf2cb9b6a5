"""What a method may want to know of a micro-batch beside its loss, and what it may add to that."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn import functional
from transformers import Trainer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hf_vasso.training.loss_scale import IGNORE_INDEX, instance_attributes

__all__ = ["added_loss", "example_losses", "logits_with", "observed_losses"]


@torch.no_grad()
def example_losses(trainer: Trainer, inputs: Mapping[str, Any], outputs: Any) -> Tensor:
    """
    The losses of a head of Transformers: of a classifier, a regression, several labels at once, or a language model.

    Args:
        trainer: Its label smoothing holds.
        inputs: What the model got, with "labels".
        outputs: What it gave, with "logits".

    Returns:
        (examples,): for tokens the mean over those of an example that count.

    Raises:
        ValueError: Logits and labels have other shapes.
    """
    labels, logits = inputs.get("labels"), outputs.get("logits")
    if labels is None or logits is None:
        raise ValueError(
            f"no loss of each example is known for a model that gives {', '.join(outputs)} for {', '.join(inputs)}: "
            "override example_losses in the trainer"
        )
    logits = logits.float()
    if logits.shape == labels.shape or (logits.dim() == 2 and logits.shape[1] == 1):
        targets = labels.reshape(logits.shape).to(logits)
        config = getattr(_whole_model(trainer), "config", None)
        many_labels = getattr(config, "problem_type", None) == "multi_label_classification"
        of_entries = functional.binary_cross_entropy_with_logits if many_labels else functional.mse_loss
        return of_entries(logits, targets, reduction="none").flatten(1).mean(1)
    if logits.shape[:-1] != labels.shape or labels.dim() > 2:
        raise ValueError(
            f"no loss of each example is known for logits of shape {tuple(logits.shape)} and labels of shape "
            f"{tuple(labels.shape)}: override example_losses in the trainer"
        )
    if labels.dim() == 2 and type(_whole_model(trainer)).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values():
        logits, labels = logits[:, :-1], labels[:, 1:]
    smoothing = trainer.args.label_smoothing_factor
    losses = functional.cross_entropy(
        logits.flatten(0, -2), labels.flatten(), ignore_index=IGNORE_INDEX, label_smoothing=smoothing, reduction="none"
    ).reshape(labels.shape)
    counts = labels.ne(IGNORE_INDEX)
    return losses if labels.dim() == 1 else losses.sum(1) / counts.sum(1).clamp(min=1)


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
        weights: By parameter name; others are the model's own, and so are the buffers.

    Returns:
        The logits, without a graph.
    """
    model: Any = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            return functional_call(model, dict(weights), (), dict(inputs))["logits"]
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


def _whole_model(trainer: Trainer) -> Any:
    """The model without what was wrapped around it, adapters included."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model

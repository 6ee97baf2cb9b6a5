"""What a model returns beside its loss: in a mapping, in a tuple after the loss, or as an object with `logits`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["class_logits", "described", "labels_of", "logits_of", "loss_and_outputs"]


def loss_and_outputs(trainer: Any, found: Any) -> tuple[Tensor, Any]:
    """
    What `compute_loss` returned when it was asked for the outputs, too.

    Raises:
        ValueError: It is not a pair.
    """
    if isinstance(found, tuple) and len(found) == 2:
        return found
    raise ValueError(
        f"method {trainer.method.name!r} needs the outputs of the model, and {type(trainer).__name__}.compute_loss "
        f"returned {described(found)} with return_outputs=True: return (loss, outputs) there, or take another method"
    )


def logits_of(inputs: Any, outputs: Any) -> Tensor | None:
    """
    The logits of a model, by name in a mapping or an object, by position in a tuple.

    Args:
        inputs: What the model got. In a tuple the logits are known by their examples, those of "labels".
        outputs: What it gave.

    Returns:
        (examples, ...); None where none are known.
    """
    if isinstance(outputs, Mapping):
        logits = outputs.get("logits")
    elif hasattr(outputs, "logits"):
        logits = outputs.logits
    elif isinstance(outputs, (list, tuple)):
        logits = _after_the_loss(inputs, outputs)
    else:
        logits = outputs
    return logits if torch.is_tensor(logits) and logits.dim() else None


def class_logits(trainer: Any, inputs: Any, outputs: Any) -> Tensor:
    """
    Logits whose last dimension is that of the classes.

    Args:
        trainer: Its method needs them.
        inputs: What the model got, labels included.
        outputs: What it gave.

    Returns:
        (examples, ..., classes)

    Raises:
        ValueError: There are none, or their classes are elsewhere, as those of pixels.
    """
    logits = logits_of(inputs, outputs)
    labels = labels_of(inputs)
    if logits is None:
        found = f"gives {described(outputs)} for {described(inputs)}"
    elif labels is not None and labels.dim() >= 3 and logits.shape[:-1] != labels.shape:
        found = f"gives logits of shape {tuple(logits.shape)} for labels of shape {tuple(labels.shape)}"
    else:
        return logits
    model = type(trainer.accelerator.unwrap_model(trainer.model)).__name__
    raise ValueError(
        f"method {trainer.method.name!r} compares logits of classes, (examples, ..., classes), and {model} {found}: "
        "return such logits as `logits` or in a tuple after the loss, or take another method"
    )


def described(value: Any) -> str:
    """Names and kinds of what is in inputs or outputs, for a message."""
    if isinstance(value, Mapping):
        return ", ".join(map(str, value)) or "nothing"
    if isinstance(value, (list, tuple)):
        return f"a {type(value).__name__} of " + (", ".join(map(described, value)) or "nothing")
    if torch.is_tensor(value):
        return f"a tensor of shape {tuple(value.shape)}" if value.dim() else "a loss alone"
    return type(value).__name__


def labels_of(inputs: Any) -> Tensor | None:
    """The labels that a model got; None where there are none, or no tensor of them."""
    labels = inputs.get("labels") if isinstance(inputs, Mapping) else None
    return labels if torch.is_tensor(labels) else None


def _after_the_loss(inputs: Any, outputs: Sequence[Any]) -> Any:
    labels = labels_of(inputs)
    has_loss = len(outputs) > 0 and torch.is_tensor(outputs[0]) and outputs[0].dim() == 0
    logits = next(iter(outputs[int(has_loss) :]), None)
    if labels is None or not labels.dim() or not torch.is_tensor(logits) or not logits.dim():
        return None
    return logits if len(labels) == len(logits) else None

"""Which examples and tokens the heads of Transformers count, and how much each of them loses."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import Trainer
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from hf_vasso.training.counted_labels import IGNORE_INDEX, counted_labels
from hf_vasso.training.outputs import described, labels_of, logits_of

__all__ = ["counted_tokens", "example_losses", "refuse_other_losses"]

_TOLERANCE = 0.02  # narrow types round; another loss is off by more


@torch.no_grad()
def example_losses(trainer: Trainer, inputs: Any, outputs: Any) -> Tensor:
    """
    The losses of a head of Transformers: of a classifier, a regression, several labels at once, or a language model.

    Args:
        trainer: Its label smoothing holds.
        inputs: What the model got, with "labels".
        outputs: What it gave, with "logits" or with logits after the loss.

    Returns:
        (examples,): for tokens the mean over those of an example that count.

    Raises:
        ValueError: Logits and labels have other shapes.
    """
    labels, logits = labels_of(inputs), logits_of(inputs, outputs)
    if labels is None or logits is None:
        raise ValueError(
            f"no loss of each example is known for a model that gives {described(outputs)} for {described(inputs)}: "
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
    if labels.dim() == 2 and _predicts_the_next_token(trainer):
        logits, labels = logits[:, :-1], labels[:, 1:]
    smoothing = trainer.args.label_smoothing_factor
    counts = counted_labels(trainer, labels)
    targets = labels.where(counts, IGNORE_INDEX).flatten()
    losses = functional.cross_entropy(
        logits.flatten(0, -2), targets, ignore_index=IGNORE_INDEX, label_smoothing=smoothing, reduction="none"
    ).reshape(labels.shape)
    return losses if labels.dim() == 1 else losses.sum(1) / counts.sum(1).clamp(min=1)


def counted_tokens(trainer: Trainer, inputs: Any, logits: Tensor) -> Tensor | None:
    """
    The tokens that the loss of a head of Transformers counts.

    Args:
        trainer: Its model says whether a token is compared with the label of the next one.
        inputs: What the model got, labels included.
        logits: What it gave.

    Returns:
        (examples, tokens): which of the logits are compared with a label; None where labels are not those of tokens.
    """
    labels = labels_of(inputs)
    if labels is None or labels.dim() < 2 or labels.shape != logits.shape[:-1]:
        return None
    counted = counted_labels(trainer, labels)
    return functional.pad(counted[:, 1:], (0, 1), value=False) if _predicts_the_next_token(trainer) else counted


def refuse_other_losses(trainer: Trainer, inputs: Any, outputs: Any, losses: Tensor, loss: Tensor) -> None:
    """
    Refuse losses of examples that are not those of the model, as where it computes a loss of its own.

    Args:
        trainer: What made them.
        inputs: What the model got, labels included.
        outputs: What it gave.
        losses: As found by `example_losses`, (examples,).
        loss: The model's, without dimensions, a mean over examples or over the tokens that count.

    Raises:
        ValueError: It has both numbers. Reading them waits for the device.
    """
    logits = logits_of(inputs, outputs)
    counted = None if logits is None else counted_tokens(trainer, inputs, logits)
    counts = torch.ones_like(losses) if counted is None else counted.sum(1).to(losses)
    found, expected = ((losses * counts).sum() / counts.sum().clamp(min=1)).item(), loss.item()
    if abs(found - expected) > _TOLERANCE * (abs(expected) + _TOLERANCE):
        raise ValueError(
            f"the model's loss is {expected:.4g}, and the mean of the losses by which the method would choose among "
            f"the examples is {found:.4g}: override example_losses in the trainer"
        )


def _predicts_the_next_token(trainer: Trainer) -> bool:
    return type(_whole_model(trainer)).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _whole_model(trainer: Trainer) -> Any:
    """The model without what was wrapped around it, adapters included."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model

"""Which labels a loss counts: all but the ignored ones."""

from torch import Tensor
from transformers import Trainer

__all__ = ["IGNORE_INDEX", "counted_labels", "ignored_labels"]

IGNORE_INDEX = -100  # the label that every loss of transformers leaves out, unless the configuration states another

_STATED = ("ignore_index", "loss_ignore_index")
_STATED_FOR_PIXELS = "semantic_loss_ignore_index"  # image classifiers have it too, and for them 255 is a class


def ignored_labels(trainer: Trainer, labels: Tensor) -> set[int]:
    """
    The labels that the model's loss leaves out.

    Args:
        trainer: The configuration of its model may state one, as those of semantic segmentation do.
        labels: (examples, ...). Those of pixels have three dimensions.

    Returns:
        -100 is always among them, since no class has that number.
    """
    config = getattr(trainer.model, "config", None)
    names = (*_STATED, _STATED_FOR_PIXELS) if labels.dim() >= 3 else _STATED
    stated = (getattr(config, name, None) for name in names)
    return {IGNORE_INDEX, *(index for index in stated if isinstance(index, int))}


def counted_labels(trainer: Trainer, labels: Tensor) -> Tensor:
    """Which labels the model's loss counts: booleans of the labels' shape."""
    counted = labels.ne(IGNORE_INDEX)
    for index in ignored_labels(trainer, labels) - {IGNORE_INDEX}:
        counted &= labels.ne(index)
    return counted

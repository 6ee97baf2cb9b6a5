"""Take some of the examples of a micro-batch, for methods that make a pass with a share of them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hf_vasso.training.outputs import described

__all__ = ["count_examples", "take_examples"]


def count_examples(inputs: Any) -> int:
    """
    The number of examples of a micro-batch.

    Args:
        inputs: What the model gets.

    Returns:
        The length of the first dimension, which all tensors share.

    Raises:
        ValueError: They share none, so that nobody can tell the examples apart.
    """
    words = (
        "a pass with a share of the examples needs inputs that are all tensors with one first dimension, that of the "
        "batch, got {}: batch the inputs so, or take another method"
    )
    if not isinstance(inputs, Mapping):
        raise ValueError(words.format(described(inputs)))
    lengths = {name: len(value) if value.dim() else 0 for name, value in inputs.items() if torch.is_tensor(value)}
    if len(set(lengths.values())) != 1 or len(lengths) < len(inputs):
        found = ", ".join(f"{name}: {lengths.get(name, type(inputs[name]).__name__)}" for name in inputs)
        raise ValueError(words.format(found))
    return next(iter(lengths.values()))


def take_examples(inputs: Mapping[str, Any], rows: Tensor) -> dict[str, Any]:
    """The inputs of some examples, by their numbers."""
    return {name: value[rows.to(value.device)] for name, value in inputs.items()}

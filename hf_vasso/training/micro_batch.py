"""A micro-batch for several passes: what one edits in place is not seen by the next."""

import copy
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import recursively_apply

from hf_vasso.training.loss_scale import ItemShare

__all__ = ["MicroBatch", "copy_of"]


@dataclass
class MicroBatch:
    """
    What a step keeps of a micro-batch.

    Args:
        inputs: As the data loader gave them.
        share: Its part in the items of the step.
        is_kept: Whether more than one pass may be made over it.
    """

    inputs: Any
    share: ItemShare
    is_kept: bool

    def inputs_of_a_pass(self) -> Any:
        """
        The inputs, for a pass that may edit them in place.

        The first pass gets the tensors of the data loader, as in the stock Trainer, and each later one a copy made
        before. Whether a pass edits its inputs is known only afterwards, so the copy is always made; it costs less
        than one layer that reads the inputs.
        """
        given = self.inputs
        if self.is_kept:
            self.inputs = copy_of(given)
        return self.share.with_a_label(given)


def copy_of(inputs: Any) -> Any:
    """
    Inputs whose tensors and containers can be edited without changing the given ones.

    Args:
        inputs: Nested mappings, sequences and dataclasses. Objects of other types are shared, unless they are
            arrays or have a method `clone`, as the graphs of PyTorch Geometric.

    Returns:
        The same, with new containers and copied tensors. An object that occurs twice is copied once;
        views that share memory become tensors of their own.
    """
    copies: dict[int, Any] = {}

    def copied(leaf: Any) -> Any:
        if id(leaf) not in copies:
            copies[id(leaf)] = _copied_leaf(leaf)
        return copies[id(leaf)]

    def _copied_leaf(leaf: Any) -> Any:
        if torch.is_tensor(leaf):
            return leaf.detach().clone().requires_grad_(leaf.requires_grad)
        if isinstance(leaf, np.ndarray):
            return leaf.copy()
        if not is_dataclass(leaf):
            return leaf.clone()
        new = copy.copy(leaf)
        for entry in fields(leaf):
            object.__setattr__(new, entry.name, apply(getattr(leaf, entry.name)))  # frozen ones, too
        return new

    def apply(part: Any) -> Any:
        return recursively_apply(copied, part, test_type=_can_be_copied)

    return apply(inputs)


def _can_be_copied(leaf: Any) -> bool:
    if isinstance(leaf, type):
        return False
    return (
        torch.is_tensor(leaf)
        or isinstance(leaf, np.ndarray)
        or is_dataclass(leaf)
        or callable(getattr(leaf, "clone", None))
    )

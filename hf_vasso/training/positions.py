"""Tell which examples of the training data a micro-batch holds: by their position, whatever columns they have."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import datasets
import torch
from torch.utils.data import Dataset, IterableDataset

from hf_vasso.training.instance_attributes import instance_attributes
from hf_vasso.training.outputs import described

__all__ = ["POSITIONS", "positioned_data"]

POSITIONS = "example_positions"


@dataclass(frozen=True)
class _Example:
    """An example and its position; no mapping, so that nobody removes its columns."""

    position: int
    content: Any


class _PositionedData(Dataset):
    def __init__(self, examples: Any) -> None:
        self._examples = examples

    def __len__(self) -> int:
        return len(self._examples)

    def __getitem__(self, position: int) -> _Example:
        return _Example(position, self._examples[position])

    def __getitems__(self, positions: list[int]) -> list[_Example]:
        if hasattr(self._examples, "__getitems__"):
            return list(map(_Example, positions, self._examples.__getitems__(positions)))
        return [self[position] for position in positions]


@dataclass
class _PositionedCollator:
    """Makes a micro-batch as `collate` does, and puts the positions beside it."""

    collate: Any

    def __call__(self, examples: list[_Example]) -> dict[str, Any]:
        batch = self.collate([example.content for example in examples])
        if not isinstance(batch, Mapping):
            raise ValueError(
                f"the positions of the examples go beside the inputs, and the collator makes {described(batch)}: "
                "let it make a mapping, or take another method"
            )
        return {**batch, POSITIONS: torch.tensor([example.position for example in examples])}


@contextmanager
def positioned_data(trainer: Any) -> Iterator[None]:
    """
    Let a trainer make a loader whose micro-batches hold `POSITIONS`, (examples,).

    Args:
        trainer: Its training data and collator are replaced for a while. Columns are removed as ever.

    Raises:
        ValueError: The data have no positions, or are to be sorted by what is in them.
    """
    data = trainer.train_dataset
    if isinstance(data, IterableDataset | datasets.IterableDataset) or not hasattr(data, "__len__"):
        raise ValueError(
            f"{trainer.method.name} must know an example again in the next epoch, and {type(data).__name__} has no "
            "positions: give a data set with a length"
        )
    strategy = getattr(trainer.args, "train_sampling_strategy", "random")
    if getattr(trainer.args, "group_by_length", False) or strategy not in ("random", "sequential"):
        raise ValueError(f"{trainer.method.name} cannot sort the training data by length: leave that out")
    if isinstance(data, datasets.Dataset):
        data, collate = trainer._remove_unused_columns(data, description="training"), trainer.data_collator
    else:
        collate = trainer._get_collator_with_removed_columns(trainer.data_collator, description="training")
    with instance_attributes(trainer, train_dataset=_PositionedData(data), data_collator=_PositionedCollator(collate)):
        yield

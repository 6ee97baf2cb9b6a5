"""Batches of about equally many tokens: pairs of like length together, as many batches for each process."""

import math
from collections.abc import Iterator
from typing import Any

import datasets
import numpy as np
from pyarrow.compute import call_function
from torch.utils.data import Sampler

__all__ = ["TokenBatches", "pair_lengths"]


class TokenBatches(Sampler[list[int]]):
    """
    The batches of one process: the `batch_sampler` of a `DataLoader` that nobody shards again.

    Pairs are sorted by length and cut into batches that have at most `max_tokens` tokens on either side, padded. Where
    their number is no multiple of the processes, the largest ones are halved until it is, so that no process waits for
    a batch that another one does not have. An epoch draws anew which pairs of one length stand together, and the order
    of the batches; how many there are and how long they are is the same in all epochs.

    Args:
        lengths: (pairs, 2), the tokens of each source and target.
        max_tokens: Padded tokens of a batch on either side, at most.
        seed: Of the order.
        num_processes: Among how many processes the batches are dealt out.
        process_index: Which one of them this is.

    Raises:
        ValueError: A pair is longer than a batch may be, or there are too few pairs for a batch of each process.

    Example:
        >>> batches = TokenBatches(np.array([[3, 3], [9, 8], [3, 2], [9, 9]]), max_tokens=18, seed=0)
        >>> sorted(sorted(batch) for batch in batches), round(batches.padding_share, 3)
        ([[0, 2], [1, 3]], 0.042)
    """

    def __init__(
        self, lengths: np.ndarray, max_tokens: int, seed: int, num_processes: int = 1, process_index: int = 0
    ) -> None:
        if lengths.max() > max_tokens:
            raise ValueError(
                f"a batch has at most {max_tokens} tokens, and the longest sentence {lengths.max()}: raise "
                "max_tokens, or drop long pairs"
            )
        sizes = _cut(lengths[_by_length(lengths)].max(axis=1), max_tokens)
        needed = math.ceil(len(sizes) / num_processes) * num_processes
        if len(lengths) < needed:
            raise ValueError(
                f"{len(lengths)} pairs in batches of at most {max_tokens} tokens cannot be dealt out to "
                f"{num_processes} processes, which need {needed} batches: raise max_tokens, or start fewer processes"
            )
        self._lengths = lengths
        self._seed = seed
        self._num_processes = num_processes
        self._process_index = process_index
        self._epoch = 0
        self._sizes = _dealt_evenly(sizes, num_processes)

    def set_epoch(self, epoch: int) -> None:
        """Draw the batches of an epoch, counted from 0."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._sizes) // self._num_processes

    def __iter__(self) -> Iterator[list[int]]:
        generator = np.random.default_rng([self._seed, self._epoch])
        drawn = generator.permutation(len(self._lengths))
        batches = self._split(drawn[_by_length(self._lengths[drawn])])
        for number in generator.permutation(len(batches))[self._process_index :: self._num_processes]:
            yield batches[number].tolist()

    @property
    def tokens(self) -> int:
        """Those of an epoch on both sides, without padding, on all processes."""
        return int(self._lengths.sum())

    @property
    def padding_share(self) -> float:
        """The part of all tokens, on both sides, that are padding."""
        batches = self._split(self._lengths[_by_length(self._lengths)])
        padded = sum(batch.max(axis=0).sum() * len(batch) for batch in batches)
        return float(1.0 - self.tokens / padded)

    def _split(self, ordered: np.ndarray) -> list[np.ndarray]:
        return np.split(ordered, np.cumsum(self._sizes)[:-1])


def pair_lengths(data: datasets.Dataset) -> np.ndarray:
    """(pairs, 2): the tokens of each source and target."""
    table: Any = data.select_columns(["input_ids", "labels"]).with_format("arrow")[:]
    lengths = [call_function("list_value_length", [column]).to_numpy() for column in table.itercolumns()]
    return np.stack(lengths, axis=1).astype(int)


def _by_length(lengths: np.ndarray) -> np.ndarray:
    """The order by source, then by target; pairs of one length stay as they are."""
    return np.lexsort((lengths[:, 1], lengths[:, 0]))


def _cut(longest: np.ndarray, max_tokens: int) -> list[int]:
    """The sizes of the batches into which pairs in this order are cut, from the longer side of each."""
    sizes, widest = [0], 0
    for length in longest.tolist():
        widest = max(widest, length)
        if (sizes[-1] + 1) * widest > max_tokens:
            sizes.append(0)
            widest = length
        sizes[-1] += 1
    return sizes


def _dealt_evenly(sizes: list[int], num_processes: int) -> list[int]:
    """The same with the largest halved, of as many pairs as it takes: none becomes empty."""
    while len(sizes) % num_processes:
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        size = sizes[largest]
        sizes[largest : largest + 1] = [size - size // 2, size // 2]
    return sizes

"""Batches by tokens: what each holds, that all pairs are there once, and that processes never wait for each other."""

import itertools
import math

import datasets
import numpy as np
import pytest
from datasets.formatting.formatting import PythonArrowExtractor
from torch.utils.data import DataLoader

from hf_vasso.tasks.translation.token_batches import TokenBatches, pair_lengths

MAX_TOKENS = 60
LENGTHS = np.random.default_rng(0).integers(1, 25, (203, 2))


def batches_of(epoch=0, num_processes=1, lengths=LENGTHS, seed=0):
    ranks = [TokenBatches(lengths, MAX_TOKENS, seed, num_processes, rank) for rank in range(num_processes)]
    for rank in ranks:
        rank.set_epoch(epoch)
    return [list(rank) for rank in ranks]


def test_lengths_are_those_of_the_rows_that_are_left():
    ids = {
        name: [[7] * length for length in LENGTHS[:, column]] for column, name in enumerate(("input_ids", "labels"))
    }
    pairs = datasets.Dataset.from_dict({**ids, "text": ["a"] * len(LENGTHS)}).shuffle(seed=0).select(range(3, 90, 2))
    lengths = pair_lengths(pairs)
    assert lengths.tolist() == [[len(pair["input_ids"]), len(pair["labels"])] for pair in pairs]
    assert lengths.dtype == LENGTHS.dtype


def test_lengths_are_found_without_the_ids(monkeypatch):
    """Lists of Python for all ids of a corpus take seconds."""
    pairs = datasets.Dataset.from_dict({"input_ids": [[7, 7], [7]], "labels": [[7], [7, 7, 7]]})
    for what in ("row", "column", "batch"):
        monkeypatch.setattr(PythonArrowExtractor, f"extract_{what}", None)
    assert pair_lengths(pairs).tolist() == [[2, 1], [1, 3]]


@pytest.mark.parametrize("num_processes", [1, 2, 3, 8])
@pytest.mark.parametrize("epoch", [0, 1])
def test_every_pair_once_and_no_batch_too_large(num_processes, epoch):
    ranks = batches_of(epoch, num_processes)
    assert len({len(batches) for batches in ranks}) == 1
    seen = [pair for batches in ranks for batch in batches for pair in batch]
    assert sorted(seen) == list(range(len(LENGTHS)))
    for batch in (batch for batches in ranks for batch in batches):
        assert len(batch) * LENGTHS[batch].max() <= MAX_TOKENS


def test_no_batch_has_room_for_the_next_pair():
    """So nothing is cut without need: a second source for the number of batches."""
    order = sorted(range(len(LENGTHS)), key=lambda pair: tuple(LENGTHS[pair]))
    expected = [[]]
    for pair in order:
        grown = [*expected[-1], pair]
        if len(grown) * max(LENGTHS[member].max() for member in grown) > MAX_TOKENS:
            expected.append([pair])
        else:
            expected[-1] = grown
    (found,) = batches_of()
    assert sorted(map(len, found)) == sorted(map(len, expected))
    shapes = [[sorted(map(tuple, LENGTHS[batch].tolist())) for batch in batches] for batches in (found, expected)]
    assert sorted(shapes[0]) == sorted(shapes[1])


def test_an_epoch_is_drawn_by_seed_and_number():
    first, again, second, other_seed = (
        batches_of(), batches_of(), batches_of(epoch=1), batches_of(seed=1)
    )  # fmt: skip
    assert first == again != second
    assert first != other_seed
    assert len(first[0]) == len(second[0])
    assert sorted(map(sorted, first[0])) != sorted(map(sorted, second[0]))  # other pairs stand together


def test_padding_by_hand():
    lengths = np.array([[2, 3], [2, 2], [5, 4]])
    batches = TokenBatches(lengths, max_tokens=6, seed=0)  # the two short ones together: 2 x 2 and 2 x 3, of 4 and 5
    assert len(batches) == 2
    assert batches.padding_share == pytest.approx(1 / (4 + 6 + 5 + 4))


def test_sorting_saves_padding():
    shuffled = [LENGTHS[i : i + 4].max(axis=0).sum() * len(LENGTHS[i : i + 4]) for i in range(0, len(LENGTHS), 4)]
    assert TokenBatches(LENGTHS, MAX_TOKENS, seed=0).padding_share < 0.5 * (1 - LENGTHS.sum() / sum(shuffled))


def test_a_loader_takes_them():
    batches = TokenBatches(LENGTHS, MAX_TOKENS, seed=0)
    loader = DataLoader(list(range(len(LENGTHS))), batch_sampler=batches, collate_fn=list)
    assert len(loader) == len(batches) and list(loader) == list(batches)


def test_refusals():
    with pytest.raises(ValueError, match="at most 20 tokens, and the longest sentence 24: raise max_tokens"):
        TokenBatches(LENGTHS, 20, seed=0)
    with pytest.raises(ValueError, match="1 pairs in batches of at most 60 tokens cannot be dealt out to 2 processes"):
        TokenBatches(LENGTHS[:1], 60, seed=0, num_processes=2)


@pytest.mark.parametrize("num_processes", [2, 4])
def test_no_process_gets_an_empty_batch(num_processes):
    """Where there are too few pairs for a batch of each process it says so: a batch of one pair cannot be halved."""
    for count, max_tokens in itertools.product(range(1, 9), (9, 18, 27)):
        lengths = np.full((count, 2), 9)
        per_batch = max_tokens // 9
        if math.ceil(math.ceil(count / per_batch) / num_processes) * num_processes > count:
            with pytest.raises(
                ValueError, match=r"processes, which need \d+ batches: raise max_tokens, or start fewer"
            ):
                TokenBatches(lengths, max_tokens, seed=0, num_processes=num_processes)
        else:
            ranks = [list(TokenBatches(lengths, max_tokens, 0, num_processes, rank)) for rank in range(num_processes)]
            assert len({len(batches) for batches in ranks}) == 1
            assert all(1 <= len(batch) <= per_batch for batches in ranks for batch in batches)
            assert sorted(pair for batches in ranks for batch in batches for pair in batch) == list(range(count))

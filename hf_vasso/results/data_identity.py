"""On which data a run was trained and judged: runs with other data are never averaged or compared."""

import reprlib
from collections.abc import Mapping, Sequence

from hf_vasso.results.record import Record

__all__ = ["data_identity", "distinguishing_words"]


def data_identity(record: Record) -> tuple[str, ...]:
    """
    What must be equal of runs that are averaged or compared, in words.

    Args:
        record: A run.

    Returns:
        One phrase per fact, in the order in which they tell data apart best.
    """
    metrics = [f"{name} ({record.directions[name]} is better)" for name in record.metrics]
    return (
        f"{record.train_examples} training examples",
        f"label noise {_flag(record, 'label_noise')}",
        f"limit per class {_flag(record, 'max_train_samples_per_class')}",
        f"{record.eval_examples} evaluation examples",
        f"held-out examples {_flag(record, 'holdout_samples')}",
        f"data {record.data['fingerprint']}",
        f"task {record.task}",
        f"metrics {', '.join(metrics)}",
    )


def distinguishing_words(identities: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], str]:
    """
    What tells several data apart, in few words.

    Args:
        identities: Different ones.

    Returns:
        Each one's phrases that are needed, joined; empty for a single one.

    Example:
        >>> few, many = ("100 training examples", "task rte"), ("200 training examples", "task rte")
        >>> distinguishing_words([few, many])[many]
        '200 training examples'
    """
    needed: list[int] = []
    for position, phrases in enumerate(zip(*identities, strict=True)):
        if len({_words(identity, needed) for identity in identities}) == len(identities):
            break
        if len(set(phrases)) > 1:
            needed.append(position)
    return {identity: _words(identity, needed) for identity in identities}


def _flag(record: Record, name: str) -> str:
    """A flag in one short line; not given, switched off and unknown to an earlier version are the same."""
    return reprlib.repr(record.arguments.get(name) or "none").strip("'")


def _words(identity: tuple[str, ...], positions: Sequence[int]) -> str:
    return ", ".join(identity[position] for position in positions)

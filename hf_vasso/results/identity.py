"""
On which data a run was trained and judged, how, and from which model's files: others are never averaged or compared.
"""

import reprlib
from collections.abc import Mapping, Sequence

from hf_vasso.results.bleu import signed_tokenizer
from hf_vasso.results.record import Record

__all__ = ["distinguishing_words", "run_identity", "what_differs"]


def run_identity(record: Record) -> tuple[str, ...]:
    """
    What must be equal of runs that are averaged or compared, in words.

    Args:
        record: A run.

    Returns:
        One phrase per fact, in the order in which they tell runs apart best; that of BLEU's tokenizer and that of the
        model are the last.
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
        f"BLEU tokenizer {signed_tokenizer(record.signatures)}",
        f"model fingerprint {_flag(record, 'model_fingerprint')}",
    )


def distinguishing_words(identities: Sequence[tuple[str, ...]]) -> Mapping[tuple[str, ...], str]:
    """
    What tells runs on several data or of several models apart, in few words.

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


def what_differs(identities: Sequence[tuple[str, ...]]) -> list[str]:
    """
    In what several identities differ.

    Args:
        identities: Different ones, of runs with one task label and one name of the model.

    Returns:
        How the runs were made, as a sentence goes on.
    """
    found = {
        "on different data": {identity[:-2] for identity in identities},
        "with different tokenizers of BLEU": {identity[-2] for identity in identities},
        "with models of one name and different fingerprints": {identity[-1] for identity in identities},
    }
    return [words for words, several in found.items() if len(several) > 1]


def _flag(record: Record, name: str) -> str:
    """A flag in one short line; not given, switched off and unknown to an earlier version are the same."""
    return reprlib.repr(record.arguments.get(name) or "none").strip("'")


def _words(identity: tuple[str, ...], positions: Sequence[int]) -> str:
    return ", ".join(identity[position] for position in positions)

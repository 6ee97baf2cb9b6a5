"""Counts, ranges and lists as people say them."""

import unicodedata
from collections.abc import Iterable, Sequence

__all__ = ["all_of", "as_read", "counted", "joined_names", "listed", "one_or_range", "unlike"]

_MOST_SHOWN = 5


def counted(count: int, noun: str) -> str:
    """
    How many there are of something.

    Example:
        >>> counted(1, "seed"), counted(3, "seed")
        ('1 seed', '3 seeds')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def one_or_range(values: Iterable[int], to: str = " to ") -> str:
    """
    The one number, or the lowest and the highest.

    Args:
        values: Whole numbers.
        to: What stands between the two.

    Returns:
        The words, empty without a number.

    Example:
        >>> one_or_range([3, 3]), one_or_range([5, 3, 4]), one_or_range([])
        ('3', '3 to 5', '')
    """
    distinct = sorted(set(values))
    return to.join(map(str, dict.fromkeys(distinct[:1] + distinct[-1:])))


def joined_names(names: Iterable[str]) -> str:
    """
    All names of one thing.

    Example:
        >>> joined_names(["AdamW", "SGD", "AdamW"])
        'AdamW/SGD'
    """
    return "/".join(dict.fromkeys(names))


def all_of(words: Sequence[str]) -> str:
    """
    A list that names all, at least one.

    Example:
        >>> all_of(["score"]), all_of(["score", "loss", "cost"])
        ('score', 'score, loss and cost')
    """
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def listed(words: Iterable[str]) -> str:
    """
    A list that names five at most, and says how many more there are.

    Example:
        >>> listed("abcdefg")
        'a, b, c, d, e and 2 more'
    """
    words = list(words)
    more = len(words) - _MOST_SHOWN
    return ", ".join(words[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def as_read(name: str) -> str:
    """
    What a reader sees of a name: equal for names that look alike.

    Example:
        >>> as_read("a  b ") == as_read("a b")
        True
    """
    return " ".join(unicodedata.normalize("NFKC", name).split())


def unlike(taken: Iterable[str], name: str) -> str:
    """
    A name that does not look like others.

    Args:
        taken: The others.
        name: What is wanted.

    Returns:
        The name, with a word that tells it apart where it is taken.

    Example:
        >>> unlike(["sam"], "sam "), unlike(["sam"], "vasso")
        ('sam, another', 'vasso')
    """
    seen = set(map(as_read, taken))
    while as_read(name) in seen:
        name = f"{name.strip()}, another"
    return name

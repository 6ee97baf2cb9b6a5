"""What to say when a name is not known: the nearest right one, and the whole list."""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["unknown_name"]


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """
    The message for a name that is not in a list.

    Args:
        kind: What is named, such as "method".
        name: The name that was given.
        known: The names that exist.

    Returns:
        One sentence with the nearest known name, if one is near, and all known names.

    Example:
        >>> unknown_name("method", "vaso", ["sam", "vasso"])
        "unknown method 'vaso', did you mean 'vasso'? Known: sam, vasso"
    """
    known = list(known)
    nearest = get_close_matches(name, known, n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else "."
    return f"unknown {kind} {name!r}{hint} Known: {', '.join(known)}"

"""How names are written: what to say when one is not known, and how one stays a name in Markdown."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["escape_markdown", "unknown_name"]


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


def escape_markdown(text: str) -> str:
    """
    Make a name that may hold anything harmless in Markdown, within a line or a table's cell.

    Args:
        text: The name.

    Returns:
        It on one line, with a backslash before each character that Markdown or HTML would read as more than itself.

    Example:
        >>> print(escape_markdown("a_b | <c>"))
        a\\_b \\| \\<c\\>
    """
    return re.sub(r"([\\`*_~#|&$<>\[\]])", r"\\\1", " ".join(text.split()))

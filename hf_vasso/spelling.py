"""How names and values are written: in messages, where each has a bounded length, and in Markdown."""

import re
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

__all__ = ["escape_markdown", "is_text", "one_line", "shown", "unknown_name", "without_tokens"]

_MOST_LETTERS = 1000  # of a message
_MOST_NAMES = 200  # among which the nearest is looked for, which takes time for each
_MOST_LISTED = 500  # letters of the list of known names
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 100
_SHORT.maxlevel = 3
_TOKEN = re.compile(r"(token\W{1,5})[\w.-]+", re.IGNORECASE)


def shown(value: Any) -> str:
    """
    A value as messages show it: on one line and of bounded length, whatever it is.

    Args:
        value: Any value.

    Returns:
        Its `repr`, with the middle left out where it is long, and *** in place of a token.

    Example:
        >>> shown("two\\nlines"), len(shown("x" * 100_000))
        ("'two\\\\nlines'", 100)
    """
    return without_tokens(_SHORT.repr(value))


def without_tokens(text: str) -> str:
    """
    A text with *** in place of what a token is given as.

    Example:
        >>> without_tokens("invalid int value: '--hub_token=hf_abc'")
        "invalid int value: '--hub_token=***'"
    """
    return _TOKEN.sub(r"\1***", text)


def is_text(text: str) -> bool:
    """
    Whether UTF-8 can write a text, which may hold half a surrogate pair.

    Example:
        >>> is_text("é"), is_text("\\ud800")
        (True, False)
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def one_line(text: str) -> str:
    """
    A message of others as one line of bounded length.

    Args:
        text: Any text.

    Returns:
        It without line ends and characters that cannot be printed, with the middle left out where it is long.

    Example:
        >>> one_line("first\\n  second")
        'first second'
    """
    words = " ".join(text.split())
    if len(words) > _MOST_LETTERS:
        half = (_MOST_LETTERS - 5) // 2
        words = f"{words[:half]} ... {words[-half:]}"
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in words)


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """
    The message for a name that is not in a list.

    Args:
        kind: What is named, such as "method".
        name: The name that was given.
        known: The names that exist.

    Returns:
        One sentence with the nearest known name, if one is near, and the known names, as many as fit.

    Example:
        >>> unknown_name("method", "vaso", ["sam", "vasso"])
        "unknown method 'vaso', did you mean 'vasso'? Known: sam, vasso"
    """
    known = list(known)
    nearest = get_close_matches(name[:100], known[:_MOST_NAMES], n=1)
    hint = f", did you mean {nearest[0]!r}?" if nearest else "."
    return f"unknown {kind} {shown(name)}{hint} Known: {_listed(known)}"


def _listed(names: list[str]) -> str:
    """The first names of a list, as many as fit, and how many there are more."""
    count, letters = 0, 0
    for name in names:
        letters += len(name) + 2
        if letters > _MOST_LISTED:
            break
        count += 1
    more = f" and {len(names) - count} more" if count < len(names) else ""
    return ", ".join(names[:count]) + more


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

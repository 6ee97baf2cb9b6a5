"""Read a file that anyone may have written, and check what stands in it before it is used."""

import json
import os
import reprlib
import stat
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from hf_vasso.spelling import unknown_name

__all__ = [
    "COUNT",
    "NAME",
    "NUMBER_OR_NULL",
    "OBJECT",
    "REPEAT_SUITE",
    "SEED",
    "TEXT",
    "RecordError",
    "Rule",
    "check_inside",
    "finite_or_none",
    "is_dict_of",
    "is_list_of",
    "is_number",
    "leads_out",
    "read_entries",
    "read_text",
    "said_once",
]

_MAX_BYTES = 8 * 2**20
_MAX_DEPTH = 50  # objects and lists in each other; the encoder and `copy` end at some hundred
_MAX_NAME = 200
_MAX_INTEGER = 2**63
_MAX_DIGITS = 100
_MAX_FLOAT = 1e100  # no run measures more, and sums and squares of what is below stay finite


class RecordError(ValueError):
    """
    A file that cannot be used: the message names the file, the fact and the remedy.

    Args:
        path: The file.
        reason: The fact and the remedy.
    """

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Rule:
    """
    What an entry must be.

    Args:
        words: For the message: "must be ...".
        holds: Whether a value is that.
    """

    words: str
    holds: Callable[[Any], bool]


REPEAT_SUITE = "delete it and repeat the suite's command"
"""What is to be done about a file of a suite: it makes anew what is missing."""
_REPEAT_RUN = "repeat the run with --fresh"


def read_entries(
    path: Path, kind: type, schema: int, rules: Mapping[str, Rule], remedy: str = _REPEAT_RUN
) -> dict[str, Any]:
    """
    Read the JSON object of a dataclass.

    Args:
        path: The file.
        kind: The dataclass: its fields are the known keys, those without a default the necessary ones.
        schema: The layout's version that is read.
        rules: Key to what its value must be, beyond the type of the field.
        remedy: What is to be done about a file that is wrong.

    Returns:
        The checked entries.

    Raises:
        RecordError: The file is too large, broken, of another schema, or an entry is missing, unknown or wrong.
    """
    content = _read_object(path, remedy)
    if content.get("schema") != schema:
        raise RecordError(
            path,
            f"this version reads schema {schema}, got {reprlib.repr(content.get('schema'))}; "
            f"read it with the version of hf_vasso that wrote it, or {remedy}",
        )
    _check_keys(path, content, kind, remedy)
    for key, rule in rules.items():
        if key in content and not rule.holds(content[key]):
            raise RecordError(path, f"{key} must be {rule.words}, got {reprlib.repr(content[key])}; {remedy}")
    return content


def read_text(path: Path) -> str:
    """
    Read a text file.

    Args:
        path: The file.

    Returns:
        Its text.

    Raises:
        RecordError: It is no regular file, too large, or may not be read.
        UnicodeDecodeError: It is no text in UTF-8.
    """
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # reading a pipe would wait for ever
            raise RecordError(path, "not a regular file; delete it")
        size = found.st_size
        if size > _MAX_BYTES:
            raise RecordError(
                path,
                f"larger than {_MAX_BYTES // 2**20} MiB, the most that is read ({size} bytes); delete it or move it "
                "away",
            )
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecordError(path, f"cannot be read ({error.strerror}); mend that or repeat the run") from error


def check_inside(path: Path, runs_dir: Path) -> None:
    """
    Refuse to follow a link out of the folder that is searched.

    Args:
        path: A file below the folder.
        runs_dir: The folder.

    Raises:
        RecordError: It is such a link.
    """
    if leads_out(path, runs_dir):
        raise RecordError(path, "a link that leads out of the folder is not followed; name the place it leads to")


def leads_out(path: Path, runs_dir: Path) -> bool:
    """Whether a file or folder below the folder that is searched is a link to a place outside."""
    return path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(runs_dir))


def finite_or_none(value: float | None) -> float | None:
    """The number, None where it is not finite or beyond all measure: JSON has no word for that."""
    return value if value is not None and abs(value) < _MAX_FLOAT else None


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and one that can be measured."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) < (_MAX_INTEGER if isinstance(value, int) else _MAX_FLOAT)


def is_dict_of(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether a value is an object with names as keys, and with values for which something holds."""
    return isinstance(value, dict) and all(_is_name(key) and holds(entry) for key, entry in value.items())


def is_list_of(value: Any, holds: Callable[[Any], bool]) -> bool:
    """Whether a value is a list of values for which something holds."""
    return isinstance(value, list) and all(map(holds, value))


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value.isprintable() and 1 <= len(value) <= _MAX_NAME


def _is_integer(value: Any) -> bool:
    return is_number(value) and isinstance(value, int)


NAME = Rule(f"a printable name of 1 to {_MAX_NAME} characters", _is_name)
TEXT = Rule("text", lambda value: isinstance(value, str))
SEED = Rule("a whole number", _is_integer)
COUNT = Rule("a whole number, at least 0", lambda value: _is_integer(value) and value >= 0)
NUMBER_OR_NULL = Rule("a finite number, or null", lambda value: value is None or is_number(value))
OBJECT = Rule("an object with names as keys", lambda value: is_dict_of(value, lambda entry: True))


def _read_object(path: Path, remedy: str) -> dict[str, Any]:
    """The object in a file, which says everything once and nothing that could not be written again."""
    try:
        content = json.loads(read_text(path), object_pairs_hook=said_once, parse_int=_integer)
        json.dumps(content, ensure_ascii=False).encode()  # half a surrogate pair could not be written again
    except RecordError:
        raise
    except (ValueError, RecursionError) as error:
        raise RecordError(
            path, f"not a JSON file ({error}); {'delete it and repeat the run' if remedy == _REPEAT_RUN else remedy}"
        ) from error
    if not isinstance(content, dict):
        raise RecordError(path, f"a record is a JSON object, got {type(content).__name__}; {remedy}")
    if _is_deep(content):
        raise RecordError(path, f"objects and lists stand in each other more than {_MAX_DEPTH} deep; {remedy}")
    return content


def said_once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    """
    The object of some entries, for `object_pairs_hook` of `json.loads`, which would take the last of two equal keys.

    Args:
        entries: Keys and values.

    Returns:
        The object.

    Raises:
        ValueError: A key stands there twice.
    """
    content = dict(entries)
    if len(content) < len(entries):
        ((most_frequent, _),) = Counter(name for name, _ in entries).most_common(1)
        raise ValueError(f"the key {reprlib.repr(most_frequent)} stands there twice")
    return content


def _integer(digits: str) -> int:
    """A whole number that can also be made a float."""
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a whole number of {len(digits)} characters")
    return int(digits)


def _is_deep(content: Any) -> bool:
    level = [content]
    for _ in range(_MAX_DEPTH):
        level = [
            entry
            for value in level
            if isinstance(value, dict | list)
            for entry in (value.values() if isinstance(value, dict) else value)
        ]
    return bool(level)


def _check_keys(path: Path, content: dict[str, Any], kind: type, remedy: str) -> None:
    known = {entry.name: entry for entry in fields(kind)}
    for key in content:
        if key not in known:
            raise RecordError(path, unknown_name("key", key[:_MAX_NAME], known))
    for key, entry in known.items():
        if key not in content and entry.default is MISSING and entry.default_factory is MISSING:
            raise RecordError(path, f"the key {key!r} is missing; {remedy}")
        types = _types(entry.type)
        if key in content and type(content[key]) not in types:
            names = " or ".join(known_type.__name__ for known_type in types)
            raise RecordError(path, f"{key} must be of type {names}, got {reprlib.repr(content[key])}; {remedy}")


def _types(annotation: Any) -> tuple[type, ...]:
    """The classes that an annotation such as `dict[str, Any]` or `bool | None` allows."""
    if isinstance(annotation, UnionType):
        return get_args(annotation)
    return (get_origin(annotation) or annotation,)

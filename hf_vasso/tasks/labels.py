"""Names under which runs are recorded and lie in folders, checked before anything is written."""

import os
import unicodedata
from pathlib import Path
from typing import Any

from hf_vasso.results.reading import NAME
from hf_vasso.spelling import shown

__all__ = ["MOST_BYTES", "check_label", "check_recorded", "place_key", "run_place"]

MOST_BYTES = 255
"""Of the name of a file or folder, on all usual file systems."""


def check_recorded(what: str, name: Any) -> None:
    """
    Refuse a name that could be written into a record, but not be read again.

    Args:
        what: What it names, for the message.
        name: The name.

    Raises:
        ValueError: It is no printable text of a length that records may have.
    """
    if not NAME.holds(name):
        raise ValueError(f"{what} stands in records and must be {NAME.words}, got {shown(name)}; take another one")


def check_label(what: str, name: Any) -> None:
    """
    Refuse a label that cannot be recorded or cannot be the name of a folder.

    Args:
        what: What it names, for the message, such as "method_label".
        name: The label.

    Raises:
        ValueError: It is no printable text, too long, or it has another meaning in a path or on a command line.
    """
    is_folder = NAME.holds(name) and len(name.encode()) <= MOST_BYTES
    if not is_folder or name.startswith((".", "-")) or any(letter in name for letter in "/\\"):
        raise ValueError(
            f"{what} becomes the name of a folder, so it must be {NAME.words} and at most {MOST_BYTES} bytes, "
            f"without / and \\, that does not begin with a dot or a hyphen, got {shown(name)}; take another one"
        )


def run_place(task_label: str, model: str, method_label: str, *last: str) -> Path:
    """
    Where a run lies below the folder of all runs.

    Args:
        task_label: The label of the task.
        model: The model's hub id, or the base name of its folder.
        method_label: The label of the method.
        last: The name of its own folder.

    Returns:
        The relative path, `<task label>/<model>/<method label>/<last>`.

    Raises:
        ValueError: One of the names cannot be that of a folder.

    Example:
        >>> run_place("rte", "org/bert", "sam", "seed-0").as_posix()
        'rte/bert/sam/seed-0'
    """
    model_folder = model.rstrip("/").rpartition("/")[2]
    for what, name in (("task_label", task_label), ("the model's name", model_folder), ("method_label", method_label)):
        check_label(what, name)
    return Path(task_label, model_folder, method_label, *last)


def place_key(path: str | os.PathLike[str]) -> str:
    """
    What two paths have in common that are one on some file system.

    Args:
        path: A path.

    Returns:
        It without the difference of upper and lower case, and of the ways in which Unicode writes an accent.

    Example:
        >>> place_key("runs/SAM") == place_key("runs/sam")
        True
    """
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", os.fspath(path)).casefold())

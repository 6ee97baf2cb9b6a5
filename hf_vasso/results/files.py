"""Write a file so that a reader finds either the old one or the whole new one."""

import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

__all__ = ["TEMPORARY", "write_bytes", "write_json", "write_text"]

TEMPORARY = ".hf_vasso-tmp-"
"""How the name of a file begins that is not written yet; one that is left over is of a process that was killed."""


def write_bytes(path: Path, content: bytes) -> None:
    """
    Write a file atomically, making its folder where it is missing.

    Args:
        path: The file to write or replace.
        content: Its whole content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename is atomic only within one file system.
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=TEMPORARY)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp makes files that only their owner can read
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # which must not hide what went wrong
            os.unlink(temporary)
        raise


def write_text(path: Path, text: str) -> None:
    """
    Write a text file atomically, in UTF-8, making its folder where it is missing.

    Args:
        path: The file to write or replace.
        text: Its whole content.
    """
    write_bytes(path, text.encode())


def write_json(path: Path, content: dict[str, Any]) -> None:
    """
    Write a JSON object atomically, indented, in the order of its keys.

    Args:
        path: The file to write or replace.
        content: What `json` can write.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")


def _umask() -> int:
    mask = os.umask(0)  # the only way to read it is to set it
    os.umask(mask)
    return mask

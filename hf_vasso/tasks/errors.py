"""Tell what the user can mend, which a command answers with one message, from a fault of the program."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["DataError", "UserError", "disk_errors", "user_errors"]

_FREE_SPACE = "free space and repeat the command"
_ALLOW = "allow that and repeat the command"
_REMEDIES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EFBIG: "allow larger files and repeat the command",
    errno.EROFS: "make it writable and repeat the command",
    errno.EACCES: _ALLOW,
    errno.EPERM: _ALLOW,
    errno.EIO: "check the disk and repeat the command",
}
# How torch and safetensors, whose errors have no number, say that a file could not be written.
_NOT_WRITTEN = re.compile(
    r"PytorchStreamWriter|unexpected pos \d|open file failed|iostream error|I/O error.*\(os error (\d+)\)"
)
_MAX_FACT = 200


class UserError(Exception):
    """A mistake that the user can mend. Commands print its message without a traceback and exit with status 2."""


class DataError(ValueError):
    """Data that cannot be used: the message names the file, the line and the remedy."""


@contextmanager
def disk_errors(folder: Path | str | None = None) -> Iterator[None]:
    """
    Turn what a full disk, a quota, a missing permission or a broken disk raises into `UserError`, wherever it happens.

    Args:
        folder: Where files are written, for the message where the error does not name the file.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES:
            raise
        raise UserError(f"{_place(error.filename or folder)}{error.strerror}; {_REMEDIES[error.errno]}") from error
    except Exception as error:
        found = _NOT_WRITTEN.search(str(error))
        if found is None or not isinstance(error, RuntimeError) and type(error).__name__ != "SafetensorError":
            raise
        fact = " ".join(str(error).split())[:_MAX_FACT]
        remedy = _REMEDIES.get(int(found[1] or 0), "free space, or make it writable, and repeat the command")
        raise UserError(f"{_place(folder)}a file could not be written ({fact}); {remedy}") from error


@contextmanager
def user_errors() -> Iterator[None]:
    """
    Turn what wrong arguments, data and models raise into `UserError`, and what `disk_errors` does.

    Only for the part of a command that checks and loads: the same exceptions later on are faults of the program.
    """
    try:
        with disk_errors():
            yield
    except (ValueError, OSError) as error:
        # Transformers asks for its own argument, which is a flag here.
        raise UserError(str(error).replace("`trust_remote_code=True`", "--trust_remote_code")) from error


def _place(path: Path | str | None) -> str:
    return "" if path is None else f"{path}: "

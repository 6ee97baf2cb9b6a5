"""Tell a user's mistake, which a command answers with one message, from a fault of the program."""

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["DataError", "UserError", "user_errors"]


class UserError(Exception):
    """A mistake that the user can mend. Commands print its message without a traceback and exit with status 2."""


class DataError(ValueError):
    """Data that cannot be used: the message names the file, the line and the remedy."""


@contextmanager
def user_errors() -> Iterator[None]:
    """
    Turn what wrong arguments, data and models raise into `UserError`.

    Only for the part of a command that checks and loads: the same exceptions later on are faults of the program.
    """
    try:
        yield
    except (ValueError, OSError) as error:
        # Transformers asks for its own argument, which is a flag here.
        raise UserError(str(error).replace("`trust_remote_code=True`", "--trust_remote_code")) from error

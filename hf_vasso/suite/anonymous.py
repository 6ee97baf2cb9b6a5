"""Text for files that are passed on: without secrets, and without names of the machine, its users and its folders."""

import logging
import os
import re
import socket
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import IO

from huggingface_hub import get_token

__all__ = ["AnonymousWriter", "anonymous", "log_to"]

_SECRET_VARIABLE = re.compile(r"(KEY|PASSWORD|PASSWD|SECRET|TOKEN)$", re.IGNORECASE)
_SHORTEST_SECRET = 8  # so that the number of a key or an empty default does not take words out of a text
_PART = r"[\w.@+=~,%-]+"
_PATH = re.compile(rf"(?<![\w/.~>])/(?!/)(?:{_PART}/)+({_PART})?")


def anonymous(text: str) -> str:
    """
    Take out of a text what is nobody else's business.

    Args:
        text: A log, a message or a traceback.

    Returns:
        The text with *** in place of secrets in the environment and of the hub's token, with <host> in place of the
        machine's name, and with paths from the working folder, the home folder or Python's on; of others the last
        part is left.

    Example:
        >>> anonymous("cannot read /data/glue/rte/train.jsonl, see https://huggingface.co/docs/datasets")
        'cannot read .../train.jsonl, see https://huggingface.co/docs/datasets'
    """
    for secret in _secrets():
        text = text.replace(secret, "***")
    for folder, name in sorted(_folders().items(), key=lambda pair: -len(pair[0])):
        text = re.sub(rf"{re.escape(folder)}(?![\w.-])", name, text)
    text = _PATH.sub(lambda match: f".../{match[1] or ''}", text)
    host = socket.gethostname()
    return text if host in ("", "localhost") else re.sub(rf"(?<![\w-]){re.escape(host)}(?![\w-])", "<host>", text)


def _secrets() -> list[str]:
    """The longest first, as one may be a part of another."""
    named = [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)]
    found = {secret.strip() for secret in [*named, get_token() or ""]}
    return sorted((secret for secret in found if len(secret) >= _SHORTEST_SECRET), key=len, reverse=True)


def _folders() -> dict[str, str]:
    """Folders that messages name, and how they are called; none of them is the root."""
    names = {
        sys.base_prefix: "<python>",
        sys.prefix: "<python>",
        str(Path(__file__).parents[2]): "<hf_vasso>",
        str(Path.home()): "~",
        os.getcwd(): ".",
    }
    return {folder: name for folder, name in names.items() if folder.strip("/")}


class AnonymousWriter(TextIOWrapper):
    """A text file into which everything is written by `anonymous`, line by line."""

    def write(self, text: str, /) -> int:
        """Write a text; what it stands for has the length that is returned."""
        super().write(anonymous(text))
        return len(text)


def log_to(file: IO[str]) -> None:
    """
    Write all that this process prints to a file; what Python prints, by `anonymous`.

    Args:
        file: An open file.
    """
    for descriptor in (1, 2):
        os.dup2(file.fileno(), descriptor)
    # By lines, so that little is lost when the process is killed.
    sys.stdout, sys.stderr = (
        AnonymousWriter(
            open(descriptor, "wb", closefd=False), encoding="utf-8", errors="backslashreplace", line_buffering=True
        )
        for descriptor in (1, 2)
    )
    for logger in (logging.root, *logging.root.manager.loggerDict.values()):
        for handler in getattr(logger, "handlers", ()):
            if type(handler) is logging.StreamHandler:  # made before, it would write past the file above
                handler.setStream(sys.stderr)

"""The command `hf-vasso`: find the sub-command, and answer a user's mistake with one message."""

import os
import sys
import time
from collections.abc import Sequence
from importlib import import_module

from hf_vasso import __version__
from hf_vasso.spelling import unknown_name
from hf_vasso.tasks.errors import UserError, disk_errors

__all__ = ["main"]

# Modules with a function `main(arguments) -> int`, by name: torch and transformers take seconds to import, which
# `hf-vasso --help` and a mistyped command need not wait for.
_COMMANDS = {
    "demo": ("hf_vasso.suite.demo", "compare AdamW, SAM and VASSO on a small synthetic task; needs no network"),
    "glue": ("hf_vasso.tasks.glue.run_glue", "fine-tune a model on a GLUE task and evaluate it"),
    "methods": ("hf_vasso.methods.listing", "list the methods with their numbers, cost and papers"),
    "report": ("hf_vasso.results.report", "compare all runs below a folder: a page, tables and figures"),
    "suite": ("hf_vasso.suite.run_suite", "run a grid of methods, tasks and seeds from one file"),
    "submit": ("hf_vasso.tasks.glue.submit", "write the zip file for GLUE's leaderboard from finished runs"),
    "translate": (
        "hf_vasso.tasks.translation.run_translation",
        "train a translation model, evaluate it and translate",
    ),
}

_PATIENCE_SECONDS = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run a command line.

    Args:
        arguments: The words after `hf-vasso`; None takes the process's own.

    Returns:
        The exit status: 0, or 2 for a mistake in the command, or 130 when Ctrl-C stopped it.

    Raises:
        SystemExit: A sub-command showed its help, or stopped in good order on a signal.
    """
    command, *words = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help", "--version"):
        print(f"hf-vasso {__version__}" if command == "--version" else _help())
        return 0
    try:
        if command not in _COMMANDS:
            raise UserError(unknown_name("command", command, _COMMANDS))
        with disk_errors():
            return import_module(_COMMANDS[command][0]).main(words)
    except UserError as error:
        _tell(error)
        return 2
    except KeyboardInterrupt:
        print("hf-vasso: interrupted", file=sys.stderr)
        return 130


def _tell(error: UserError) -> None:
    """
    Print a mistake, once where each of several processes makes it.

    A launcher ends the other processes when one has failed. So if rank 0 fails too, those above it do not live to
    repeat what it says, and what one of them says was its own.
    """
    rank = int(os.environ.get("RANK", "0"))
    if rank > 0:
        time.sleep(_PATIENCE_SECONDS)
    print(f"hf-vasso: {f'rank {rank}: ' if rank > 0 else ''}{error}", file=sys.stderr)


def _help() -> str:
    width = max(len(name) for name in _COMMANDS)
    return "\n".join(
        [
            "usage: hf-vasso COMMAND ...",
            "",
            "Sharpness-aware training (SAM, VASSO and others) for the Hugging Face Trainer.",
            "",
            "commands:",
            *(f"  {name:<{width}}  {text}" for name, (_, text) in _COMMANDS.items()),
            "",
            "`hf-vasso COMMAND --help` lists a command's flags.",
        ]
    )

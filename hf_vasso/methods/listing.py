"""List the methods, with what each is, its numbers, its cost and its paper: what `hf-vasso methods` does."""

import inspect
import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from hf_vasso.methods import METHODS, get_method

__all__ = ["SHARED", "list_methods", "main"]

SHARED = (
    "A step perturbs the parameters in the optimizer's parameter groups that have a gradient, except those that "
    "`no_perturb` matches.",
    "The default rho is ours, small, and meant for fine-tuning pretrained models: 0.01, with 0.03 for the adaptive "
    "ball and 0.1 for momentum. It is reached after a tenth of the steps (`rho_warmup_steps`). Each card says what "
    "the authors use, mostly for networks trained from scratch.",
)
"""What holds for all methods, in addition to their cards."""


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso methods`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status: 0, or 141 where the reader, such as `head`, has gone before the end.
    """
    parser = ArgumentParser(prog="hf-vasso methods", description="List the methods.")
    parser.add_argument("--json", action="store_true", help="print JSON, one object per method")
    as_json = parser.parse_args(arguments).json
    methods = list_methods()
    text = json.dumps(methods, indent=2) if as_json else "\n\n".join([*map(_describe, methods), *SHARED])
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains when it ends
        return 141
    return 0


def list_methods() -> list[dict[str, Any]]:
    """
    Describe every entry of `METHODS`.

    Returns:
        Per method its "name", "description", "parts" (question to the part that answers it), "numbers" (name to
        default), "passes" (per step, in words), "extra_copies" (of the trainable weights), "cost" (both in a
        sentence) and "paper" (a URL or None).
    """
    listing = []
    for name in METHODS:
        method = get_method(name)
        card = inspect.getdoc(METHODS[name]) or ""
        listing.append(
            {
                "name": name,
                "description": _paragraph(card),
                "parts": {question: str(part) for question, part in method.parts.items()},
                "numbers": method.numbers,
                "passes": method.passes,
                "extra_copies": method.extra_copies,
                "cost": _paragraph(card, "Cost: "),
                "paper": method.paper.url if method.paper else None,
            }
        )
    return listing


def _describe(method: dict[str, Any]) -> str:
    numbers = ", ".join(f"{name} {default:g}" for name, default in method["numbers"].items())
    lines = [
        f"{method['name']}  ({numbers or 'no numbers'})",
        method["description"],
        method["cost"],
        "Parts: " + ", ".join(method["parts"].values()),
        method["paper"],
    ]
    return "\n    ".join(line for line in lines if line)


def _paragraph(card: str, beginning: str = "") -> str:
    """The first paragraph that begins so, on one line; empty where there is none."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in card.split("\n\n"))
    return next((paragraph for paragraph in paragraphs if paragraph.startswith(beginning)), "")

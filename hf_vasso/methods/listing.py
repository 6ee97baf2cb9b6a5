"""List the methods, with what each is, its numbers, its cost and its paper: what `hf-vasso methods` does."""

import inspect
import json
from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Any

from hf_vasso.methods import METHODS

__all__ = ["list_methods", "main"]


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso methods`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.
    """
    parser = ArgumentParser(prog="hf-vasso methods", description="List the methods.")
    parser.add_argument("--json", action="store_true", help="print JSON, one object per method")
    as_json = parser.parse_args(arguments).json
    methods = list_methods()
    print(json.dumps(methods, indent=2) if as_json else "\n\n".join(_describe(method) for method in methods))
    return 0


def list_methods() -> list[dict[str, Any]]:
    """
    Describe every entry of `METHODS`.

    Returns:
        Per method its "name", "numbers" (name to default), "description", "cost" (in passes and memory) and "paper"
        (a URL or None).
    """
    listing = []
    for name, preset in METHODS.items():
        paper = preset().paper
        card = inspect.getdoc(preset) or ""
        listing.append(
            {
                "name": name,
                "numbers": {key: number.default for key, number in inspect.signature(preset).parameters.items()},
                "description": _paragraph(card),
                "cost": _paragraph(card, "Cost: "),
                "paper": paper.url if paper else None,
            }
        )
    return listing


def _describe(method: dict[str, Any]) -> str:
    numbers = ", ".join(f"{name} {default:g}" for name, default in method["numbers"].items())
    lines = [f"{method['name']}  ({numbers or 'no numbers'})", method["description"], method["cost"], method["paper"]]
    return "\n    ".join(line for line in lines if line)


def _paragraph(card: str, beginning: str = "") -> str:
    """The first paragraph that begins so, on one line; empty where there is none."""
    paragraphs = (" ".join(paragraph.split()) for paragraph in card.split("\n\n"))
    return next((paragraph for paragraph in paragraphs if paragraph.startswith(beginning)), "")

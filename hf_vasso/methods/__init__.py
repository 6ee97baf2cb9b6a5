"""`METHODS`, the one list of methods: command lines, documentation, tests and model cards all read it."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hf_vasso.methods.asam import asam
from hf_vasso.methods.base import Method
from hf_vasso.methods.combinations import vasso_asam
from hf_vasso.methods.fsam import fsam
from hf_vasso.methods.none import none
from hf_vasso.methods.sam import sam
from hf_vasso.methods.vasso import vasso
from hf_vasso.spelling import unknown_name

__all__ = ["METHODS", "Method", "get_method"]

METHODS: dict[str, Callable[..., Method]] = {
    "none": none,
    "sam": sam,
    "asam": asam,
    "vasso": vasso,
    "fsam": fsam,
    "vasso-asam": vasso_asam,
}


def get_method(name: str, **numbers: Any) -> Method:
    """
    A preset with some of its numbers changed.

    Args:
        name: A key of `METHODS`.
        **numbers: Values for the preset's parameters; what is left out keeps the preset's own number.

    Returns:
        The method, with `name` as its name.

    Raises:
        ValueError: For an unknown name, a number that the method does not use, or a number out of its range.

    Example:
        >>> get_method("vasso", rho=0.02).numbers
        {'rho': 0.02, 'theta': 0.4}
    """
    if name not in METHODS:
        raise ValueError(unknown_name("method", name, METHODS))
    preset = METHODS[name]
    used = list(inspect.signature(preset).parameters)
    for number, value in numbers.items():
        if number not in used:
            uses = f"it uses {', '.join(used)}" if used else "it uses no numbers"
            raise ValueError(f"method {name!r} does not use {number}, got {number}={value!r}: {uses}")
    return replace(preset(**numbers), name=name)

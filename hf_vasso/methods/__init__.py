"""`METHODS`, the one list of methods: command lines, documentation, tests and model cards all read it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from hf_vasso.methods.aesam import aesam
from hf_vasso.methods.asam import asam
from hf_vasso.methods.checks import check_whole
from hf_vasso.methods.combinations import vasso_aesam, vasso_asam, vasso_esam, vasso_looksam, vasso_quarter
from hf_vasso.methods.esam import esam
from hf_vasso.methods.fsam import fsam
from hf_vasso.methods.gsam import gsam
from hf_vasso.methods.looksam import looksam
from hf_vasso.methods.mesa import mesa
from hf_vasso.methods.method import Method
from hf_vasso.methods.msam import msam
from hf_vasso.methods.none import none
from hf_vasso.methods.saf import saf
from hf_vasso.methods.sagm import sagm
from hf_vasso.methods.sam import sam
from hf_vasso.methods.ss_sam import ss_sam
from hf_vasso.methods.vasso import vasso
from hf_vasso.methods.vasso_free import vasso_free
from hf_vasso.methods.vasso_re import vasso_re
from hf_vasso.spelling import unknown_name

__all__ = ["METHODS", "Method", "get_method"]

METHODS: dict[str, Callable[..., Method]] = {
    "none": none,
    "sam": sam,
    "asam": asam,
    "vasso": vasso,
    "fsam": fsam,
    "sagm": sagm,
    "gsam": gsam,
    "looksam": looksam,
    "aesam": aesam,
    "ss-sam": ss_sam,
    "esam": esam,
    "msam": msam,
    "saf": saf,
    "mesa": mesa,
    "vasso-re": vasso_re,
    "vasso-free": vasso_free,
    "vasso-asam": vasso_asam,
    "vasso-aesam": vasso_aesam,
    "vasso-esam": vasso_esam,
    "vasso-looksam": vasso_looksam,
    "vasso-quarter": vasso_quarter,
}


def get_method(
    name: str, /, *, ascent_every: int | None = None, ascent_fraction: float | None = None, **numbers: Any
) -> Method:
    """
    A preset with some of its numbers changed.

    Args:
        name: A key of `METHODS`.
        ascent_every: Steps from one ascent to the next, >= 1, for a method that ascends at every step or every k. The
            steps in between are made with the gradient at w, or as the preset has them.
        ascent_fraction: Share of each rank's examples of a step that the pass at w of an ascent is made with, (0, 1].
        **numbers: Values for the preset's parameters; what is left out keeps the preset's own number.

    Returns:
        The method, with `name` as its name.

    Raises:
        ValueError: For an unknown name, a number that the method does not use or has twice, or one out of its range.

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
    method = replace(preset(**numbers), name=name)
    if ascent_every is not None:
        method = _with_ascent_every(method, ascent_every, numbers)
    return method if ascent_fraction is None else replace(method, ascent_fraction=ascent_fraction)


def _with_ascent_every(method: Method, steps: int, numbers: Mapping[str, Any]) -> Method:
    check_whole("ascent_every is the number of steps from one ascent to the next", steps, minimum=1)
    if "k" in numbers:
        raise ValueError(f"k and ascent_every are the same, got {numbers['k']} and {steps}: give it once")
    schedule = method.schedule.every(steps)
    if schedule is None:
        raise ValueError(
            f"method {method.name!r} decides in its own way when to ascend, got ascent_every={steps}: leave it out"
        )
    return replace(method, schedule=schedule)

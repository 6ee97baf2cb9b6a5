"""What the parts of a method keep between steps, to a checkpoint and back."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from hf_vasso.engine import tensors
from hf_vasso.methods.base import Context, by_parameter

__all__ = ["load_parts", "save_parts"]

logger = logging.getLogger(__name__)

PartStates = dict[str, dict[str, Any]]


def save_parts(parts: Mapping[str, Any], states: PartStates, parameters: Mapping[str, Tensor]) -> PartStates:
    """
    The states of all parts, for a file: a collective where parameters are sharded.

    Args:
        parts: Question to the part that answers it.
        states: Question to what that part keeps.
        parameters: By name; what a part keeps for one is sharded like it.

    Returns:
        Question to the "part" by name, its "tensors", whole and on the CPU, and its "others".
    """
    saved = {}
    for question, part in parts.items():
        kept = by_parameter(states[question])
        saved[question] = {
            "part": type(part).__name__,
            "tensors": {name: tensors.full(t, parameters[name]) for name, t in kept.items()},
            "others": {name: _copy(value) for name, value in states[question].items() if value is not kept},
        }
    return saved


def load_parts(
    parts: Mapping[str, Any], saved: PartStates, parameters: Mapping[str, Tensor], context: Context
) -> PartStates:
    """
    The states of all parts from what `save_parts` made. A part of another kind than the saved one starts afresh.

    Raises:
        ValueError: If a tensor belongs to no parameter, or to one of another shape, or a part cannot go on with it.
    """
    states: PartStates = {}
    for question, part in parts.items():
        kept = saved.get(question, {"part": "nothing", "tensors": {}, "others": {}})
        states[question] = {}
        if kept["part"] != type(part).__name__:
            name = type(part).__name__
            logger.warning("The saved %s is %s, the method's is %s: it starts afresh.", question, kept["part"], name)
            continue
        _check_shapes(question, kept["tensors"], parameters)
        states[question] = {name: _copy(value) for name, value in kept["others"].items()}
        for name, tensor in kept["tensors"].items():
            by_parameter(states[question])[name] = tensors.place_like(tensor, parameters[name])
        part.check_loaded(context, states[question])
    return states


def _copy(value: Any) -> Any:
    return value.to("cpu", copy=True) if isinstance(value, Tensor) else value


def _check_shapes(question: str, saved: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    foreign = [name for name, t in saved.items() if name not in parameters or t.shape != parameters[name].shape]
    if foreign:
        raise ValueError(
            f"the saved {question} does not fit the parameters of the model ({', '.join(foreign[:3])}): it belongs to "
            "another model"
        )

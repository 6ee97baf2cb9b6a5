"""
The file of a checkpoint that holds a method's state, beside `optimizer.pt`.

`sharpness.pt` is that of all ranks, or of rank 0 where each has its own; `sharpness_<rank>.pt` is that of another.
"""

import logging
import math
import os
from typing import Any

import torch
from torch import Tensor

from hf_vasso.engine import SharpnessAwareStep
from hf_vasso.training.manifest import MANIFEST

__all__ = ["STATE_FILES", "STATE_NAME", "load_state", "read_state", "read_state_file", "state_path", "write_state"]

logger = logging.getLogger(__name__)

STATE_NAME = "sharpness.pt"
STATE_FILES = "sharpness*.pt"  # those of all ranks


def write_state(state: dict[str, Any], checkpoint: str, rank: int = 0) -> None:
    """
    Write the state into a checkpoint folder, whole or not at all.

    Args:
        state: It is written with `torch.save`.
        checkpoint: The folder, which may not be there yet on another rank than the first.
        rank: Whose state it is.
    """
    os.makedirs(checkpoint, exist_ok=True)
    path = state_path(checkpoint, rank)
    torch.save(state, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def read_state(checkpoint: str, rank: int = 0) -> dict[str, Any] | None:
    """
    Read the state from a checkpoint folder.

    Args:
        checkpoint: The folder.
        rank: Whose state is wanted. One that has none of its own takes that of the first.

    Returns:
        None where there is none, as in a checkpoint of the stock Trainer; the log says so.

    Raises:
        ValueError: If the file cannot be read, or holds something else.
    """
    path = state_path(checkpoint, rank)
    if not os.path.isfile(path):
        path = state_path(checkpoint, rank=0)
    if not os.path.isfile(path):
        logger.warning(
            "%s has no %s (made by the stock Trainer, or with save_only_model): what the method remembers, such as "
            "its average gradient, starts afresh.",
            checkpoint,
            STATE_NAME,
        )
        return None
    return read_state_file(path)


def read_state_file(path: str) -> dict[str, Any]:
    """
    Read the state of a method.

    Args:
        path: The file.

    Raises:
        ValueError: It cannot be read, or holds something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        _check_shape(state)
    except Exception as error:
        fault = str(error).partition(".")[0]  # torch goes on with advice that does not apply here
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {fault}): resume from an earlier checkpoint, or delete "
            f"this file, and {MANIFEST} if there is one, to go on with a fresh average"
        ) from error
    return state


def load_state(engine: SharpnessAwareStep, state: dict[str, Any], path: str) -> None:
    """
    Let an engine go on from a state.

    Args:
        engine: It has made no step yet.
        state: What `read_state` returned.
        path: The file that it is from.

    Raises:
        ValueError: The state does not fit the training; the message names the file.
    """
    try:
        engine.load_state_dict(state)
    except (ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ValueError(f"{path} does not fit this training: {error}") from error


def state_path(checkpoint: str, rank: int) -> str:
    """
    The file of a rank's state.

    Args:
        checkpoint: The folder.
        rank: Whose state it is.
    """
    return os.path.join(checkpoint, STATE_NAME if rank == 0 else STATE_NAME.replace(".", f"_{rank}."))


def _check_shape(state: Any) -> None:
    """Raise for what no engine has written."""
    kinds = {"steps": int, "passes": (int, float), "skipped_steps": int, "generator": Tensor, "parts": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(_entry(state, name), kind)]
    for question, kept in (_entry(state, "parts") or {}).items() if not wrong else ():
        kinds = {"part": str, "tensors": dict, "others": dict}
        wrong += [f"{question}/{name}" for name, kind in kinds.items() if not isinstance(_entry(kept, name), kind)]
        tensors = (_entry(kept, "tensors") or {}) if not wrong else {}
        wrong += [f"{question}/{name}" for name, tensor in tensors.items() if not isinstance(tensor, Tensor)]
    if not wrong:
        wrong = [name for name in ("steps", "passes", "skipped_steps") if not 0 <= state[name] < math.inf]
    if wrong:
        raise ValueError(f"no state of a method, as its {wrong[0]} is not of its kind")


def _entry(of: Any, name: str) -> Any:
    return of.get(name) if isinstance(of, dict) else None

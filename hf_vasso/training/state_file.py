"""
The file of a checkpoint that holds a method's state, beside `optimizer.pt`.

`sharpness.pt` is that of all ranks, or of rank 0 where each has its own; `sharpness_<rank>.pt` is that of another.
"""

import logging
import os
from typing import Any

import torch

__all__ = ["STATE_NAME", "read_state", "write_state"]

logger = logging.getLogger(__name__)

STATE_NAME = "sharpness.pt"


def write_state(state: dict[str, Any], checkpoint: str, rank: int = 0) -> None:
    """
    Write the state into a checkpoint folder, whole or not at all.

    Args:
        state: It is written with `torch.save`.
        checkpoint: The folder, which may not be there yet on another rank than the first.
        rank: Whose state it is.
    """
    os.makedirs(checkpoint, exist_ok=True)
    path = _path(checkpoint, rank)
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
        ValueError: If the file cannot be read.
    """
    path = _path(checkpoint, rank)
    if not os.path.isfile(path):
        path = _path(checkpoint, rank=0)
    if not os.path.isfile(path):
        logger.warning(
            "%s has no %s (made by the stock Trainer, or with save_only_model): what the method remembers, such as "
            "its average gradient, starts afresh.",
            checkpoint,
            STATE_NAME,
        )
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        fault = str(error).partition(".")[0]  # torch goes on with advice that does not apply here
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {fault}): resume from an earlier checkpoint, or delete "
            "this file to go on with a fresh average"
        ) from error


def _path(checkpoint: str, rank: int) -> str:
    return os.path.join(checkpoint, STATE_NAME if rank == 0 else STATE_NAME.replace(".", f"_{rank}."))

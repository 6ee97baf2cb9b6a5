"""The file of a checkpoint that holds a method's state, beside `optimizer.pt`."""

import logging
import os
from typing import Any

import torch

__all__ = ["STATE_NAME", "read_state", "write_state"]

logger = logging.getLogger(__name__)

STATE_NAME = "sharpness.pt"


def write_state(state: dict[str, Any], checkpoint: str) -> None:
    """Write the state into a checkpoint folder, whole or not at all."""
    path = os.path.join(checkpoint, STATE_NAME)
    torch.save(state, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def read_state(checkpoint: str) -> dict[str, Any] | None:
    """
    Read the state from a checkpoint folder.

    Returns:
        None where there is none, as in a checkpoint of the stock Trainer; the log says so.

    Raises:
        ValueError: If the file cannot be read.
    """
    path = os.path.join(checkpoint, STATE_NAME)
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

"""The mean of the weights of several checkpoints, which translates better than the last one alone."""

from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

__all__ = ["average_checkpoints", "last_checkpoints"]


def last_checkpoints(output_dir: Path, count: int) -> list[Path]:
    """The last checkpoints of a training, the newest one last; all of them where there are fewer."""
    folders = output_dir.glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    return sorted(folders, key=lambda folder: int(folder.name.rpartition("-")[2]))[-count:]


@torch.no_grad()
def average_checkpoints(model: PreTrainedModel, folders: Sequence[Path]) -> None:
    """
    Give a model the mean of the weights of checkpoints of it.

    Args:
        model: Its weights are replaced.
        folders: The checkpoints, at least one.
    """
    total: dict[str, torch.Tensor] = {}
    for folder in folders:
        for name, tensor in type(model).from_pretrained(folder).state_dict().items():
            wide = tensor.double() if tensor.is_floating_point() else tensor
            total[name] = total[name] + wide if name in total else wide
    model.load_state_dict({name: tensor / len(folders) for name, tensor in total.items()})

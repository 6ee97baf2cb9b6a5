"""The mean of the weights of several checkpoints, which translates better than the last one alone."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers import PreTrainedModel
from transformers.trainer_utils import SaveStrategy

from hf_vasso.tasks.plan import size_of_epochs, steps_of_epoch
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = ["average_checkpoints", "saved_steps"]


def saved_steps(training: AnyTrainingArguments, batches_per_epoch: int) -> list[int]:
    """
    The steps after which a training saves by its schedule; an interruption saves at another one.

    Args:
        training: Its flags; checkpoints by steps or by epochs.
        batches_per_epoch: Of each process.
    """
    steps = size_of_epochs(batches_per_epoch, training).steps
    if training.save_strategy == SaveStrategy.EPOCH:
        every = steps_of_epoch(batches_per_epoch, training)
    else:
        every = int(training.save_steps if training.save_steps >= 1 else math.ceil(training.save_steps * steps))
    return [*range(every, steps, every), steps]


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
        for name, tensor in type(model).from_pretrained(folder, config=model.config).state_dict().items():
            wide = tensor.double() if tensor.is_floating_point() else tensor
            total[name] = total[name] + wide if name in total else wide
    model.load_state_dict({name: tensor / len(folders) for name, tensor in total.items()})

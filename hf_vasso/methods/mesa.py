"""
MESA: no perturbation; the model is held to what the moving average of its weights says.

    v = decay v + (1 - decay) w ;  loss + lambda tau^2 KL(softmax(z_v / tau) || softmax(z / tau))
                                                                        Du et al. 2022, arXiv 2205.14083
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_vasso.methods.base import BatchOutput, Context, by_parameter, recall
from hf_vasso.methods.checks import check_range
from hf_vasso.methods.method import Method
from hf_vasso.methods.none import Never
from hf_vasso.methods.saf import PAPER, HeldTo, divergence, widen

__all__ = ["AverageTeacher", "mesa"]


@dataclass(frozen=True)
class AverageTeacher(HeldTo):
    """
    lambda times the mean divergence from the logits of averaged weights, which begin at those of the first step.

    Args:
        weight: lambda, >= 0.
        tau: Temperature, > 0.
        start: Epochs before the term is added, >= 0.
        decay: Weight of the old average, in [0, 1]; None for 1 - 1 / (steps of an epoch).
    """

    decay: float | None

    keeps = 1
    forwards_alone = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decay is not None:
            check_range("decay weighs the old average", self.decay, minimum=0.0, maximum=1.0)

    def before_step(self, context: Context, state: dict[str, Any]) -> None:
        weights = [widen(parameter) for parameter in context.parameters]  # a decay near 1 would be lost in bf16
        average = recall(state, context.names, start=weights)
        decay = 1.0 - 1.0 / context.steps_per_epoch if self.decay is None else self.decay
        torch._foreach_lerp_(average, weights, 1.0 - decay)

    def loss(self, context: Context, state: dict[str, Any], output: BatchOutput) -> Tensor:
        logits, counted = output.logits, output.counted
        if logits.dim() < 2 or logits.shape[-1] < 2:
            raise ValueError(f"mesa needs logits of classes, got {tuple(logits.shape)}: a regression has none")
        if not self.counts(context):
            return logits.new_zeros(())
        teacher = output.forward({name: by_parameter(state)[name] for name in context.names})
        distances = divergence(teacher, logits, self.tau)
        if counted is None:
            return self.weight * distances.mean()
        return self.weight * distances.where(counted, 0.0).sum() / counted.sum().clamp(min=1)


def mesa(weight: float = 0.8, tau: float = 5.0, decay: float | None = None, start: float = 1.0) -> Method:
    """
    MESA: the loss is kept flat along the training, by holding the model to the average of its weights.

    Cost: one pass per step, and one forward pass more, by the average; one extra copy of the trainable weights, in
    fp32 or wider, saved with the checkpoint.

    Follows AngusDujw/SAF at 6e85600 (`MESA_train.py`: temperature 5; the average predicts without dropout). Their
    `run.sh` has weight 0.8 in 90 epochs, their `MESA_train.py` by default 0.3 in 300; there the decay is 0.9998, which
    remembers 5000 steps, and the term begins after 6 epochs and ends after 360. Fine-tuning is shorter, so here the
    average remembers an epoch, and the term begins after 1 and does not end. Buffers, such as BatchNorm's, are those
    of the model; there they are averaged, too. The logged loss holds the term. Tested by its authors on images.

    When not to use it: for a regression, which has no distribution to compare.

    Args:
        weight: Share of the added term, lambda, >= 0. 0 is the base optimizer.
        tau: Temperature, > 0.
        decay: Weight of the old average, in [0, 1]; None for 1 - 1 / (steps of an epoch).
        start: Epochs before the term is added, >= 0.
    """
    return Method(schedule=Never(), rho=0.0, extra_loss=AverageTeacher(weight, tau, start, decay), paper=PAPER)

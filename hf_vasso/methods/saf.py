"""
SAF: no perturbation; the model is held to what it said of the same example some epochs ago.

    loss + lambda tau^2 KL(softmax(z_past / tau) || softmax(z / tau)), z_past the logits of `lag` epochs before
                                                                        Du et al. 2022, arXiv 2205.14083
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from hf_vasso.methods.base import BatchOutput, Context, ExtraLoss
from hf_vasso.methods.checks import check_range, check_whole
from hf_vasso.methods.method import Method, Paper
from hf_vasso.methods.none import Never

__all__ = ["PAPER", "HeldTo", "PastLogits", "divergence", "saf", "widen"]

PAPER = Paper(
    title="Sharpness-Aware Training for Free",
    url="https://arxiv.org/abs/2205.14083",
    bibtex="""@inproceedings{du2022sharpness,
  title     = {Sharpness-Aware Training for Free},
  author    = {Du, Jiawei and Zhou, Daquan and Feng, Jiashi and Tan, Vincent Y. F. and Zhou, Joey Tianyi},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2022},
  url       = {https://arxiv.org/abs/2205.14083}
}""",
)


def divergence(teacher: Tensor, student: Tensor, tau: float) -> Tensor:
    """
    tau^2 KL(softmax(teacher / tau) || softmax(student / tau)).

    Args:
        teacher: Logits, (..., classes).
        student: Logits, (..., classes).
        tau: Temperature, > 0.

    Returns:
        (...)
    """
    log_shares = functional.log_softmax(widen(student) / tau, dim=-1)
    shares = functional.softmax(widen(teacher) / tau, dim=-1)
    return functional.kl_div(log_shares, shares, reduction="none").sum(-1) * tau**2


def widen(tensor: Tensor) -> Tensor:
    """The tensor itself where it is fp32 or wider, else an fp32 copy."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


@dataclass(frozen=True)
class HeldTo(ExtraLoss):
    """
    lambda times the mean divergence from other logits of the same examples, once some epochs are over.

    Args:
        weight: lambda, >= 0.
        tau: Temperature, > 0.
        start: Epochs before the term is added, >= 0.
    """

    weight: float
    tau: float
    start: float

    def __post_init__(self) -> None:
        check_range("weight is the share of the added term", self.weight, minimum=0.0)
        check_range("tau is a temperature", self.tau, minimum=0.0, exclude_minimum=True)
        check_range("start is a number of epochs", self.start, minimum=0.0)

    def check(self, context: Context) -> None:
        if context.steps_per_epoch < 1:
            raise ValueError(f"start counts epochs, got steps_per_epoch={context.steps_per_epoch}: give it")
        if 0 < context.total_steps <= self.start * context.steps_per_epoch:
            raise ValueError(
                f"the added term begins after {self.start:g} epochs of {context.steps_per_epoch} steps, and this "
                f"training has {context.total_steps} steps: train longer, or give a smaller start"
            )

    def counts(self, context: Context) -> bool:
        """Whether the term is added at this step."""
        return self.weight > 0.0 and context.step >= self.start * context.steps_per_epoch


@dataclass(frozen=True)
class PastLogits(HeldTo):
    """
    lambda times the mean divergence from the logits of `lag` epochs before; those not known yet count as 0.

    Args:
        weight: lambda, >= 0.
        tau: Temperature, > 0.
        start: Epochs before the term is added, >= lag.
        lag: Age of the logits in epochs, >= 1.
    """

    start: int
    lag: int

    needs_positions = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("lag is the age of the logits in epochs", self.lag, minimum=1)
        check_whole(f"start is the epoch from which logits of lag {self.lag} count", self.start, minimum=self.lag)

    def check(self, context: Context) -> None:
        super().check(context)
        if context.num_examples < 1:
            raise ValueError(f"saf keeps the logits of each example, got num_examples={context.num_examples}: give it")

    def check_loaded(self, context: Context, state: dict[str, Any]) -> None:
        if "logits" not in state:
            return
        epochs, examples = state["logits"].shape[:2]
        if (epochs, examples) != (self.lag + 1, context.num_examples):
            raise ValueError(
                f"the logits that saf saved are for lag {epochs - 1} and {examples} examples, and this training has "
                f"lag {self.lag} and {context.num_examples} examples: resume with those of before, or start anew"
            )

    def loss(self, context: Context, state: dict[str, Any], output: BatchOutput) -> Tensor:
        logits, positions = output.logits, output.positions
        if logits.dim() != 2 or logits.shape[1] < 2:
            raise ValueError(
                f"saf needs logits of classes, (examples, classes), got {tuple(logits.shape)}: take mesa for tokens, "
                "and another method for a regression"
            )
        if positions is None:
            raise ValueError(
                "saf must know which examples a micro-batch holds, and this one came without their positions: "
                "let an override of get_train_dataloader call super().get_train_dataloader(), or take mesa"
            )
        past = state.get("logits")
        if past is None or not self.counts(context):
            return logits.new_zeros(())
        epoch = context.step // context.steps_per_epoch
        past = past.to(logits.device)[(epoch - self.lag) % (self.lag + 1), positions]
        known = past.isfinite().all(-1)
        distances = divergence(past.where(known[:, None], 0.0), logits, self.tau)
        return self.weight * distances.where(known, 0.0).mean()

    def record(self, context: Context, state: dict[str, Any], positions: Tensor, logits: Tensor) -> None:
        if "logits" not in state:
            shape = (self.lag + 1, context.num_examples, logits.shape[-1])
            state["logits"] = widen(logits).new_full(shape, torch.nan)
        state["logits"] = state["logits"].to(logits.device)  # it comes from a checkpoint on the CPU
        epoch = context.step // context.steps_per_epoch
        state["logits"][epoch % (self.lag + 1), positions] = widen(logits)


def saf(weight: float = 0.3, tau: float = 5.0, start: int = 1, lag: int = 1) -> Method:
    """
    SAF: the loss is kept flat along the training, by holding the model to its own logits of an earlier epoch.

    Cost: one pass per step, no extra memory beside lag + 1 logits of each example.

    Follows AngusDujw/SAF at 6e85600 (temperature 5), for classification: an example is known by its position in the
    data, whatever its columns, all processes share what they know of it, and it is saved with the checkpoint. Their
    `run.sh` has weight 0.3 with logits 2 epochs old in 90 epochs, their `SAF_train.py` by default 0.16 with 3 in 300;
    there the term begins after 6 epochs and ends after 300. Fine-tuning lasts about 3, so here it begins after 1, with
    logits 1 epoch old, and does not end. An example without such logits adds nothing; there it is held to logits of 0.
    The logged loss holds the term. Tested by its authors on images.

    When not to use it: for a single epoch, or data without an end.

    Args:
        weight: Share of the added term, lambda, >= 0. 0 is the base optimizer.
        tau: Temperature, > 0.
        start: Epochs before the term is added, >= lag.
        lag: Age of the logits in epochs, >= 1.
    """
    return Method(schedule=Never(), rho=0.0, extra_loss=PastLogits(weight, tau, start, lag), paper=PAPER)

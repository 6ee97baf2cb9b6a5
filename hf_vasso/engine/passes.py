"""What the engine needs from a training loop, and what it gives back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from hf_vasso.methods.base import BatchOutput

__all__ = ["Passes", "PassesOverChoices", "PassesOverShares", "PassesWithExtraLoss", "StepResult"]


class Passes(Protocol):
    """What the engine needs from a training loop."""

    def backward(self, batch: Any, sync: bool) -> Tensor:
        """
        Run one forward and backward pass and add to the gradients.

        Args:
            batch: One micro-batch.
            sync: Whether the gradients are averaged over ranks in this pass. True for the last micro-batch of a sweep,
                unless each rank makes the ascent for itself.

        Returns:
            This micro-batch's share of the step's loss, so that the shares add up to it.
        """
        ...


class PassesOverShares(Passes, Protocol):
    """What is needed beside that by a method that makes a pass with a share of the step's examples."""

    def count_examples(self, batch: Any) -> int:
        """
        The number of examples of a micro-batch.

        Raises:
            ValueError: If its inputs have no dimension in common that could be that of the examples.
        """
        ...

    def take(self, batches: Sequence[Any], rows: Sequence[Tensor]) -> list[Any]:
        """
        Micro-batches of some of the examples, whose losses add up to the mean over all that are taken, on all ranks.

        Args:
            batches: Micro-batches of the step.
            rows: For each the numbers of the examples to take, at least one.
        """
        ...


class PassesOverChoices(PassesOverShares, Protocol):
    """What is needed beside that by a method that chooses the examples of the pass at w + eps by their losses."""

    def backward_with_losses(self, batch: Any, sync: bool) -> tuple[Tensor, Tensor]:
        """`backward`, with the loss of each example, (examples,), beside the micro-batch's share of the loss."""
        ...

    def losses_without_gradients(self, batch: Any) -> Tensor:
        """The loss of each example, (examples,), from a forward pass without gradients."""
        ...


class PassesWithExtraLoss(Passes, Protocol):
    """What a method needs beside that which adds to the loss."""

    def backward_with_extra_loss(self, batch: Any, sync: bool, extra_loss: Callable[[BatchOutput], Tensor]) -> Tensor:
        """`backward` of the micro-batch's mean loss plus `extra_loss` of what the model gave for it."""
        ...

    def gather(self, positions: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The positions, (examples,), and logits, (examples, classes), of all ranks."""
        ...


@dataclass
class StepResult:
    """
    What a step was like. Tensors stay on the device until somebody reads them.

    Args:
        loss: The loss at w over all micro-batches; the one at w + eps where no clean pass was made.
        loss_at: "clean" or "perturbed", the point of `loss`.
        gap: Loss at w + eps minus loss at w, where both passes were made.
        perturbation_norm: ||eps||, when measured.
        cosine: Cosine between eps and the clean gradient, when measured.
        skipped_at: "clean" or "perturbed" where the gradient at w or at w + eps was not finite, so that it did not
            enter the method's state. One at w + eps is replaced by the one at w, unless a `GradScaler` skips the step.
    """

    loss: Tensor
    loss_at: Literal["clean", "perturbed"] = "clean"
    gap: Tensor | None = None
    perturbation_norm: Tensor | None = None
    cosine: Tensor | None = None
    skipped_at: Literal["clean", "perturbed"] | None = None

    @property
    def skipped(self) -> bool:
        """Whether the step met a gradient that was not finite."""
        return self.skipped_at is not None

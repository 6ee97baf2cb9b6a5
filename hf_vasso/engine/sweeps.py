"""Sweeps over the micro-batches of a step, over all of its examples or some of them, and how many passes they were."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import torch
from torch import Tensor

from hf_vasso.engine import tensors
from hf_vasso.engine.buffers import Buffers
from hf_vasso.engine.parameters import Parameters, PerParameter
from hf_vasso.engine.passes import Passes, PassesOverChoices, PassesOverShares, PassesWithExtraLoss
from hf_vasso.engine.random_state import RandomState
from hf_vasso.methods.base import BatchOutput, Context, PassesOfStep, Schedule, count_of_share, overrides
from hf_vasso.methods.method import Method

__all__ = ["Ascent", "Ranked", "Share", "Sweeps"]


@dataclass
class Share:
    """Micro-batches of all or some examples of a step, and how many passes over a micro-batch a sweep counts as."""

    batches: list[Any]
    passes: float

    @classmethod
    def whole(cls, batches: list[Any]) -> "Share":
        """All of them."""
        return cls(batches, len(batches))


@dataclass
class Ranked:
    """The loss of each example at w, by micro-batch, and the random numbers with which it was found."""

    random_state: RandomState
    losses: list[Tensor] = field(default_factory=list)


@dataclass
class Ascent:
    """
    What a step knows before its perturbed pass.

    `adversary` is None where there is nothing to follow, `is_whole` whether the pass at w was made with all examples.
    `record` shows an extra loss what the model said.
    """

    kind: PassesOfStep
    loss: Tensor | None = None
    clean: PerParameter | None = None
    adversary: PerParameter | None = None
    skipped: bool = False
    is_whole: bool = True
    ranked: Ranked | None = None
    record: Callable[[], None] = lambda: None


class Sweeps:
    """
    Makes the sweeps of steps.

    Args:
        method: It says which passes are needed.
        parameters: Each sweep begins without gradients.
        buffers: They count the rows of a step once.
        ascent_sync: Whether the gradients of an ascent are averaged over ranks.

    Raises:
        ValueError: They are not, and all ranks need the same gradient at w.
    """

    def __init__(self, method: Method, parameters: Parameters, buffers: Buffers, ascent_sync: bool) -> None:
        self.passes: float = 0
        """Passes over a micro-batch made so far, each forward and backward; one over a share counts as that share."""
        self.forward_alone: float = 0
        """Passes that went forward alone, to rank the examples or to ask a teacher."""
        self._method = method
        self._parameters = parameters
        self._buffers = buffers
        self._ascent_sync = ascent_sync
        if not ascent_sync:
            _refuse_local_ascents(method, parameters)

    def check(self, passes: Passes) -> None:
        """
        Refuse passes that cannot do what the method asks for.

        Raises:
            ValueError: It names what they lack.
        """
        needed: Any = Passes
        if self._method.ascent_fraction < 1.0:
            needed = PassesOverShares
        if self._method.selection is not None:
            needed = PassesOverChoices
        if self._method.extra_loss is not None:
            needed = PassesWithExtraLoss
        missing = [name for name in dir(needed) if not name.startswith("_") and not hasattr(passes, name)]
        if missing:
            raise ValueError(
                f"{self._method.name} needs passes that can do more, and {type(passes).__name__} has no "
                f"{', '.join(missing)}: hf_vasso.engine.passes.{needed.__name__} says what they do"
            )

    def over(self, share: Share, passes: Passes, is_ascent: bool = False) -> Tensor:
        """
        Forward and backward over micro-batches, into fresh gradients.

        Args:
            share: The micro-batches.
            passes: They make them.
            is_ascent: Whether the gradients give the adversary rather than the update.

        Returns:
            The sum of their losses.
        """
        return self._sum(share, passes.backward, is_ascent)

    def over_all(self, batches: list[Any], passes: Passes, is_ascent: bool) -> Tensor:
        """The same over the whole step."""
        return self.over(Share.whole(batches), passes, is_ascent)

    def over_all_ranked(self, batches: list[Any], passes: Passes) -> tuple[Tensor, Ranked]:
        """The ascent over the whole step, with the loss of each example put down."""
        over_choices = cast(PassesOverChoices, passes)
        ranked = Ranked(RandomState.capture())

        def backward(batch: Any, sync: bool) -> Tensor:
            loss, of_examples = over_choices.backward_with_losses(batch, sync)
            ranked.losses.append(of_examples)
            return loss

        return self._sum(Share.whole(batches), backward, is_ascent=True), ranked

    def over_first_share(self, batches: list[Any], passes: Passes) -> Tensor:
        """The ascent over the first `ascent_fraction` of the examples, which does not count for the buffers."""
        over_shares = cast(PassesOverShares, passes)
        sizes = [over_shares.count_examples(batch) for batch in batches]
        left = count_of_share(self._method.ascent_fraction, sum(sizes))
        rows = []
        for size in sizes:
            rows.append(torch.arange(min(size, left)))
            left -= len(rows[-1])
        taken = [(batch, row) for batch, row in zip(batches, rows, strict=True) if len(row)]
        with self._buffers.counted_once():
            share = _share(over_shares, *zip(*taken, strict=True), batches=batches, sizes=sizes)
            return self.over(share, passes, is_ascent=True)

    def chosen(self, ranked: Ranked, batches: list[Any], passes: Passes) -> Share:
        """The examples that pay for the pass at w + eps, by their losses there under the masks of the pass at w."""
        assert self._method.selection is not None
        over_choices = cast(PassesOverChoices, passes)
        running = RandomState.capture()
        ranked.random_state.restore()
        losses = [over_choices.losses_without_gradients(batch) for batch in batches]
        running.restore()
        self.forward_alone += len(batches)
        with torch.no_grad():
            rows = self._method.selection.rows(ranked.losses, losses)
        return _share(over_choices, batches, rows, batches=batches, sizes=[len(of_batch) for of_batch in losses])

    def with_extra_loss(
        self, batches: list[Any], passes: Passes, context: Context, state: dict[str, Any]
    ) -> tuple[Tensor, Callable[[], None]]:
        """The sweep over the whole step with the method's extra loss, and what shows it the outputs in the end."""
        extra = self._method.extra_loss
        assert extra is not None
        with_extra = cast(PassesWithExtraLoss, passes)
        seen: list[BatchOutput] = []

        def counted(output: BatchOutput) -> Tensor:
            def forward(weights: dict[str, Tensor]) -> Tensor:
                self.forward_alone += 1
                return output.forward(weights)

            seen.append(replace(output, logits=output.logits.detach()))
            return extra.loss(context, state, replace(output, forward=forward))

        def backward(batch: Any, sync: bool) -> Tensor:
            return with_extra.backward_with_extra_loss(batch, sync, counted)

        @torch.no_grad()
        def record() -> None:
            if extra.needs_positions:
                positions = torch.cat([output.positions for output in seen if output.positions is not None])
                logits = torch.cat([output.logits for output in seen])
                extra.record(context, state, *with_extra.gather(positions, logits))

        return self._sum(Share.whole(batches), backward, is_ascent=False), record

    def _sum(self, share: Share, backward: Callable[[Any, bool], Tensor], is_ascent: bool) -> Tensor:
        self._parameters.clear_gradients()
        last = len(share.batches) - 1
        sync = self._ascent_sync or not is_ascent
        losses = [backward(batch, sync and i == last) for i, batch in enumerate(share.batches)]
        self.passes += share.passes
        return losses[0] if last == 0 else torch.stack(losses).sum()


def _refuse_local_ascents(method: Method, parameters: Parameters) -> None:
    reason = None
    if overrides(method.schedule, Schedule, "after"):
        reason = f"{type(method.schedule).__name__} decides by the one of all ranks"
    if method.descent is not None:
        reason = f"{type(method.descent).__name__} makes the update of the one of all ranks"
    if any(map(tensors.is_sharded, parameters.by_name.values())):
        reason = "the parameters are sharded"
    if reason is not None:
        raise ValueError(f"ascent_sync=False gives each rank a gradient at w of its own, and {reason}: leave it out")


def _share(
    passes: PassesOverShares, some: Sequence[Any], rows: Sequence[Tensor], batches: Sequence[Any], sizes: Sequence[int]
) -> Share:
    """Some rows of some micro-batches, which count as that share of the passes over all of them."""
    return Share(passes.take(some, rows), len(batches) * sum(map(len, rows)) / sum(sizes))

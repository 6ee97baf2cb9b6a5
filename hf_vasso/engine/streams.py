"""Which random numbers the passes of a step draw."""

from contextlib import AbstractContextManager, nullcontext

import torch

from hf_vasso.engine.random_state import RandomState, aside
from hf_vasso.methods.base import PassesOfStep

__all__ = ["Streams"]


class Streams:
    """
    The pass that gives the update draws from the stock stream, as it would without a perturbation.

    The other one replays it, or draws aside with a seed of its own. Where the schedule decides after the pass at w
    whether that was the only one, that pass has to take the stock stream, unless it is replayed.

    Args:
        same_dropout: Whether the second pass replays the first.
        decides_after: Whether the schedule decides after the pass at w.
        generator: The engine's own, from which seeds are drawn.
    """

    def __init__(self, same_dropout: bool, decides_after: bool, generator: torch.Generator) -> None:
        self._same_dropout = same_dropout
        self._decides_after = decides_after
        self._generator = generator
        self._replay: RandomState | None = None

    def clean(self, kind: PassesOfStep, whole: bool) -> AbstractContextManager[None]:
        """For the pass at w; one that is not over the whole step cannot be replayed, as the rows are others."""
        self._replay = RandomState.capture() if kind == "both" and whole and self._same_dropout else None
        if whole and (kind == "clean" or self._same_dropout or self._decides_after):
            return nullcontext()
        return aside(self._draw_seed())

    def perturbed(self, alone: bool) -> AbstractContextManager[None]:
        """For the pass at w + eps; `alone` where it had none over the whole step before it."""
        if not alone and self._replay is not None:
            self._replay.restore()
            return nullcontext()
        if alone or not self._decides_after:
            return nullcontext()
        return aside(self._draw_seed())

    def _draw_seed(self) -> int:
        return int(torch.randint(2**62, (), generator=self._generator))

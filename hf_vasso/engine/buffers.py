"""The model's buffers, as BatchNorm's statistics: they count the rows of a step once, however many passes it makes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from hf_vasso.engine.parameters import copy_

__all__ = ["Buffers", "Copies"]

Copies = list[tuple[Tensor, Tensor]]
"""Buffers, each with a copy of what it held."""


class Buffers:
    """
    The buffers of a model. Where none holds floats nothing is copied.

    Args:
        buffers: The buffers, or the function that lists them as they are now.
    """

    def __init__(self, buffers: Iterable[Tensor] | Callable[[], Iterable[Tensor]]) -> None:
        given = buffers if callable(buffers) else list(buffers)
        self._of_model = given if callable(given) else lambda: given
        self.follow()

    def follow(self) -> None:
        """Look again whether the model has buffers that hold floats."""
        self._hold_floats = any(buffer.is_floating_point() for buffer in self._of_model())

    def copies(self) -> Copies:
        """Copies of the buffers, for `put_back`."""
        return [(buffer, buffer.clone()) for buffer in self._now()]

    def put_back(self, copies: Copies) -> None:
        """Restore the buffers from copies, also where a forward pass has put another tensor in their place."""
        now = self._now()
        targets = now if len(now) == len(copies) else [buffer for buffer, _ in copies]  # a pass may register others
        pairs = [(to, kept) for to, (_, kept) in zip(targets, copies, strict=True) if to.shape == kept.shape]
        copy_([to for to, _ in pairs], [kept for _, kept in pairs])

    @contextmanager
    def counted_once(self, start: Copies | None = None) -> Iterator[None]:
        """
        Undo what a second pass over the same rows does to them.

        Args:
            start: What that pass begins with, as the first one did; None for the buffers as they are.
        """
        copies = self.copies()
        if start is not None:
            self.put_back(start)
        yield  # after an exception the whole step is undone
        self.put_back(copies)

    def _now(self) -> list[Tensor]:
        return list(self._of_model()) if self._hold_floats else []

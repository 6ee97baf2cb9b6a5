"""The model's buffers, as BatchNorm's statistics: they count the rows of a step once, however many passes it makes."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from torch import Tensor

from hf_vasso.engine.parameters import copy_

__all__ = ["Buffers"]


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
        """List the model's buffers again."""
        found = list(self._of_model())
        self._found = found if any(buffer.is_floating_point() for buffer in found) else []

    def copies(self) -> list[Tensor]:
        """Copies of the buffers, for `put_back`."""
        return [buffer.clone() for buffer in self._found]

    def put_back(self, copies: list[Tensor]) -> None:
        """Restore the buffers from copies."""
        copy_(self._found, copies)

    @contextmanager
    def counted_once(self) -> Iterator[None]:
        """Undo what a second pass over the same rows does to them."""
        copies = self.copies()
        try:
            yield
        finally:
            self.put_back(copies)

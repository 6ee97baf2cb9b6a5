"""The random numbers that a forward pass draws: replayed for a second pass, or left untouched by one."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy
import torch
from torch import Tensor

__all__ = ["RandomState", "aside"]


@dataclass(frozen=True)
class RandomState:
    """The state of Python's, NumPy's and torch's generators, that of the current accelerator included."""

    python: tuple[Any, ...]
    numpy: dict[str, Any]
    cpu: Tensor
    accelerator: Tensor | None

    @classmethod
    def capture(cls) -> "RandomState":
        return cls(
            random.getstate(), numpy.random.get_state(legacy=False), torch.get_rng_state(), _accelerator_state()
        )

    def restore(self) -> None:
        random.setstate(self.python)
        numpy.random.set_state(self.numpy)
        torch.set_rng_state(self.cpu)
        if self.accelerator is not None:
            _accelerator_module().set_rng_state(self.accelerator)


@contextmanager
def aside(seed: int) -> Iterator[None]:
    """Draw from generators seeded with `seed`, and leave the running ones as they were."""
    state = RandomState.capture()
    try:
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        yield
    finally:
        state.restore()


def _accelerator_module() -> Any:
    accelerator = torch.accelerator.current_accelerator()
    return None if accelerator is None else torch.get_device_module(accelerator)


def _accelerator_state() -> Tensor | None:
    module = _accelerator_module()
    if module is None or not getattr(module, "is_initialized", lambda: True)():
        return None
    return module.get_rng_state()

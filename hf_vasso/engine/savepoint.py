"""What a step changes, as it was before: so that a step that raises leaves no trace, and can be made again."""

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_vasso.engine.buffers import Buffers, Copies
from hf_vasso.engine.parameters import Parameters, copy_
from hf_vasso.engine.questions import Questions
from hf_vasso.engine.random_state import RandomState
from hf_vasso.engine.sweeps import Sweeps
from hf_vasso.methods.base import by_parameter

__all__ = ["Savepoint"]


@dataclass
class Savepoint:
    """
    Keeps what a step changes beside the weights, of which `Parameters` itself keeps a copy.

    Args:
        parameters: Those of the training.
        buffers: The model's.
        questions: They hold what the method keeps, the generator and the number of steps.
        sweeps: They count the passes.
        copies_state: Whether to copy what the method keeps for each parameter: memory and time for each such copy.
    """

    parameters: Parameters
    buffers: Buffers
    questions: Questions
    sweeps: Sweeps
    copies_state: bool
    buffer_copies: Copies = field(default_factory=list)
    """The buffers as they were."""

    _kept: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _others: dict[str, dict[str, Any]] = field(default_factory=dict)
    _names: dict[str, list[str]] = field(default_factory=dict)

    def take(self) -> None:
        """Keep everything as it is now."""
        self._grad_enabled = torch.is_grad_enabled()
        self.buffer_copies = self.buffers.copies()
        self._random_state = RandomState.capture()
        self._generator_state = self.questions.generator.get_state()
        self._counts = (self.questions.steps, self.sweeps.passes, self.sweeps.forward_alone)
        if self.copies_state:
            self._copy_states()

    def restore(self) -> None:
        """Put everything back, and clear the gradients, which are those of a part of the step."""
        # A signal's exception may come between the end of a `with` block and its exit.
        torch.set_grad_enabled(self._grad_enabled)
        self.parameters.put_back()
        self.parameters.clear_gradients()
        self.buffers.put_back(self.buffer_copies)
        self._random_state.restore()
        self.questions.generator.set_state(self._generator_state)
        self.questions.steps, self.sweeps.passes, self.sweeps.forward_alone = self._counts
        if self.copies_state:
            for question, names in self._names.items():
                kept = {name: self._kept[question, name].clone() for name in names}
                self.questions.state[question] = {**self._others[question], "by_parameter": kept}

    @torch.no_grad()
    def _copy_states(self) -> None:
        kept = [(question, name) for question, state in self.questions.state.items() for name in by_parameter(state)]
        tensors = [by_parameter(self.questions.state[question])[name] for question, name in kept]
        for key, tensor in zip(kept, tensors, strict=True):
            if key not in self._kept or self._kept[key].shape != tensor.shape:
                self._kept[key] = torch.empty_like(tensor)
        copy_([self._kept[key] for key in kept], tensors)
        self._names = {question: list(by_parameter(state)) for question, state in self.questions.state.items()}
        self._others = {question: _others(state) for question, state in self.questions.state.items()}


def _others(state: dict[str, Any]) -> dict[str, Any]:
    """What is kept beside the tensors of parameters: numbers, and a table of all examples, which is not copied."""
    return {
        name: value if isinstance(value, Tensor) and value.dim() > 1 else copy.deepcopy(value)
        for name, value in state.items()
        if name != "by_parameter"
    }

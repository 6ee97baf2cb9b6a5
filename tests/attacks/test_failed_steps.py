"""A step in which an exception is raised at any line of the engine or of the method, and which is made again."""

import random
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import numpy
import pytest
import torch
from torch import nn

import hf_vasso
from hf_vasso import METHODS, SharpnessAwareStep, get_method
from tests.engine.loops import EPOCH, LossPasses, examples, mean_square, preset, two_layers

FOLDERS = tuple(str(Path(hf_vasso.__file__).parent / name) for name in ("engine", "methods"))
STEPS = 6


class Interruption(BaseException):
    """What a signal handler may raise anywhere."""


class AtLine:
    """Counts the lines that run in the engine and the methods, and raises at one of them."""

    def __init__(self, line: int | None) -> None:
        self.line, self.count = line, 0

    def __enter__(self) -> "AtLine":
        self.tracing = sys.gettrace()
        sys.settrace(self._enter)
        return self

    def __exit__(self, *error: Any) -> None:
        sys.settrace(self.tracing)

    def _enter(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._count if frame.f_code.co_filename.startswith(FOLDERS) else None

    def _count(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            self.count += 1
            if self.count - 1 == self.line:
                raise Interruption
        return self._count


class RunningMean(nn.Module):
    """A buffer as BatchNorm's, of inputs of any number."""

    def __init__(self) -> None:
        super().__init__()
        self.mean: torch.Tensor
        self.register_buffer("mean", torch.zeros(6, dtype=torch.float64))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.mean.lerp_(inputs.detach().mean(0), 0.1)
        return inputs - self.mean


class Training:
    """A training by hand with everything that a step can change: buffers, random numbers, momenta, a state."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        layers = two_layers()
        self.model = nn.Sequential(layers[0], RunningMean(), layers[1], nn.Dropout(0.3), layers[2])
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1, momentum=0.9)
        self.engine = SharpnessAwareStep(
            preset(name, 0.3),
            self.model.named_parameters(),
            self.optimizer,
            total_steps=STEPS,
            buffers=self.model.buffers,
            same_dropout=False,
            **EPOCH,
        )

    def step(self, number: int) -> None:
        batches = [tuple(tensor[rows] for tensor in examples(number)) for rows in (slice(0, 4), slice(4, 8))]
        passes = LossPasses(mean_square(self.model), micro_batches=2)
        self.engine.step(batches, passes, measure=True)

    def check_gradients(self, before: list[torch.Tensor | None]) -> None:
        """No gradients, or those of before the step where it had not begun: never those of a part of it."""
        now = [parameter.grad for parameter in self.model.parameters()]
        assert all(gradient is None for gradient in now) or now == before

    def everything(self) -> list[Any]:
        state = self.engine.state_dict()
        model = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        return [state, model, torch.get_rng_state(), random.getstate(), repr(numpy.random.get_state(legacy=False))]


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, torch.Tensor):
        return torch.equal(left.nan_to_num(-7.5), right.nan_to_num(-7.5))
    return left == right


def lines_of_steps(name: str) -> list[int]:
    """How many lines run in each step when it is made again: memory of the first attempt is used once more."""
    first, again, counts = Training(name), Training(name), []
    for number in range(STEPS):
        with AtLine(None) as lines:
            first.step(number)
        with pytest.raises(Interruption), AtLine(lines.count - 1):
            again.step(number)
        with AtLine(None) as lines:
            again.step(number)
        counts.append(lines.count)
        first.optimizer.step()
        again.optimizer.step()
    return counts


@pytest.mark.parametrize("name", METHODS)
def test_a_step_that_fails_leaves_no_trace(name, attacks):
    attack, draws, counts = attacks(12), random.Random(name), lines_of_steps(name)
    straight, expected = Training(name), []
    for number in range(STEPS):
        straight.step(number)
        expected.append(straight.everything())
        straight.optimizer.step()
    repeated = Training(name)
    for number in range(STEPS):
        before, gradients = repeated.everything(), [p.grad for p in repeated.model.parameters()]
        for _ in range(attack.attempts // STEPS):
            with pytest.raises(Interruption), AtLine(draws.randrange(counts[number])):
                repeated.step(number)
            attack.count("survived" if same(repeated.everything(), before) else "wrong")
            repeated.check_gradients(gradients)
        repeated.step(number)
        assert same(repeated.everything(), expected[number])
        repeated.optimizer.step()
    attack.check()


def test_logits_are_noted_at_the_very_end_of_a_step():
    """Which cannot be undone: only an exception at the last line, which returns the result, comes too late."""
    lines = lines_of_steps("saf")[1]
    training = Training("saf")
    training.step(0)
    training.optimizer.step()
    before = training.everything()
    for line in range(lines - 12, lines - 1):
        with pytest.raises(Interruption), AtLine(line):
            training.step(1)
        assert same(training.everything(), before)


@pytest.mark.parametrize("name", ["vasso", "msam", "looksam", "mesa", "saf", "esam"])
def test_without_a_copy_of_the_state_all_else_is_put_back(name):
    middle = lines_of_steps(name)[1] // 2
    training = Training(name)
    training.step(0)
    training.optimizer.step()
    before = training.everything()
    training.engine._before.copies_state = False
    with pytest.raises(Interruption), AtLine(middle):
        training.step(1)
    after = training.everything()
    del before[0]["parts"], after[0]["parts"]
    assert same(after, before)


def test_an_error_in_the_second_pass_is_the_callers_to_catch():
    class Fails(LossPasses):
        def backward(self, batch, sync):
            loss = super().backward(batch, sync)
            if len(self.syncs) == 2:
                raise MemoryError
            return loss

    model = two_layers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = SharpnessAwareStep(get_method("vasso"), model.named_parameters(), optimizer, total_steps=0)
    engine.step([examples(0)], LossPasses(mean_square(model)))
    before = engine.state_dict()
    with pytest.raises(MemoryError):
        engine.step([examples(1)], Fails(mean_square(model)))
    assert same(engine.state_dict(), before)

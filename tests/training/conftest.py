"""Fixtures that train in a folder of the test's own."""

import gc
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tiny_training import Training, build_trainer, run
from transformers import Trainer


@pytest.fixture(scope="session", autouse=True)
def imports_are_not_collected() -> Iterator[None]:
    """Accelerate collects garbage before each training, which for what was imported takes longer than the training."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Trainer]:
    """`build_trainer` with a new output folder at each call."""
    folders = (tmp_path / f"training-{number}" for number in itertools.count())
    return lambda *args, **kwargs: build_trainer(next(folders), *args, **kwargs)


@pytest.fixture
def train(build: Callable[..., Trainer]) -> Callable[..., Training]:
    """Build a trainer as `build` does, and train to the end."""
    return lambda *args, **kwargs: run(build(*args, **kwargs))

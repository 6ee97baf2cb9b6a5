"""Fixtures that train in a folder of the test's own."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_training import Training, build_trainer, run
from transformers import Trainer


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Trainer]:
    """`build_trainer` with a new output folder at each call."""
    folders = (tmp_path / f"training-{number}" for number in itertools.count())
    return lambda *args, **kwargs: build_trainer(next(folders), *args, **kwargs)


@pytest.fixture
def train(build: Callable[..., Trainer]) -> Callable[..., Training]:
    """Build a trainer as `build` does, and train to the end."""
    return lambda *args, **kwargs: run(build(*args, **kwargs))

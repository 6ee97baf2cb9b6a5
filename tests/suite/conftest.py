"""A tiny model, a small task, and the file of a suite over them."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement

WriteSuite = Callable[..., Path]


@pytest.fixture(scope="session")
def materials(tmp_path_factory) -> Path:
    """A folder with `data` and `small-bert`."""
    folder = tmp_path_factory.mktemp("materials")
    write_agreement(folder / "data", train_examples=48, validation_examples=24)
    write_small_bert(folder / "small-bert", VOCABULARY, hidden_size=8, num_hidden_layers=1)
    return folder


@pytest.fixture(scope="session")
def write_suite_in(materials) -> WriteSuite:
    """Writes the file of a suite: two methods on two seeds, with some keys replaced; None takes one away."""

    def write(folder: Path, **keys) -> Path:
        content = {
            "name": "small",
            "output_dir": str(folder / "runs"),
            "tasks": ["agreement"],
            "methods": {"none": None, "sam": {"rho": 0.1}},
            "seeds": [0, 1],
            "defaults": {
                "config_name": str(materials / "small-bert"),
                "data_dir": str(materials / "data"),
                "num_train_epochs": 1,
                "per_device_train_batch_size": 16,
                "learning_rate": "3e-3",
                "max_seq_length": 32,
                "use_cpu": True,
            },
        }
        content |= {key: value for key, value in keys.items() if key != "defaults"}
        content["defaults"] |= keys.get("defaults", {})
        path = folder / "suite.yaml"
        path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
        return path

    return write


@pytest.fixture
def write_suite(write_suite_in, tmp_path) -> WriteSuite:
    """Writes it in the test's folder, with `runs` beside it."""
    return partial(write_suite_in, tmp_path)


@pytest.fixture(autouse=True)
def same_environment():
    """A suite sets variables for the process from which its runs are forked."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)

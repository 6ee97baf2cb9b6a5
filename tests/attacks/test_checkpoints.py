"""
Checkpoints that were damaged, cut off or deleted in part: a training goes on from one that is whole, bit for bit.

The second source of each result is the training that nothing happened to.
"""

import gc
import itertools
import json
import os
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import dropout

from hf_vasso import VassoTrainer, VassoTrainingArguments

STEPS = 4
FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "sharpness.pt",
    "training_args.bin",
    "manifest.json",
)


class Tiny(nn.Module):
    """A line through points, with dropout, so that the random numbers count."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        predicted = self.layer(dropout(inputs, 0.3, self.training)).squeeze(-1)
        return {"loss": (predicted - labels).square().mean(), "logits": predicted}


def points() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"inputs": torch.randn(4, generator=generator), "labels": torch.tensor(1.0)} for _ in range(16)]


def build(folder: Path, **arguments: Any) -> VassoTrainer:
    """A trainer of two epochs of two steps each, with a checkpoint after each step."""
    defaults = {
        "method": "vasso",
        "rho": 0.5,
        "rho_warmup_steps": 0,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 0.1,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "metric_for_best_model": "loss",
    }
    args = VassoTrainingArguments(str(folder), **(defaults | arguments))
    return VassoTrainer(Tiny(), args, train_dataset=points(), eval_dataset=points()[:4])


def weights(trainer: VassoTrainer) -> list[float]:
    return [value for tensor in trainer.model.state_dict().values() for value in tensor.flatten().tolist()]


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> tuple[Path, list[float]]:
    """A training with all its checkpoints, and the weights at its end."""
    folder = tmp_path_factory.mktemp("straight")
    trainer = build(folder)
    trainer.train()
    return folder, weights(trainer)


@pytest.fixture(scope="module", autouse=True)
def imports_are_not_collected() -> Iterator[None]:
    """Accelerate collects garbage before each training, which for what was imported takes longer than the training."""
    gc.freeze()
    yield
    gc.unfreeze()


def copy_of(straight: Path, folder: Path, steps: tuple[int, ...]) -> Path:
    for step in steps:
        shutil.copytree(straight / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    return folder


# --- damage ---


def missing(file: Path, chance: random.Random, other: Path) -> None:
    file.unlink()


def truncated(file: Path, chance: random.Random, other: Path) -> None:
    file.write_bytes(file.read_bytes()[: chance.randrange(1, file.stat().st_size)])


def empty(file: Path, chance: random.Random, other: Path) -> None:
    file.write_bytes(b"")


def of_another_step(file: Path, chance: random.Random, other: Path) -> None:
    content = bytearray(other.read_bytes())
    if content == file.read_bytes():  # of the arguments, which are the same at each step
        content[chance.randrange(len(content))] ^= 255
    file.write_bytes(content)


def flipped(file: Path, chance: random.Random, other: Path) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


DAMAGES = list(itertools.product(FILES, (missing, truncated, empty, of_another_step, flipped)))


def test_a_damaged_checkpoint_is_refused_by_name_and_else_the_one_before_is_taken(
    straight, attacks, tmp_path, caplog
) -> None:
    folder, end = straight
    attack = attacks(len(DAMAGES))
    for number in range(attack.attempts):
        name, damage = DAMAGES[number % len(DAMAGES)]
        run = copy_of(folder, tmp_path / str(number), (1, 2, 3))
        damage(run / "checkpoint-3" / name, random.Random(number), run / "checkpoint-1" / name)
        caplog.clear()
        trainer = build(run, save_strategy="no")
        try:
            trainer.train(resume_from_checkpoint=True)
        except Exception as error:
            attack.count(f"{name} {damage.__name__}: {error!r}")
            continue
        checkpoint = run / "checkpoint-3"
        if (name, damage) == ("manifest.json", missing):  # so it cannot be told from one of the stock Trainer
            reason, survived = f"{checkpoint} has no manifest.json", True
        else:
            named = "trainer_state.json" if (name, damage) == ("manifest.json", of_another_step) else name
            reason, survived = f"{checkpoint} is passed over: {named}", refuses(checkpoint, named)
        survived &= [text.startswith(reason) for text in caplog.messages] == [True]
        attack.count("survived" if survived and weights(trainer) == end else "wrong")
        shutil.rmtree(run)
    attack.check()


def refuses(checkpoint: Path, name: str) -> bool:
    try:
        build(checkpoint.parent, save_strategy="no").train(resume_from_checkpoint=str(checkpoint))
    except ValueError as error:
        return f"{checkpoint} is no whole checkpoint: {name}" in str(error)
    return False


# --- kills ---


class Killed(BaseException):
    """What the process would have done from here on does not happen."""


class Killer:
    """Kills at one operation on the files of a folder, as an audit hook, of which Python never lets go."""

    EVENTS = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "open")

    def __init__(self) -> None:
        self.folder: str | None = None
        self.seen = 0
        self.at: int | None = None
        sys.addaudithook(self.look)

    def look(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None or event not in self.EVENTS:
            return
        path, *_, last = arguments
        if event == "open" and not (isinstance(last, int) and last & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)):
            return  # to read
        below_descriptor = event in ("os.remove", "os.rmdir") and last != -1  # as rmtree does it
        if not (below_descriptor or str(path).startswith(self.folder)):
            return
        self.seen += 1
        if self.at is not None and self.seen > self.at:
            raise Killed(f"{event} {path}")

    def watch(self, folder: Path | None, at: int | None = None) -> None:
        self.folder, self.at, self.seen = None if folder is None else str(folder), at, 0


@pytest.fixture(scope="module")
def killer():
    killer = Killer()
    yield killer
    killer.watch(None)


BEST = {"load_best_model_at_end": True, "eval_strategy": "steps", "eval_steps": 1}


@pytest.mark.parametrize("arguments", [{}, BEST], ids=["last", "best"])
def test_a_whole_checkpoint_is_left_wherever_a_rotation_is_killed(arguments, attacks, tmp_path, killer) -> None:
    arguments = {"save_total_limit": 1, **arguments}
    trainer = build(tmp_path / "straight", **arguments)
    killer.watch(tmp_path / "straight")
    trainer.train()
    operations = killer.seen
    killer.watch(None)
    end = weights(trainer)
    order = random.Random(0).sample(range(operations), operations)
    attack = attacks(15)
    for number in range(attack.attempts):
        run = tmp_path / f"killed-{number}"
        killer.watch(run, order[number % operations])
        with pytest.raises(Killed):
            build(run, **arguments).train()
        killer.watch(None)
        sealed = max((int(path.parent.name.split("-")[-1]) for path in run.glob("*/manifest.json")), default=0)
        trainer = build(run, **arguments)
        try:
            trainer.train(resume_from_checkpoint=True if list(run.glob("*checkpoint-*")) else None)
        except ValueError:
            attack.count("lost" if sealed else "survived")
        else:
            attack.count("survived" if weights(trainer) == end else "wrong")
        shutil.rmtree(run)
    assert operations > 60
    attack.check()


# --- files of right syntax and wrong shape, in a checkpoint without a manifest ---

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda values: st.lists(values, max_size=2) | st.dictionaries(st.text(max_size=3), values, max_size=2),
    max_leaves=4,
)
TENSORS = st.sampled_from([torch.zeros(0), torch.zeros(2, 3), torch.zeros(5, dtype=torch.uint8)])


@st.composite
def mutated(draw: Any, content: Any, values: Any) -> Any:
    """A nested dictionary with one thing at one place replaced, taken out or added; or something else altogether."""
    if not isinstance(content, dict) or not content or draw(st.integers(0, 3)) == 0:
        return draw(values)
    name = draw(st.sampled_from([*content, "another"]))
    rest = {key: value for key, value in content.items() if key != name}
    return rest if draw(st.booleans()) else {**rest, name: draw(mutated(content.get(name), values))}


def resumed(straight: Path, folder: Path, write: Any, data: Any) -> None:
    """Either the training goes on to its end, or one line names the file."""
    shutil.rmtree(folder, ignore_errors=True)
    checkpoint = copy_of(straight, folder, (2,)) / "checkpoint-2"
    (checkpoint / "manifest.json").unlink()
    file = write(checkpoint, data)
    try:
        build(folder, save_strategy="no").train(resume_from_checkpoint=str(checkpoint))
    except ValueError as error:
        assert file in str(error) and "\n" not in str(error) and len(str(error)) < 1000, error


@given(data=st.data())
def test_a_trainer_state_of_another_shape(straight, tmp_path_factory, data) -> None:
    folder, _ = straight
    name = "trainer_state.json"

    def write(checkpoint: Path, data: Any) -> str:
        content = json.loads((checkpoint / name).read_text())
        (checkpoint / name).write_text(json.dumps(data.draw(mutated(content, VALUES))))
        return name

    resumed(folder, tmp_path_factory.getbasetemp() / "state-of-another-shape", write, data)


@given(data=st.data())
def test_a_state_of_the_method_of_another_shape(straight, tmp_path_factory, data) -> None:
    folder, _ = straight
    name = "sharpness.pt"

    def write(checkpoint: Path, data: Any) -> str:
        content = torch.load(checkpoint / name)
        torch.save(data.draw(mutated(content, VALUES | TENSORS)), checkpoint / name)
        return name

    resumed(folder, tmp_path_factory.getbasetemp() / "method-of-another-shape", write, data)

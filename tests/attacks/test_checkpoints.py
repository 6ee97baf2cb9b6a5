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
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from damaged_checkpoints import DAMAGES, FILES, build, copy_of, missing, of_another_step, weights
from hypothesis import given
from hypothesis import strategies as st


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


# --- damage ---


CASES = list(itertools.product(FILES, DAMAGES))


def test_a_damaged_checkpoint_is_refused_by_name_and_else_the_one_before_is_taken(
    straight, attacks, tmp_path, caplog
) -> None:
    folder, end = straight
    attack = attacks(len(CASES))
    for number in range(attack.attempts):
        name, damage = CASES[number % len(CASES)]
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
        killed = None
        with pytest.raises(Killed):
            killed = build(run, **arguments)
            killed.train()
        killer.watch(None)
        trainer = build(run, **arguments)
        try:
            trainer.train(resume_from_checkpoint=True if list(run.glob("*checkpoint-*")) else None)
        except ValueError:  # there is none; the third step ends when the first checkpoint is whole for certain
            attack.count("lost" if killed is not None and killed.state.global_step >= 3 else "survived")
        except Exception as error:
            attack.count(f"{type(error).__name__}: {error}")
        else:
            attack.count("survived" if weights(trainer) == end else "wrong")
        shutil.rmtree(run, ignore_errors=True)
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
    (checkpoint / "manifest.json").unlink(missing_ok=True)
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


# --- two processes ---


@pytest.mark.distributed
@pytest.mark.skipif(
    transformers.__version__.startswith("4."), reason="transformers 4.57 cannot resume on several CPU processes"
)
def test_two_processes_agree_on_the_checkpoint_that_is_whole(attacks, tmp_path) -> None:
    attack = attacks(10)
    script = [str(Path(__file__).with_name("two_process_checkpoints.py")), str(tmp_path), str(attack.attempts)]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", *script]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr[-5000:]
    ranks = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(2)]
    for outcomes in zip(*(rank["outcomes"] for rank in ranks), strict=True):
        attack.count("survived" if set(outcomes) == {"survived"} else "wrong")
    assert ranks[0] == ranks[1]
    assert ranks[0]["ranks"] == 2
    of_each = {"rng_state_0.pth", "rng_state_1.pth", "sharpness.pt", "sharpness_1.pt"}
    assert of_each <= set(ranks[0]["files"])
    attack.check()

"""Commands that are killed at random moments and repeated: they end with the bytes of an undisturbed one."""

import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoConfig, AutoModel, set_seed

from hf_vasso.cli import main
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement

PATIENCE_SECONDS = 300.0
NUMERALS = {"de": ["eins", "zwei", "drei", "vier", "fünf"], "en": ["one", "two", "three", "four", "five"]}

# Processes are forked from one that has imported everything.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["hf_vasso.suite.work", "datasets.io.generator", "scipy.io", "hf_vasso.cli"])


def run_command(words: Sequence[str], shown: Path, variables: dict[str, str]) -> None:
    """A command in a session of its own, so that it can be killed with all that it starts."""
    os.setsid()
    os.environ.update(variables)
    with open(shown, "ab", buffering=0) as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    raise SystemExit(main(words))


@dataclass
class Command:
    """
    A command that is attacked.

    Args:
        words: From an output folder to its words after `hf-vasso`.
        processes: How many make the run together.
    """

    words: Callable[[Path], list[str]]
    processes: int = 1

    def start(self, folder: Path) -> list[Any]:
        folder.mkdir(exist_ok=True)
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        started = []
        for rank in range(self.processes):
            ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(self.processes)}
            place = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
            variables = {} if self.processes == 1 else ranks | place
            arguments = (self.words(folder), folder / f"shown-{rank}.txt", variables)
            started.append(_context.Process(target=run_command, args=arguments))
            started[-1].start()
        return started

    def finish(self, folder: Path) -> bool:
        """Whether the command comes to its end."""
        processes = self.start(folder)
        for process in processes:
            process.join(PATIENCE_SECONDS)
        ended = [process.exitcode for process in processes]
        kill(processes)
        return all(code == 0 for code in ended)

    def kill_after(self, folder: Path, seconds: float, which: int) -> None:
        """Start the command and kill one of its processes, and then, as a launcher does, the others."""
        processes = self.start(folder)
        processes[which].join(seconds)
        kill(processes[which : which + 1])
        if self.processes > 1:
            time.sleep(0.2)  # the others may go on so long
        kill(processes)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while processes_below(folder):
            assert time.monotonic() < deadline, "a run outlived its command"
            time.sleep(0.02)


def kill(processes: Sequence[Any]) -> None:
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.join()


def processes_below(folder: Path) -> list[str]:
    """The processes that have a file below a folder open, as each run of a suite has its log."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if any(os.readlink(link).startswith(f"{folder}/") for link in (process / "fd").iterdir()):
                found.append(process.name)
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """All that a user would use of the runs below a folder: weights, predictions, and the record without its times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if any(part.startswith((".", "checkpoint-")) for part in path.relative_to(folder).parts):
            continue
        if path.name == "result.json":
            record = json.loads(path.read_text())
            kept = ("metrics", "history", "arguments", "method", "seed", "train_examples", "eval_examples", "data")
            found[name] = {key: record[key] for key in kept} | {"steps": record["cost"]["steps"]}
        elif path.suffix in (".safetensors", ".tsv") or path.name in ("generated_predictions.txt", "selection.json"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="module")
def commands(tmp_path_factory) -> dict[str, Command]:
    """Runs of a few steps with a checkpoint at every second one, of which the last is kept."""
    folder = tmp_path_factory.mktemp("materials")
    write_agreement(folder / "data", train_examples=48, validation_examples=24)
    write_small_bert(folder / "bert", VOCABULARY, hidden_size=8, num_hidden_layers=1)
    set_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(folder / "bert")).save_pretrained(folder / "bert")
    write_numerals(folder / "numerals")
    # A logged loss is the mean since the last log or the checkpoint, whichever is later, as in the stock Trainer.
    often = ["--save_strategy", "steps", "--save_steps", "2", "--save_total_limit", "1", "--logging_steps", "2"]
    quiet = ["--report_to", "none", "--disable_tqdm", "true", "--method", "vasso", *often]
    glue = ["glue", "--task_name", "agreement", "--model_name_or_path", str(folder / "bert"), *quiet]
    glue += ["--data_dir", str(folder / "data"), "--num_train_epochs", "8", "--per_device_train_batch_size", "8"]
    translate = ["translate", "--data_dir", str(folder / "numerals"), "--source_lang", "de", "--target_lang", "en"]
    translate += [
        "--config_name",
        "tiny",
        "--max_tokens",
        "100",
        "--num_train_epochs",
        "4",
        "--num_beams",
        "1",
        *quiet,
    ]
    translate += ["--vocab_size", "60", "--max_source_length", "40", "--max_target_length", "40"]

    def suite(output: Path) -> list[str]:
        content = {
            "name": "attacked",
            "output_dir": str(output / "runs"),
            "tasks": ["agreement"],
            "methods": {"none": None, "vasso": {"rho": 0.1}},
            "seeds": [0, 1],
            "select": {"stages": [{"theta": [0.2, 0.4]}], "holdout_samples": 16},
            "defaults": {
                "config_name": str(folder / "bert"),
                "data_dir": str(folder / "data"),
                "num_train_epochs": 4,
                "save_steps": 4,
                "logging_steps": 4,
                "per_device_train_batch_size": 8,
                "learning_rate": 3e-3,
                "use_cpu": True,
            },
        }
        (output / "suite.yaml").write_text(yaml.safe_dump(content))
        return ["suite", str(output / "suite.yaml"), "--jobs", "2"]

    return {
        "glue": Command(lambda output: [*glue, "--output_dir", str(output / "run")]),
        "glue on two processes": Command(lambda output: [*glue, "--output_dir", str(output / "run")], processes=2),
        "translate": Command(lambda output: [*translate, "--output_dir", str(output / "run")]),
        "suite": Command(suite),
    }


def write_numerals(folder: Path) -> None:
    folder.mkdir()
    for split, count in {"train": 40, "valid": 8, "test": 6}.items():
        for language, words in NUMERALS.items():
            lines = [" ".join(words[(n + 3 * step) % 5] for step in range(1 + n % 4)) + ".\n" for n in range(count)]
            (folder / f"{split}.{language}").write_text("".join(lines))


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name, attempts", [("glue", 3), ("translate", 3), ("suite", 2), ("glue on two processes", 2)])
def test_killed_at_random_moments(commands, tmp_path, attacks, name, attempts):
    command, attack = commands[name], attacks(attempts)
    assert command.finish(tmp_path / "warm"), (tmp_path / "warm" / "shown-0.txt").read_text()  # fills caches
    begin = time.monotonic()
    assert command.finish(tmp_path / "straight")
    seconds = time.monotonic() - begin
    expected = outcome(tmp_path / "straight")
    assert expected
    for number in range(attack.attempts):
        draws, folder = random.Random(f"{name} {number}"), tmp_path / str(number)
        for _ in range(draws.randint(1, 2)):
            command.kill_after(folder, draws.uniform(0.0, 1.2 * seconds), draws.randrange(command.processes))
        survived = command.finish(folder)
        attack.count("lost" if not survived else "survived" if outcome(folder) == expected else "wrong")
        if not attack.outcomes.keys() <= {"survived"}:
            break  # its folder shows what went wrong
    attack.check()

"""Runs for attacks: a real one of seconds on a tiny model, and one that only writes, of milliseconds."""

import multiprocessing
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

from transformers import AutoConfig, AutoModel, set_seed

from hf_vasso.cli import main
from hf_vasso.results.files import write_json
from hf_vasso.suite.processes import start_server
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement
from hf_vasso.tasks.run_folder import RunFolder

TRAINING = {"entries": {"train_examples": 1, "cost": {"steps": 1}}, "fingerprints": {"train": "0"}}
MODEL = {
    "config.json": b"trained configuration",
    "model.safetensors": b"trained weights",
    "tokenizer.json": b"trained tokenizer",
    "training_args.bin": b"trained arguments",
}


def write_materials(folder: Path) -> list[str]:
    """Write a tiny model with weights and its task, and return the words of a command that trains it for two steps."""
    model = folder / "tiny-bert"
    write_small_bert(model, VOCABULARY, hidden_size=8, num_hidden_layers=1)
    set_seed(0)
    AutoModel.from_config(AutoConfig.from_pretrained(model)).save_pretrained(model)
    write_agreement(folder / "data", train_examples=16, validation_examples=8)
    words = (
        f"glue --task_name agreement --model_name_or_path {model} --data_dir {folder}/data --max_steps 2 "
        "--save_steps 1 --per_device_train_batch_size 8 --learning_rate 1e-3 --report_to none --disable_tqdm true "
        "--max_seq_length 32"
    )
    return words.split()


def contents(folder: Path) -> dict[str, object]:
    """What is below a folder: the path of a file to its bytes, of a link to where it leads, of a folder to None."""
    found: dict[str, object] = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        found[name] = os.readlink(path) if path.is_symlink() else None if path.is_dir() else path.read_bytes()
    return found


def write_like_a_run(path: Path, fresh: bool = False, in_place: bool = False) -> None:
    """Go through all that a run writes and deletes in its folder, in the order in which it does so."""
    folder = RunFolder(str(path), {"test": "predictions_test.tsv"}, replaces_model=in_place)
    with folder.hold():
        folder.check_files(fresh)
        folder.finish_model()
        trains = fresh or folder.training is None
        folder.begin({"method": "sam"}, fresh)
        if trains:
            folder.clear_results()
            folder.claim(["checkpoint-1"])
            write_json(path / "checkpoint-1" / "trainer_state.json", {})
            folder.keep_metrics("train", {"train_loss": 1.0})
            folder.stage_model()
            folder.staging.mkdir()
            for name, content in MODEL.items():
                (folder.staging / name).write_bytes(content)
            folder.keep_model(TRAINING)
        folder.keep_metrics("eval", {"eval_accuracy": 0.5})
        folder.write("predictions_test.tsv", "index\tprediction\n")
        folder.write("result.json", "{}")
        folder.write("README.md", "the card")


def start_command(words: list[str], shown: Path) -> BaseProcess:
    """Start `hf-vasso` with some words in a process that has imported everything, and write what it says to a file."""
    start_server(threads=1)
    process = multiprocessing.get_context("forkserver").Process(target=_run_command, args=(words, str(shown)))
    process.start()
    return process


def _run_command(words: list[str], shown: str) -> None:
    with open(shown, "wb") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.exit(main(words))


class Killed(BaseException):
    """The process is gone: nothing that it meant to do at its end is done."""


@contextmanager
def failing_at(moment: int, error: BaseException, monkeypatch, again: bool) -> Iterator[list[str]]:
    """
    Let the n-th call that changes a folder fail.

    Args:
        moment: Which call, from 0.
        error: What it raises.
        again: Whether all calls after it fail too, as in a process that is gone.

    Yields:
        A list that gets the names of the calls.
    """
    calls: list[str] = []

    def failing(name, real):
        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) - 1 == moment or (again and len(calls) > moment):
                raise error
            return real(*args, **kwargs)

        return call

    with monkeypatch.context() as patched:
        for name in ("replace", "unlink", "rmdir", "mkdir", "fsync"):
            patched.setattr(os, name, failing(name, getattr(os, name)))
        yield calls

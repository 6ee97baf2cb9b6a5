"""Attacks on the disk: full or failing at any write, read-only folders, a `run.json` that vanishes."""

import errno
import os
import random
import resource
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_runs import MODEL, contents, failing_at, write_like_a_run, write_materials
from transformers import Trainer, TrainerCallback

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks.errors import UserError, disk_errors

ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO)


@pytest.fixture
def quick_disk(monkeypatch):
    """What waits for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.mark.parametrize("fresh", [False, True])
def test_a_failing_disk_at_any_call(attacks, tmp_path, monkeypatch, quick_disk, fresh):
    """What stood stands, the error is told in one line, and the repetition ends as if nothing had been."""
    attack = attacks(20)
    for number in range(attack.attempts):
        draw = random.Random(number)
        folder = tmp_path / str(number) / "run"
        write_like_a_run(folder)
        expected = contents(folder)
        if not fresh:
            for name in ("result.json", "README.md"):  # it is to be evaluated again
                (folder / name).unlink()
        fault = OSError(draw.choice(ERRORS), "the disk", str(folder / "run.json"))
        told = ""
        with failing_at(draw.randrange(80 if fresh else 30), fault, monkeypatch, again=draw.random() < 0.5):
            try:
                with disk_errors(folder):
                    write_like_a_run(folder, fresh)
            except UserError as error:
                told = str(error)
        stands = all((folder / name).read_bytes() == content for name, content in MODEL.items())
        clean = told == "" or (told.startswith(f"{folder}/run.json: the disk; ") and "repeat the command" in told)
        write_like_a_run(folder, fresh)
        attack.count("survived" if stands and clean and contents(folder) == expected else "lost")
    attack.check()


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    return write_materials(tmp_path_factory.mktemp("materials"))


@pytest.fixture(scope="module")
def undisturbed(words, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*words, "--output_dir", str(folder)]) == 0
    return folder


def same_run(folder: Path, other: Path) -> bool:
    first, second = (load_file(each / "model.safetensors") for each in (folder, other))
    metrics = [read_record(each / "result.json").metrics for each in (folder, other)]
    return metrics[0] == metrics[1] and all((tensor == second[name]).all() for name, tensor in first.items())


@pytest.mark.slow
def test_files_that_cannot_grow(attacks, words, undisturbed, tmp_path, capsys):
    """As on a full disk a file is cut off in the middle, whoever writes it: this package, torch or safetensors."""
    attack = attacks(3)
    largest = max(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for number in range(attack.attempts):
        limit = int(largest * random.Random(number).uniform(0.02, 0.98))
        command = [*words, "--output_dir", f"{tmp_path}/{number}"]
        capsys.readouterr()
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            status = main(command)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        last = capsys.readouterr().err.splitlines()[-1]
        clean = status == 2 and last.startswith("hf-vasso: ") and "repeat the command" in last
        again = main(command) == 0 and same_run(tmp_path / str(number), undisturbed)
        attack.count("survived" if clean and again else "lost")
    attack.check()


@pytest.mark.slow
def test_a_run_file_that_vanishes_during_the_training(attacks, words, undisturbed, tmp_path, monkeypatch, capsys):
    """A finished training stays within reach."""
    attack = attacks(2)
    for number in range(attack.attempts):
        folder, moment = tmp_path / str(number), random.Random(number).choice(["begin", "step", "end"])

        class Deleting(TrainerCallback):
            def on_train_begin(self, *args, folder=folder, moment=moment, **kwargs):
                if moment == "begin":
                    (folder / "run.json").unlink()

            def on_step_end(self, args, state, control, folder=folder, moment=moment, **kwargs):
                if moment == "step" and state.global_step == 1:
                    (folder / "run.json").unlink()

            def on_train_end(self, *args, folder=folder, moment=moment, **kwargs):
                if moment == "end":
                    (folder / "run.json").unlink()

        train = Trainer.train

        def train_and_delete(self, *args, train=train, callback=Deleting, **kwargs):
            self.add_callback(callback())
            return train(self, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(Trainer, "train", train_and_delete)
            ended = main([*words, "--output_dir", str(folder)])
        capsys.readouterr()
        again = main([*words, "--output_dir", str(folder)])
        finished = "finished before" in capsys.readouterr().out
        survived = ended == again == 0 and finished and same_run(folder, undisturbed)
        attack.count("survived" if survived else "lost")
    attack.check()


# --- the cases behind the attacks ---


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes anywhere")
def test_a_folder_that_may_not_be_written(words, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    folder.chmod(0o555)
    assert main([*words, "--output_dir", str(folder)]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error == f"hf-vasso: {folder}/run.json: Permission denied; allow that and repeat the command"


def test_a_folder_that_may_not_be_written_is_told_to_root_too(words, tmp_path, monkeypatch, capsys):
    """A finished run is shown all the same."""
    folder = tmp_path / "run"
    assert main([*words, "--output_dir", str(folder)]) == 0

    def refuse(path, *args, real=os.open, **kwargs):
        if str(path).startswith(str(folder)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", refuse)
    capsys.readouterr()
    assert main([*words, "--output_dir", str(folder)]) == 0
    assert "finished before" in capsys.readouterr().out
    assert main([*words, "--output_dir", str(folder), "--max_eval_samples", "2"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"hf-vasso: {folder}/")
    assert error.endswith(": Read-only file system; make it writable and repeat the command")


def test_only_errors_of_writing_are_those_of_the_disk():
    for error in (
        OSError(errno.ENOENT, "x"),
        ValueError("unexpected pos 1"),
        RuntimeError("PytorchStreamReader failed"),
    ):
        with pytest.raises(type(error)), disk_errors():
            raise error

"""Attacks on what else lies in the folder of a run: files of others, and the model from which it began."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_runs import MODEL, Killed, contents, failing_at, write_like_a_run, write_materials

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks.run_folder import RunFolder

# Names that a run writes, and pieces from which names beside them are made.
OURS = [
    *("README.md", "result.json", "run.json", "all_results.json", "train_results.json", "predictions_test.tsv"),
    *("config.json", "model.safetensors", "adapter_config.json", "adapter_model.bin", "tokenizer.json", "vocab.txt"),
    *("pytorch_model.bin", "training_args.bin", "checkpoint-1", "model-00001-of-00002.safetensors", "failure.json"),
]
NEAR = [
    *("adapter_notes.txt", "adapter_stuff", "model_v1.safetensors.bak", "models", "my_config.json", ".x.json.backup"),
    *(".result.json.x7", "README.md.orig", "readme.md", "checkpoint-best", "checkpoints", "log.txt", "runs"),
    *(
        "model.safetensors.old",
        "result.json.bak",
        "vocabulary.txt",
        "tokenizer_notes.md",
        ".hf_vasso-tmp",
        "train.txt",
    ),
]


@pytest.fixture(autouse=True)
def quick_disk(monkeypatch):
    """No attack here is on the power of the machine, and to wait for the disk takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


def put_foreign(folder: Path, draw: random.Random) -> dict[str, object]:
    """Put files, folders and links of somebody else into a folder, under names like those of a run and beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir(exist_ok=True)
    (elsewhere / "kept.txt").write_text("kept")
    names = draw.sample(NEAR, draw.randint(1, 6)) + draw.sample(OURS, draw.choice([0, 0, 1, 2]))
    names += [draw.choice(OURS) + draw.choice([".bak", "~", " copy", "x"]) for _ in range(draw.randint(0, 2))]
    for name in dict.fromkeys(names):
        kind = draw.choice(["file", "file", "folder", "full folder", "link"])
        if kind == "file":
            (folder / name).write_bytes(draw.randbytes(draw.randint(0, 40)))
        elif kind == "link":
            (folder / name).symlink_to(elsewhere)
        else:
            (folder / name).mkdir()
            if kind == "full folder":
                (folder / name / draw.choice(["notes.txt", "trainer_state.json"])).write_bytes(draw.randbytes(9))
    return contents(folder)


def untouched(foreign: dict[str, object], folder: Path) -> bool:
    now = contents(folder)
    kept = (folder.parent / "elsewhere" / "kept.txt").read_text() == "kept"
    return kept and all(name in now and now[name] == content for name, content in foreign.items())


def move_refused(foreign: dict[str, object], folder: Path, message: str) -> None:
    """Do what the message says: move away what it names."""
    named = message.partition("would replace: ")[2].partition("; choose")[0].split(", ")
    if not named[0]:
        named = ["run.json"]  # which is no run's
    for name in named:
        os.rename(folder / name, folder.parent / f"moved-{name}")
        for entry in [entry for entry in foreign if entry.split("/")[0] == name]:
            del foreign[entry]


def test_foreign_files_are_refused_or_left_alone(attacks, tmp_path):
    """Before anything is written, and so that the run can be made once they have been moved away."""
    attack = attacks(20)
    for number in range(attack.attempts):
        draw = random.Random(number)
        folder = tmp_path / str(number) / "run"
        foreign = put_foreign(folder, draw)
        for fresh in (False, True, False):
            while True:
                before = contents(folder)
                try:
                    write_like_a_run(folder, fresh)
                    break
                except ValueError as error:
                    assert contents(folder) == before
                    move_refused(foreign, folder, str(error))
            if draw.random() < 0.3:
                (folder / "later.txt").write_text("mine")
                foreign["later.txt"] = b"mine"
        listed = set(json.loads((folder / "run.json").read_text())["files"])
        strangers = listed & {name.split("/")[0] for name in foreign}
        attack.count("survived" if untouched(foreign, folder) and not strangers else "lost")
    attack.check()


def model_at(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in MODEL if (folder / name).exists()}


@pytest.mark.parametrize("fresh", [False, True])
def test_a_model_stands_until_its_successor_does(attacks, tmp_path, monkeypatch, fresh):
    """A run is killed at a change of its folder, which holds the model from which it began, and is repeated."""
    attack = attacks(20)
    earlier = {"config.json": b"first configuration", "model.safetensors": b"first", "tokenizer.json": b"first"}
    for number in range(attack.attempts):
        draw = random.Random(number)
        folder = tmp_path / str(number) / "run"
        folder.mkdir(parents=True)
        for name, content in {**earlier, "pytorch_model.bin": b"first, too"}.items():
            (folder / name).write_bytes(content)
        (folder / "notes.txt").write_text("mine")
        (folder / "tf_model.h5").write_text("mine")
        if fresh:
            write_like_a_run(folder, in_place=True)
            assert model_at(folder) == MODEL
        with failing_at(draw.randrange(80), Killed(), monkeypatch, again=True):
            try:
                write_like_a_run(folder, fresh, in_place=True)
            except Killed:
                pass
        next_one = RunFolder(str(folder), {}, replaces_model=True)
        with next_one.hold():
            next_one.finish_model()  # with which the next command begins
        whole = model_at(folder) in ((earlier, MODEL) if not fresh else (MODEL,))
        write_like_a_run(folder, fresh, in_place=True)
        again = model_at(folder) == MODEL and not (folder / "pytorch_model.bin").exists()
        left = {path.name for path in folder.iterdir() if path.name.startswith(".")} == {".hf_vasso.lock"}
        mine = (folder / "notes.txt").read_text() == (folder / "tf_model.h5").read_text() == "mine"
        attack.count("survived" if whole and again and left and mine else "lost")
    attack.check()


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    return write_materials(tmp_path_factory.mktemp("materials"))


@pytest.mark.slow
def test_the_command_leaves_foreign_files_alone(attacks, words, tmp_path, capsys):
    attack = attacks(2)
    for number in range(attack.attempts):
        folder = tmp_path / str(number) / "run"
        foreign = put_foreign(folder, random.Random(f"command {number}"))
        failures = [name for name in foreign if name.split("/")[0] == "failure.json"]
        for more in ([], ["--fresh"]):
            capsys.readouterr()
            while main([*words, "--output_dir", str(folder), *more]) != 0:
                error = capsys.readouterr().err
                assert error.startswith("hf-vasso: ")
                assert error.count("\n") == 1
                move_refused(foreign, folder, error)
        survived = untouched(foreign, folder) and read_record(folder / "result.json").cost["steps"] == 2
        attack.count("survived" if survived and all(name in foreign for name in failures) else "lost")
    attack.check()


@pytest.mark.slow
def test_a_model_that_is_trained_in_its_own_folder(attacks, words, tmp_path, monkeypatch):
    attack = attacks(2)
    model = Path(words[words.index("--model_name_or_path") + 1])
    for number in range(attack.attempts):
        folder = tmp_path / f"{number}"
        shutil.copytree(model, folder)
        before = load_file(folder / "model.safetensors")
        command = [*words, "--model_name_or_path", str(folder), "--output_dir", str(folder)]
        with failing_at(random.Random(f"own {number}").randrange(120), Killed(), monkeypatch, again=True):
            try:
                main(command)
            except Killed:
                pass
        now = load_file(folder / "model.safetensors")
        stands = now.keys() - before.keys() or all((now[name] == before[name]).all() for name in before)
        assert main(command) == 0
        trained = "classifier.weight" in load_file(folder / "model.safetensors")
        attack.count("survived" if stands and trained else "lost")
    attack.check()


# --- the cases behind the attacks ---


def test_a_folder_of_the_version_before_goes_on(tmp_path):
    """It kept no list: what lies under the names of a run was written by it."""
    folder = tmp_path / "run"
    write_like_a_run(folder)
    run = json.loads((folder / "run.json").read_text())
    for name in ("files", "placing"):
        del run[name]
    (folder / "run.json").write_text(json.dumps(run))
    (folder / ".hf_vasso.lock").unlink()
    (folder / "adapter_notes.txt").write_text("mine")
    write_like_a_run(folder)
    write_like_a_run(folder, fresh=True)
    assert (folder / "adapter_notes.txt").read_text() == "mine"
    assert json.loads((folder / "run.json").read_text())["files"] == sorted(
        {*MODEL, "README.md", "all_results.json", "checkpoint-1", "eval_results.json", "predictions_test.tsv"}
        | {"result.json", "train_results.json"}
    )


def test_a_list_that_names_files_of_others_deletes_none(tmp_path):
    folder = tmp_path / "run"
    write_like_a_run(folder)
    (folder / ".git").mkdir()
    (folder / "thesis.tex").write_text("mine")
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "files": [*run["files"], ".git", "thesis.tex"]}))
    write_like_a_run(folder, fresh=True)
    assert (folder / ".git").is_dir() and (folder / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("flag", ["--model_name_or_path", "--resume_from_checkpoint"])
def test_what_a_run_begins_from_is_not_deleted_by_fresh(words, tmp_path, capsys, flag):
    folder = tmp_path / "run"
    command = [*words, "--output_dir", str(folder)]
    assert main([*command, "--save_strategy", "steps", "--save_steps", "1"]) == 0
    checkpoint = folder / "checkpoint-1"
    before = contents(folder)
    capsys.readouterr()
    assert main([*command, "--fresh", flag, str(checkpoint)]) == 2
    assert f"{flag} names {checkpoint} in it; leave out --fresh, or move that away" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_checkpoint_that_is_not_there_is_told_before_anything_is_written(words, tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*words, "--output_dir", str(folder), "--resume_from_checkpoint", str(tmp_path / "none")]) == 2
    assert "is no whole checkpoint" in capsys.readouterr().err
    assert not (folder / "run.json").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[]", "must be a JSON object, got []"),
        ("{", "not a JSON file"),
        ("{}", "the entry 'arguments' is missing"),
        ('{"arguments": {}}', "the entry 'training' is missing"),
        ('{"arguments": [], "training": null}', "arguments must be flag to value, got []"),
        ('{"arguments": {}, "training": {}}', 'training must be null, or an object of "entries" and "fingerprints"'),
        ('{"arguments": {}, "training": null, "files": ["../x"]}', "files must be names of files, or null"),
        ('{"arguments": {}, "training": null, "placing": [".."]}', "placing must be names of files, got ['..']"),
        ('{"arguments": {}, "training": null, "newer": 1}', "the entry 'newer' is unknown to this version"),
    ],
)
def test_a_run_file_of_another_shape_is_named(tmp_path, content, words):
    """With `--fresh` it makes room where the record of a run is beside it, else it is not known to be a run's."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json").write_text(content)
    (folder / "README.md").write_text("mine")
    with pytest.raises(ValueError) as found:
        write_like_a_run(folder)
    assert str(found.value).startswith(f"{folder}/run.json: {words}")
    assert str(found.value).endswith("; start over with --fresh, or choose another --output_dir")
    with pytest.raises(ValueError, match="run.json is not what a run writes, and no result.json of one is beside it"):
        write_like_a_run(folder, fresh=True)
    assert contents(folder) == {"run.json": content.encode(), "README.md": b"mine"}

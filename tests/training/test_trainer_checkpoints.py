"""Which checkpoints a training leaves, what belongs to one, and from which it is resumed."""

import copy
import errno
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from tiny_training import EVERY_STEP, bert, distance, numbers, run, sentences
from transformers import Trainer, TrainerCallback, TrainingArguments

from hf_vasso.training import checkpoint_mixin, manifest
from hf_vasso.training.manifest import _digest, manifest_fault
from hf_vasso.training.state_file import read_state, write_state

SHORT = {"max_steps": 4, **EVERY_STEP}
BEST = {"metric_for_best_model": "loss", "eval_strategy": "steps", "eval_steps": 1}


def left(trainer):
    return sorted(path.name for path in Path(trainer.args.output_dir).iterdir() if path.is_dir())


def checkpoint(trainer, step):
    return Path(trainer.args.output_dir) / f"checkpoint-{step}"


@pytest.mark.parametrize("limit", [None, 1, 2, 3])
@pytest.mark.parametrize(
    "arguments", [{}, BEST, {**BEST, "load_best_model_at_end": True}], ids=["last", "best", "loaded"]
)
# transformers 4.57, where checkpoints are written within a second
@pytest.mark.filterwarnings("ignore:mtime may not be reliable on this filesystem:UserWarning")
def test_the_checkpoints_left_are_those_of_the_stock_trainer(build, limit, arguments):
    worse = {"learning_rate": 5.0} if arguments else {}  # so that the best is not the last
    arguments = {**SHORT, **arguments, **worse, "save_total_limit": limit}
    options = {"trainer_options": {"eval_dataset": sentences(8)}}
    stock = build(
        bert(), sentences(), trainer_class=Trainer, arguments_class=TrainingArguments, **options, **arguments
    )
    ours = build(bert(), sentences(), method="none", **options, **arguments)
    for trainer in (stock, ours):
        trainer.train()
    assert left(ours) == left(stock)
    assert ours.state.best_global_step == stock.state.best_global_step
    assert ours.args.save_total_limit == limit
    saved = torch.load(checkpoint(ours, left(ours)[-1][11:]) / "training_args.bin", weights_only=False)
    assert saved.save_total_limit == limit


def test_the_manifest_names_all_files(train):
    trainer = train(bert(), sentences(), **numbers("vasso"), **SHORT).trainer
    manifest = json.loads((checkpoint(trainer, 2) / "manifest.json").read_text())
    files = {path.name: path.stat().st_size for path in checkpoint(trainer, 2).iterdir()}
    del files["manifest.json"]
    assert {name: each["size"] for name, each in manifest["files"].items()} == files
    assert {"model.safetensors", "optimizer.pt", "rng_state.pth", "sharpness.pt", "trainer_state.json"} <= files.keys()
    assert (manifest["step"], manifest["ranks"]) == (2, 1)


class Meddler(TrainerCallback):
    """Does what users' callbacks do with a checkpoint: add a folder, and delete what is not needed."""

    def on_save(self, args, state, control, **kwargs):
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "adapter").mkdir()
        (folder / "adapter" / "weights.txt").write_text("1")
        (folder / "training_args.bin").unlink()


def test_what_callbacks_do_in_on_save_belongs_to_the_checkpoint(build):
    arguments = {**numbers("vasso"), **SHORT}
    trainer = build(bert(), sentences(), **arguments, trainer_options={"callbacks": [Meddler()]})
    trainer.train()
    (checkpoint(trainer, 2) / "later.txt").write_text("a file that comes later changes nothing")
    resumed = run(build(bert(), sentences(), **arguments), str(checkpoint(trainer, 2)))
    assert distance(resumed.weights, trainer.model.state_dict()) == 0.0
    (checkpoint(trainer, 2) / "adapter" / "weights.txt").write_text("2")
    with pytest.raises(ValueError, match=r"is no whole checkpoint: adapter/weights\.txt was changed; name another"):
        run(build(bert(), sentences(), **arguments), str(checkpoint(trainer, 2)))


def test_without_a_whole_checkpoint_nothing_is_resumed(build, caplog):
    trainer = build(bert(), sentences(), **numbers("vasso"), **SHORT, save_total_limit=2)
    trainer.train()
    for step in (3, 4):
        (checkpoint(trainer, step) / "optimizer.pt").unlink()
    with pytest.raises(ValueError, match=r"holds no whole checkpoint: leave out resume_from_checkpoint to start over"):
        trainer.train(resume_from_checkpoint=True)
    said = [f"{checkpoint(trainer, step)} is passed over: optimizer.pt is missing" for step in (4, 3)]
    assert [message for message in caplog.messages if "passed over" in message] == said


def test_a_damaged_best_checkpoint_is_not_loaded(build):
    """Nor is the last one deleted, from which the training goes on when the best one is put back."""
    arguments = {**numbers("vasso"), **SHORT, **BEST, "save_total_limit": 1}
    arguments |= {"load_best_model_at_end": True, "trainer_options": {"eval_dataset": sentences(8)}}

    class Damage(TrainerCallback):
        def on_step_begin(self, args, state, control, **kwargs):
            if state.global_step == 3:
                (Path(args.output_dir) / "checkpoint-1" / "model.safetensors").write_bytes(b"")

    trainer = build(bert(), sentences(), **arguments)
    trainer.evaluate = lambda *args, **kwargs: {"eval_loss": float(trainer.state.global_step)}
    trainer.add_callback(Damage())
    with pytest.raises(
        ValueError, match="checkpoint-1 is the best checkpoint, and is not whole: model.safetensors has"
    ):
        trainer.train()
    assert left(trainer) == ["checkpoint-1", "checkpoint-4"]


def test_a_checkpoint_that_is_saved_twice_is_whole_all_the_while(build, monkeypatch):
    """The first one stays until the second is sealed, although both have one name."""
    arguments = {**numbers("vasso"), **SHORT, "save_total_limit": 1}
    trainer = build(bert(), sentences(), **arguments)
    straight = run(trainer)
    shutil.rmtree(trainer.args.output_dir)

    class Twice(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == 2:
                first._seal_and_wait()
                monkeypatch.setattr(checkpoint_mixin, "write_manifest", stop)
                first._save_checkpoint(first.model, None)

    def stop(*arguments):
        raise KeyboardInterrupt

    first = build(bert(), sentences(), **arguments)
    first.add_callback(Twice())
    with pytest.raises(KeyboardInterrupt):
        first.train()
    monkeypatch.undo()
    assert left(first) == ["_hf_vasso-old-checkpoint-2", "checkpoint-2"]
    again = build(bert(), sentences(), **arguments)
    again.args.output_dir = first.args.output_dir
    again.train(resume_from_checkpoint=True)
    assert distance(again.model.state_dict(), straight.weights) == 0.0
    assert left(again) == ["checkpoint-4"]


def test_a_disk_that_fails_ends_the_training(build, monkeypatch):
    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint_mixin, "write_manifest", fail)
    trainer = build(bert(), sentences(), **numbers("vasso"), **SHORT)
    with pytest.raises(OSError, match="No space left on device"):
        trainer.train()
    assert left(trainer) == ["checkpoint-1"]


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"])
def test_a_cut_off_checkpoint_of_the_stock_trainer_is_passed_over(build, caplog, name):
    stock = build(bert(), sentences(), trainer_class=Trainer, arguments_class=TrainingArguments, **SHORT)
    stock.train()
    file = checkpoint(stock, 4) / name
    file.write_bytes(file.read_bytes()[:100])
    resumed = build(bert(), sentences(), method="none", max_steps=4)
    resumed.args.output_dir = stock.args.output_dir
    resumed.train(resume_from_checkpoint=True)
    said = [
        f"{file.parent} is passed over: {name} is cut off or was changed",
        f"{checkpoint(stock, 3)} has no manifest.json (made by the stock Trainer, or by an earlier version)",
    ]
    assert all(any(message.startswith(line) for message in caplog.messages) for line in said)
    assert distance(resumed.model.state_dict(), stock.model.state_dict()) == 0.0


class Copies(TrainerCallback):
    """Takes each checkpoint away, as to a storage of one's own."""

    def __init__(self, folder):
        self.folder = folder

    def on_save(self, args, state, control, **kwargs):
        name = f"checkpoint-{state.global_step}"
        shutil.copytree(Path(args.output_dir) / name, self.folder / name)


def test_what_a_callback_copies_in_on_save_can_be_resumed_from(build, tmp_path):
    arguments = {**numbers("vasso"), **SHORT}
    straight = build(bert(), sentences(), **arguments, trainer_options={"callbacks": [Copies(tmp_path)]})
    straight.train()
    resumed = run(build(bert(), sentences(), **arguments), str(tmp_path / "checkpoint-2"))
    assert distance(resumed.weights, straight.model.state_dict()) == 0.0


class Saves(TrainerCallback):
    """Saves at the end of the training."""

    def on_train_end(self, args, state, control, **kwargs):
        self.trainer._save_checkpoint(self.trainer.model, None)


def test_checkpoints_that_are_saved_by_hand_are_whole(build):
    saves = Saves()
    trainer = build(
        bert(), sentences(), **numbers("vasso"), **{**SHORT, "save_steps": 3}, trainer_options={"callbacks": [saves]}
    )
    saves.trainer = trainer
    trainer.train()
    assert manifest_fault(checkpoint(trainer, 4)) is None
    shutil.rmtree(checkpoint(trainer, 4))
    trainer._save_checkpoint(trainer.model, None)
    assert manifest_fault(checkpoint(trainer, 4)) is None
    assert left(trainer) == ["checkpoint-3", "checkpoint-4"]


class Fails(TrainerCallback):
    def on_save(self, args, state, control, **kwargs):
        raise MemoryError


def test_a_callback_that_fails_leaves_a_whole_checkpoint(build):
    trainer = build(bert(), sentences(), **numbers("vasso"), **SHORT, trainer_options={"callbacks": [Fails()]})
    with pytest.raises(MemoryError):
        trainer.train()
    assert manifest_fault(checkpoint(trainer, 1)) is None


def test_a_folder_of_the_users_with_a_name_like_that_of_an_old_checkpoint_stays(build):
    trainer = build(bert(), sentences(), **numbers("vasso"), **SHORT, save_total_limit=1)
    mine = Path(trainer.args.output_dir) / "old-checkpoint-500"
    mine.mkdir(parents=True)
    (mine / "mine.txt").write_text("mine")
    trainer.train()
    assert (mine / "mine.txt").read_text() == "mine"


class DeepCopies(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        copy.deepcopy(self.trainer)


def test_a_trainer_can_be_copied_while_a_checkpoint_is_sealed(build):
    copies = DeepCopies()
    trainer = build(bert(), sentences(), **numbers("vasso"), **SHORT, trainer_options={"callbacks": [copies]})
    copies.trainer = trainer
    trainer.train()


@pytest.mark.parametrize(
    "change",
    [
        {"files": {"trainer_state.json": 5}},
        {"files": {"trainer_state.json": {"size": "1", "xxh3_128": "0"}}},
        {"files": {"../x": {"size": 1, "xxh3_128": "0"}}},
        {"files": []},
        {"step": None},
    ],
    ids=str,
)
def test_a_forged_manifest_is_named(train, change):
    trainer = train(bert(), sentences(), **numbers("vasso"), **SHORT).trainer
    path = checkpoint(trainer, 4) / "manifest.json"
    content = {**json.loads(path.read_text()), **change}
    del content["digest"]
    path.write_text(json.dumps({**content, "digest": _digest(content)}))
    assert manifest_fault(checkpoint(trainer, 4)) in (
        "manifest.json is none of hf_vasso's",
        "manifest.json is cut off or was changed",
    )


def test_every_file_is_on_the_disk_before_the_manifest_has_its_name(train, monkeypatch):
    synced, named = set(), []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.add(os.fstat(descriptor).st_ino), fsync(descriptor)))

    def note(source, target):
        if Path(target).name == "manifest.json":
            files = [path for path in Path(target).parent.rglob("*") if path.is_file()]
            named.append(all(path.stat().st_ino in synced for path in files))
        replace(source, target)

    monkeypatch.setattr(os, "replace", note)
    train(bert(), sentences(), **numbers("vasso"), **SHORT)
    assert named == [True] * 4


def test_a_file_system_that_cannot_sync_is_no_reason_to_stop(train, monkeypatch):
    def cannot(descriptor):
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(manifest.os, "fsync", cannot)
    trainer = train(bert(), sentences(), **numbers("vasso"), **SHORT).trainer
    assert manifest_fault(checkpoint(trainer, 4)) is None


@pytest.mark.parametrize("name", ["steps", "passes", "skipped_steps"])
def test_a_state_that_counts_below_zero_is_refused(tmp_path, name):
    state = {"steps": 1, "passes": 2, "skipped_steps": 0, "generator": torch.Generator().get_state(), "parts": {}}
    write_state(state, str(tmp_path))
    assert read_state(str(tmp_path))["passes"] == 2
    write_state({**state, name: -1}, str(tmp_path))
    with pytest.raises(ValueError, match=f"no state of a method, as its {name} is not of its kind"):
        read_state(str(tmp_path))

"""`hf-vasso glue` on a tiny model and small files: what it writes, continues, refuses and says."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from hf_vasso import METHODS
from hf_vasso.cli import main
from hf_vasso.results.collection import collect
from hf_vasso.results.comparison.task_runs import group_by_task
from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.record import read_record
from hf_vasso.tasks.glue.table import get_task
from hf_vasso.tasks.interruption import StopOnSignal

ROOT = Path(__file__).resolve().parents[3]
TWO_PROCESSES = ROOT / "glue_scripts" / "accelerate_configs" / "cpu_ddp.yaml"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TWO_PROCESSES)]
# Weights from a file lie elsewhere in memory than trained ones, and on some CPUs sums then end in other bits.
LOADED = {"rel": 1e-6}


@pytest.fixture
def flags(tiny_bert, data_dir, tmp_path) -> list[str]:
    """Flags of a short run on agreement: 24 examples, 3 steps an epoch."""
    return (
        f"glue --task_name agreement --model_name_or_path {tiny_bert} --data_dir {data_dir} "
        f"--output_dir {tmp_path}/run --num_train_epochs 2 --per_device_train_batch_size 8 --learning_rate 1e-3 "
        "--report_to none"
    ).split()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run"


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same_weights(first: Path, second: Path) -> bool:
    return all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(first).items())


def crash(folder: Path) -> None:
    """Make a finished run look as if it had crashed between its last step and its end."""
    run = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**run, "training": None}))
    (folder / "result.json").unlink()


def cut_off(file: Path) -> None:
    """Leave half of a file, as after a crash while it was written."""
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


# --- the methods ---


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_makes_the_passes_that_were_planned(flags, folder, capsys, method):
    words = [*flags, "--method", method, "--num_train_epochs", "4"]
    assert main([*words, "--dry_run"]) == 0
    planned = re.search(r"passes +(\d+) forward and (\d+) backward", capsys.readouterr().out)
    assert planned is not None
    assert main(words) == 0
    record = read_record(folder / "result.json")
    assert record.method["name"] == method
    made = [record.cost["forward_passes"], record.cost["backward_passes"]]
    if method in ("aesam", "vasso-aesam", "ss-sam", "mesa"):  # the training decides, or it begins later
        assert all(0 < count <= int(most) * 1.5 for count, most in zip(made, planned.groups(), strict=True))
    else:
        assert made == pytest.approx([int(count) for count in planned.groups()], abs=1.5)


# --- what a run writes ---


def test_a_later_command_leaves_where_the_run_was_trained(flags, folder, monkeypatch):
    assert main(flags) == 0
    before = read_record(folder / "result.json").environment
    monkeypatch.setattr("hf_vasso.tasks.task_run.environment", lambda device, threads: {**before, "threads": 99})
    assert main([*flags, "--do_predict"]) == 0
    assert read_record(folder / "result.json").environment == before


def test_the_commit_is_asked_before_the_training_begins(flags, folder, monkeypatch):
    """And not by a plan: the code that is loaded is that of the commit at the beginning."""
    asked = []

    def commit() -> str:
        asked.append((folder / "run.json").exists())
        return "a" * 40

    monkeypatch.setattr("hf_vasso.results.environment._commit", commit)
    assert main([*flags, "--dry_run"]) == 0
    assert asked == []
    assert main(flags) == 0
    assert asked == [False]
    assert read_record(folder / "result.json").environment["commit"] == "a" * 40


def test_record(flags, folder, tiny_bert, capsys):
    assert main([*flags, "--rho", "0.1"]) == 0
    record = read_record(folder / "result.json")
    assert (record.task, record.model, record.label, record.seed) == ("agreement", "tiny-bert", "vasso", 42)
    assert record.method["name"] == "vasso"
    assert record.method["numbers"] == {"rho": 0.1, "theta": 0.4}
    assert record.method["paper"]["url"].startswith("https://arxiv.org/")
    assert 0 <= record.metrics["accuracy"] <= 1
    assert record.directions == {"accuracy": "higher", "loss": "lower", "expected_calibration_error": "lower"}
    assert record.collapsed in (True, False)
    assert 0.5 <= record.majority["accuracy"] <= 1
    assert record.task_label == "agreement"
    assert record.history == {}  # nothing is logged within so few steps
    assert (record.train_examples, record.eval_examples) == (24, 17)
    assert record.data["source"] == "local files"
    cost = record.cost
    assert (cost["steps"], cost["forward_passes"], cost["backward_passes"]) == (6, 12, 12)
    assert cost["train_seconds"] > 0
    assert cost["seconds_per_step"] == cost["train_seconds"] / 6
    assert cost["peak_memory_bytes"] > 2**20
    assert record.environment["device"] == "cpu"
    assert record.environment["threads"] == torch.get_num_threads()
    assert {"python", "torch", "transformers"} <= record.environment["packages"].keys()
    text = (folder / "result.json").read_text()
    assert str(tiny_bert.parent) not in text
    assert str(folder) not in text

    results = json.loads((folder / "all_results.json").read_text())
    assert results["eval_accuracy"] == record.metrics["accuracy"]
    assert "train_loss" in results
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= set(os.listdir(folder))
    assert AutoConfig.from_pretrained(folder).id2label == {0: "unacceptable", 1: "acceptable"}
    shown = capsys.readouterr().out
    assert "agreement, tiny-bert, vasso (rho 0.1, theta 0.4), seed 42, 24 training and 17 evaluation examples" in shown
    assert re.search(rf"accuracy +{record.metrics['accuracy']:.4f}  higher", shown)


def test_what_is_logged_along_the_training_is_in_the_record(flags, folder, tmp_path):
    assert main([*flags, "--logging_steps", "2"]) == 0
    history = read_record(folder / "result.json").history
    assert history["step"] == [2, 4, 6]
    assert [len(column) for column in history.values()] == [3, 3, 3]
    assert list(history) == ["step", "loss", "sharpness/gap"]
    assert main([*flags, "--logging_steps", "2", "--method", "none", "--output_dir", f"{tmp_path}/none"]) == 0
    assert list(read_record(tmp_path / "none" / "result.json").history) == ["step", "loss"]


def test_the_method_matters_and_the_seed_repeats(flags, tmp_path):
    def run(name, *words):
        assert main([*flags, "--output_dir", f"{tmp_path}/{name}", *words]) == 0
        return tmp_path / name

    vasso, again, none = run("vasso"), run("again"), run("none", "--method", "none")
    assert same_weights(vasso, again)
    assert not same_weights(vasso, none)
    record = read_record(none / "result.json")
    assert (record.label, record.cost["forward_passes"], record.method["paper"]) == ("none", 6, None)


def test_sample_limits_and_a_padded_batch(flags, folder):
    words = "--max_train_samples 9 --max_eval_samples 3 --max_predict_samples 2 --do_train --do_eval --do_predict"
    assert main([*flags, *words.split(), "--pad_to_max_length", "--max_seq_length", "16"]) == 0
    record = read_record(folder / "result.json")
    assert (record.train_examples, record.eval_examples, record.cost["steps"]) == (9, 3, 4)
    lines = (folder / "predictions_test.tsv").read_text().splitlines()
    assert lines[0] == "index\tprediction"
    assert [line.split("\t")[0] for line in lines[1:]] == ["0", "1"]
    assert {line.split("\t")[1] for line in lines[1:]} <= {"unacceptable", "acceptable"}


def test_a_model_from_scratch_differs_by_seed(flags, tiny_bert, tmp_path):
    at = flags.index("--model_name_or_path")
    scratch = [*flags[:at], "--config_name", str(tiny_bert), *flags[at + 2 :], "--max_steps", "1"]
    for seed in ("1", "2"):
        assert main([*scratch, "--seed", seed, "--output_dir", f"{tmp_path}/{seed}"]) == 0
    name = "bert.embeddings.word_embeddings.weight"
    assert not torch.allclose(weights(tmp_path / "1")[name], weights(tmp_path / "2")[name], atol=1e-2)


def test_regression_is_clipped(flags, folder):
    words = "--task_name stsb --do_train --do_eval --do_predict --learning_rate 10 --lr_scheduler_type constant"
    assert main([*flags, *words.split()]) == 0
    assert read_record(folder / "result.json").metrics.keys() == {"pearson", "spearmanr"}
    predictions = [line.split("\t")[1] for line in (folder / "predictions_test.tsv").read_text().splitlines()[1:]]
    assert set(predictions) <= {"0.000", "5.000"}  # a learning rate of 10 throws the outputs far off


def test_mnli_and_ax(flags, tmp_path):
    mnli, ax = tmp_path / "mnli", tmp_path / "ax"
    assert main([*flags, "--task_name", "mnli", "--output_dir", str(mnli)]) == 0
    record = read_record(mnli / "result.json")
    names = ("accuracy", "loss", "expected_calibration_error")
    assert list(record.metrics) == [*names, *(f"{name}_mismatched" for name in names)]
    assert record.directions["accuracy_mismatched"] == "higher"
    assert record.directions["loss_mismatched"] == "lower"
    assert record.eval_examples == 7
    results = json.loads((mnli / "all_results.json").read_text())
    assert results["eval_accuracy_mismatched"] == record.metrics["accuracy_mismatched"]

    words = ["--task_name", "ax", "--model_name_or_path", str(mnli), "--output_dir", str(ax)]
    assert main([*flags, *words]) == 0
    lines = (ax / "predictions_test.tsv").read_text().splitlines()
    assert len(lines) == 7
    assert {line.split("\t")[1] for line in lines[1:]} <= {"entailment", "neutral", "contradiction"}
    record = read_record(ax / "result.json")
    assert (record.metrics, record.train_examples, record.cost["steps"]) == ({}, 0, 0)


def test_labels_in_the_models_own_order(flags, tmp_path):
    """A model that numbers the labels otherwise gives the same predictions and metrics."""
    assert main([*flags, "--output_dir", f"{tmp_path}/run"]) == 0
    other = tmp_path / "other"
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["id2label"] = {"0": "ACCEPTABLE", "1": "UNACCEPTABLE"}
    config["label2id"] = {"ACCEPTABLE": 0, "UNACCEPTABLE": 1}
    (tmp_path / "run").rename(other)
    (other / "config.json").write_text(json.dumps(config))
    turned = weights(other)
    for name in ("classifier.weight", "classifier.bias"):
        turned[name] = turned[name].flip(0).contiguous()
    torch.save(turned, other / "pytorch_model.bin")
    (other / "model.safetensors").unlink()

    expected = read_record(other / "result.json").metrics
    words = ["--model_name_or_path", str(other), "--do_eval", "--do_predict", "--output_dir", f"{tmp_path}/turned"]
    assert main([*flags, *words]) == 0
    assert read_record(tmp_path / "turned" / "result.json").metrics == pytest.approx(expected, **LOADED)


def test_no_epochs_is_an_evaluation_alone(flags, folder):
    assert main([*flags, "--num_train_epochs", "0"]) == 0
    record = read_record(folder / "result.json")
    assert (record.cost["steps"], record.cost["seconds_per_step"], record.eval_examples) == (0, 0.0, 17)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system cannot start a peak anew")
def test_peak_memory_is_that_of_the_training(flags, folder):
    size = 2**29
    ballast = b"x" * size
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del ballast
    assert main([*flags, "--max_steps", "1"]) == 0
    assert read_record(folder / "result.json").cost["peak_memory_bytes"] < before - size / 2


def test_a_regression_model_becomes_a_classifier(flags, tmp_path):
    assert main([*flags, "--task_name", "stsb", "--max_steps", "1", "--output_dir", f"{tmp_path}/stsb"]) == 0
    assert AutoConfig.from_pretrained(tmp_path / "stsb").problem_type == "regression"
    words = ["--model_name_or_path", f"{tmp_path}/stsb", "--ignore_mismatched_sizes", "--max_steps", "1"]
    assert main([*flags, *words]) == 0
    assert AutoConfig.from_pretrained(tmp_path / "run").problem_type == "single_label_classification"


# --- doing it again ---


def test_a_finished_run_is_shown_again(flags, folder, capsys):
    assert main(flags) == 0
    first, written = capsys.readouterr().out, (folder / "result.json").stat().st_mtime_ns
    free = (
        "--logging_steps 7 --report_to none --dataloader_num_workers 0 --per_device_eval_batch_size 3 --save_steps 9"
    )
    assert main([*flags, *free.split()]) == 0
    again = capsys.readouterr().out
    assert "finished before, nothing is trained (--fresh starts over)" in again
    assert again.endswith(first[first.index("\nagreement") :])
    assert (folder / "result.json").stat().st_mtime_ns == written


def test_what_is_asked_for_later_is_done_with_the_trained_model(flags, folder):
    assert main([*flags, "--do_train"]) == 0
    trained = read_record(folder / "result.json")
    assert trained.metrics == {}
    assert main([*flags, "--do_predict"]) == 0
    assert (folder / "predictions_test.tsv").exists()
    assert main(flags) == 0
    record = read_record(folder / "result.json")
    assert (record.cost, record.train_examples) == (trained.cost, 24)
    assert record.metrics.keys() == {"accuracy", "loss", "expected_calibration_error"}
    assert main([*flags, "--output_dir", f"{folder}-straight"]) == 0
    straight = read_record(Path(f"{folder}-straight") / "result.json")
    assert (record.metrics, record.data) == (pytest.approx(straight.metrics, **LOADED), straight.data)
    assert main([*flags, "--do_predict"]) == 0
    assert read_record(folder / "result.json").data == straight.data


def test_what_a_killed_run_was_writing_is_deleted_when_it_goes_on(flags, folder):
    folder.mkdir()
    (folder / ".hf_vasso-tmp-x7").write_text("{")
    (folder / ".result.json.x7").write_text("{")  # somebody else's
    assert main(flags) == 0
    assert {path.name for path in folder.glob(".*")} == {".hf_vasso.lock", ".result.json.x7"}


def test_limits_of_evaluation_and_prediction_are_free_and_what_they_change_is_done_again(flags, folder, capsys):
    assert main(flags) == 0
    trained = read_record(folder / "result.json")
    predict = [*flags, "--do_predict", "--max_predict_samples"]
    for limit in (2, 3):
        assert main([*predict, str(limit)]) == 0
        assert len((folder / "predictions_test.tsv").read_text().splitlines()) == limit + 1
    record = read_record(folder / "result.json")
    assert (record.metrics, record.eval_examples, record.cost) == (trained.metrics, 17, trained.cost)
    said = capsys.readouterr().out
    assert f"{folder}: not evaluated now; the metrics are those of an earlier command" in said
    assert f"predictions: {folder}/predictions_test.tsv" in said
    assert main([*predict, "3"]) == 0
    assert main(flags) == 0
    assert capsys.readouterr().out.count("finished before") == 2

    assert main([*flags, "--max_eval_samples", "4"]) == 0
    record = read_record(folder / "result.json")
    assert (record.eval_examples, record.arguments["max_eval_samples"]) == (4, 4)
    assert round(record.metrics["accuracy"] * 4, 6).is_integer()
    assert main([*predict, "3"]) == 0  # says nothing about the evaluation
    assert main(flags) == 0
    assert read_record(folder / "result.json").metrics == pytest.approx(trained.metrics, **LOADED)
    assert read_record(folder / "result.json").eval_examples == 17


def test_training_replaces_the_results_of_the_untrained_model(flags, folder):
    assert main([*flags, "--do_eval", "--do_predict"]) == 0
    assert read_record(folder / "result.json").cost["steps"] == 0
    assert main([*flags, "--do_train"]) == 0
    record = read_record(folder / "result.json")
    assert (record.metrics, record.cost["steps"]) == ({}, 6)
    assert not (folder / "predictions_test.tsv").exists()


def test_other_flags_are_refused_until_fresh(flags, folder, capsys):
    assert main(flags) == 0
    (folder / "notes.txt").write_text("mine")
    capsys.readouterr()
    changed = [*flags, "--learning_rate", "1e-4", "--theta", "0.5"]
    assert main(changed) == 2
    captured = capsys.readouterr()
    assert captured.err == (
        f"hf-vasso: the run in {folder} began with other flags:\n"
        "  --learning_rate: was 0.001, is 0.0001\n"
        "  --theta: was 0.4, is 0.5\n"
        "repeat it with the same flags, give this one a folder of its own (--method_label or --output_dir), or start "
        "over with --fresh, which deletes that run\n"
    )
    assert main([*changed, "--dry_run"]) == 2
    assert main([*changed, "--fresh"]) == 0
    assert read_record(folder / "result.json").method["numbers"]["theta"] == 0.5
    assert (folder / "notes.txt").read_text() == "mine"


def same_but_for_a_weight(model: Path, folder: Path) -> Path:
    """A model of the same size, so that only its contents tell the two apart."""
    shutil.copytree(model, folder)
    changed = {
        name: tensor + 1 if name.endswith("pooler.dense.bias") else tensor for name, tensor in weights(folder).items()
    }
    save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_models_of_one_name_are_told_apart(flags, tiny_bert, tmp_path):
    shutil.copytree(tiny_bert, tmp_path / "a" / "final")
    same_but_for_a_weight(tiny_bert, tmp_path / "b" / "final")
    for seed, place in enumerate("aabb"):
        words = ["--model_name_or_path", f"{tmp_path}/{place}/final", "--seed", f"{seed}", "--max_steps", "1"]
        assert main([*flags, *words, "--output_dir", f"{tmp_path}/runs/{seed}"]) == 0
    collection = collect(tmp_path / "runs")
    assert {record.model for record in collection.records} == {"final"}
    assert collection.left_out == []
    seeds = [{record.seed for record in runs.methods["vasso"]} for runs in group_by_task(collection)]
    assert sorted(map(sorted, seeds)) == [[0, 1], [2, 3]]


def test_a_run_does_not_go_on_with_other_files_of_its_model(flags, folder, tiny_bert, tmp_path, capsys):
    model = tmp_path / "final"
    shutil.copytree(tiny_bert, model)
    words = [*flags, "--model_name_or_path", f"{model}", "--save_steps", "2"]
    assert main(words) == 0
    began = read_record(folder / "result.json").arguments["model_fingerprint"]
    crash(folder)
    other = same_but_for_a_weight(tiny_bert, tmp_path / "other")
    shutil.copy(other / "model.safetensors", model)
    capsys.readouterr()
    assert main(words) == 2
    error = capsys.readouterr().err
    assert f"the run in {folder} began with other files in the folder of its model (fingerprint {began}, now " in error
    assert ")\nput them back, give this one a folder of its own (--method_label or --output_dir), or start" in error
    assert main([*words, "--fresh"]) == 0
    fresh = read_record(folder / "result.json").arguments["model_fingerprint"]
    assert fresh not in (None, began)
    shutil.copy(tiny_bert / "model.safetensors", model)
    crash(folder)
    assert main([*words, "--model_name_or_path", f"{other}"]) == 2
    assert "--model_name_or_path: was" in capsys.readouterr().err  # and no word about files


def test_the_record_keeps_the_model_with_which_the_run_began(flags, folder, tiny_bert, monkeypatch):
    """A model that is trained in its own folder, and one that is replaced in the meantime."""
    shutil.copytree(tiny_bert, folder)
    words = [*flags, "--model_name_or_path", f"{folder}"]
    assert main([*words, "--do_train"]) == 0
    began = read_record(folder / "result.json").arguments["model_fingerprint"]
    assert main([*flags, "--max_steps", "1", "--output_dir", f"{folder}-elsewhere"]) == 0
    elsewhere = read_record(Path(f"{folder}-elsewhere") / "result.json")
    assert began == elsewhere.arguments["model_fingerprint"] is not None
    assert main([*words, "--do_eval"]) == 0
    assert read_record(folder / "result.json").arguments["model_fingerprint"] == began


def test_a_run_that_an_earlier_version_began_has_no_fingerprint(flags, folder):
    assert main([*flags, "--do_train"]) == 0
    run = json.loads((folder / "run.json").read_text())
    del run["arguments"]["model_fingerprint"]
    (folder / "run.json").write_text(json.dumps(run))
    assert main([*flags, "--do_eval"]) == 0
    assert "model_fingerprint" not in read_record(folder / "result.json").arguments


@pytest.mark.parametrize("foreign", ["result.json", "checkpoint-5/trainer_state.json"])
def test_a_folder_of_something_else_is_refused(flags, folder, capsys, foreign):
    (folder / foreign).parent.mkdir(parents=True)
    (folder / foreign).touch()
    for words in ([], ["--fresh"]):
        assert main([*flags, *words]) == 2
        error = capsys.readouterr().err
        assert f"{folder} holds what no run in it wrote and this one would replace: {foreign.split('/')[0]}; " in error
        assert error.endswith("choose another --output_dir, or move that away\n")
    assert (folder / foreign).exists()


@pytest.mark.parametrize("damage", [Path.unlink, cut_off])
def test_a_cut_off_checkpoint_and_one_of_the_last_step_are_passed_over(flags, tmp_path, damage):
    """As after a crash between the last step and the end: the run is the same as without it."""
    straight, crashed = tmp_path / "straight", tmp_path / "crashed"
    words = ["--max_steps", "5", "--save_steps", "2"]
    assert main([*flags, *words, "--output_dir", str(straight)]) == 0
    assert main([*flags, *words, "--output_dir", str(crashed)]) == 0
    crash(crashed)
    damage(crashed / "checkpoint-4" / "trainer_state.json")
    assert main([*flags, *words, "--output_dir", str(crashed)]) == 0
    assert same_weights(straight, crashed)
    assert read_record(crashed / "result.json").cost["forward_passes"] == 10


def test_a_checkpoint_that_is_named_comes_first(flags, folder, capsys):
    words = [*flags, "--save_steps", "2"]
    assert main(words) == 0
    straight = weights(folder)
    crash(folder)
    (folder / "model.safetensors").unlink()
    assert main([*words, "--resume_from_checkpoint", f"{folder}/checkpoint-2"]) == 0
    assert f"continuing from {folder}/checkpoint-2" in capsys.readouterr().out
    assert all(torch.equal(tensor, straight[name]) for name, tensor in weights(folder).items())


@pytest.mark.parametrize(
    ("with_manifest", "reason"),
    [(True, "sharpness.pt has "), (False, "sharpness.pt cannot be read")],
)
def test_a_cut_off_state_is_refused_by_name_and_else_passed_over(flags, folder, caplog, capsys, with_manifest, reason):
    words = [*flags, "--save_steps", "2"]
    assert main(words) == 0
    straight = weights(folder)
    crash(folder)
    cut_off(folder / "checkpoint-4" / "sharpness.pt")
    if not with_manifest:
        (folder / "checkpoint-4" / "manifest.json").unlink()
    capsys.readouterr()
    for dry in ([], ["--dry_run"]):
        assert main([*words, *dry, "--resume_from_checkpoint", f"{folder}/checkpoint-4"]) == 2
        error = capsys.readouterr().err
        assert f"hf-vasso: {folder}/checkpoint-4 is no whole checkpoint: " in error and reason in error
        assert "Traceback" not in error
    assert main([*words, "--dry_run"]) == 0
    assert f"interrupted, continues from {folder}/checkpoint-2" in capsys.readouterr().out
    (folder / "model.safetensors").unlink()
    caplog.clear()
    assert main(words) == 0
    [passed_over] = [message for message in caplog.messages if message.startswith(f"{folder}/checkpoint-4 is passed")]
    assert reason in passed_over
    assert f"continuing from {folder}/checkpoint-2" in capsys.readouterr().out
    assert all(torch.equal(tensor, straight[name]) for name, tensor in weights(folder).items())


def test_a_named_checkpoint_that_is_none(flags, folder, capsys):
    assert main([*flags, "--resume_from_checkpoint", "/nowhere"]) == 2
    assert "/nowhere is no whole checkpoint: trainer_state.json is missing or cut off" in capsys.readouterr().err
    assert main(flags) == 0


def test_checkpoints_of_the_model_alone_are_not_continued_from(flags, folder, capsys):
    words = [*flags, "--save_steps", "2", "--save_only_model"]
    assert main(words) == 0
    straight = weights(folder)
    crash(folder)
    assert main([*words, "--resume_from_checkpoint", f"{folder}/checkpoint-2"]) == 2
    assert "checkpoint-2 holds only the model (--save_only_model), so its training" in capsys.readouterr().err
    assert main(words) == 0
    assert "the training starts over, as each checkpoint is cut off, of the last step, or" in capsys.readouterr().out
    assert all(torch.equal(tensor, straight[name]) for name, tensor in weights(folder).items())


def test_a_broken_run_file_is_named(flags, folder, capsys):
    assert main(flags) == 0
    (folder / "run.json").write_text("{")
    assert main(flags) == 2
    error = capsys.readouterr().err
    assert f"hf-vasso: {folder}/run.json: not a JSON file" in error
    assert "start over with --fresh" in error
    assert main([*flags, "--fresh"]) == 0


# --- interruption ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_a_checkpoint_from_which_it_continues(flags, tmp_path, number, capsys):
    interrupted, straight = tmp_path / "interrupted", tmp_path / "straight"
    long = [*flags, "--num_train_epochs", "100", "--eval_strategy", "steps", "--eval_steps", "50"]  # 300 steps
    command = [sys.executable, "-m", "hf_vasso", *long, "--logging_steps", "1", "--disable_tqdm", "true"]
    process = subprocess.Popen(
        [*command, "--output_dir", str(interrupted)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    next(line for line in process.stdout if "'epoch': '4'" in line or "'epoch': 4.0" in line)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number, err
    assert "ending the running step; once more stops at once" in err
    assert "Traceback" not in err
    [checkpoint] = interrupted.glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert f"interrupted after step {step}; repeat the command to continue" in out
    assert 12 <= step < 300
    assert not (interrupted / "result.json").exists()
    before = json.loads((checkpoint / "trainer_state.json").read_text())["stateful_callbacks"]["TrainingClock"]

    assert main([*long, "--output_dir", str(interrupted)]) == 0
    assert f"continuing from {checkpoint}" in capsys.readouterr().out
    assert main([*long, "--output_dir", str(straight)]) == 0
    first, second = (read_record(folder / "result.json") for folder in (interrupted, straight))
    assert same_weights(interrupted, straight)
    assert first.metrics == second.metrics
    assert first.cost["forward_passes"] == second.cost["forward_passes"] == 600
    assert first.cost["train_seconds"] > before["attributes"]["seconds"] > 0


# transformers 4.57, where checkpoints were written within a second
@pytest.mark.filterwarnings("ignore:mtime may not be reliable on this filesystem:UserWarning")
@pytest.mark.parametrize(
    "words",
    [
        "--save_only_model",
        "--load_best_model_at_end --save_total_limit 1 --eval_strategy steps --eval_steps 2 --save_steps 2",
    ],
)
def test_the_checkpoint_of_an_interruption_is_whole_and_stays(flags, tmp_path, monkeypatch, capsys, words):
    interrupted, straight = tmp_path / "interrupted", tmp_path / "straight"
    words = [*flags, *words.split()]

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 2:
            self._receive(signal.SIGTERM, None)

    with monkeypatch.context() as patched:
        patched.setattr(StopOnSignal, "on_step_begin", interrupt)
        with pytest.raises(SystemExit) as stopped:
            main([*words, "--output_dir", str(interrupted)])
    assert stopped.value.code == 128 + signal.SIGTERM
    assert "interrupted after step 3; repeat the command to continue" in capsys.readouterr().out
    assert main([*words, "--output_dir", str(interrupted)]) == 0
    assert f"continuing from {interrupted}/checkpoint-3" in capsys.readouterr().out
    assert main([*words, "--output_dir", str(straight)]) == 0
    assert same_weights(interrupted, straight)


def test_the_second_signal_stops_at_once():
    stop = StopOnSignal()
    # Python's own handler; a shell that starts the tests in the background has them ignore Ctrl-C instead.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stop.install()
        signal.raise_signal(signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


# --- before it is done ---


def test_dry_run_needs_neither_model_nor_data(tmp_path, capsys):
    words = "glue --task_name mnli --model_name_or_path org/bert --per_device_train_batch_size 32 --num_train_epochs 3"
    words += f" --gradient_accumulation_steps 2 --method sam --use_cpu --dry_run --output_dir {tmp_path}/run"
    assert main(words.split()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "task               mnli",
        "model              org/bert",
        "method             sam (rho 0.01)",
        "seed               42",
        "stages             train, eval",
        "training examples  392702",
        "steps              18408",
        "passes             73632 forward and 73632 backward (micro-batches, per process)",
        f"output folder      {tmp_path}/run",
        "state              not started",
    ]
    assert not (tmp_path / "run").exists()


def test_dry_run_counts_as_the_trainer_does(flags, folder, capsys):
    uneven = "--max_train_samples 21 --per_device_train_batch_size 2 --gradient_accumulation_steps 4"
    for words in (uneven, f"{uneven} --max_steps 5", f"{uneven} --num_train_epochs 1.5", f"{uneven} --method none"):
        assert main([*flags, *words.split(), "--dry_run", "--fresh"]) == 0
        plan = dict(line.split("  ", 1) for line in capsys.readouterr().out.splitlines())
        assert main([*flags, *words.split(), "--fresh"]) == 0
        cost = read_record(folder / "result.json").cost
        assert plan["steps"].strip() == str(cost["steps"])
        assert plan["passes"].split()[0] == str(cost["forward_passes"])
        capsys.readouterr()
    assert main([*flags, *words.split(), "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert "method             AdamW\n" in shown
    assert "state              finished\n" in shown


# --- errors ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--data_dir /nowhere", "/nowhere/agreement has no data for split train"),
        ("--model_name_or_path /nowhere", "/nowhere"),
        ("--config_name org/absent", "huggingface.co"),
        ("--task_name ax", "task ax is predicted with a model that was fine-tuned on mnli, and"),
        ("--task_name ax --do_train", "task ax has nothing to train or evaluate on; fine-tune on mnli, then pass"),
        ("--task_name agreemet", "unknown task 'agreemet', did you mean 'agreement'?"),
        ("--rhoo 1", "unknown flag --rhoo, did you mean --rho?"),
    ],
)
def test_errors_are_one_message_without_a_traceback(flags, folder, capsys, words, message):
    assert main([*flags, *words.split()]) == 2
    error = capsys.readouterr().err
    assert "hf-vasso: " in error
    assert message in error
    assert "Traceback" not in error
    assert not (folder / "result.json").exists()


def test_what_is_finished_has_not_failed(flags, folder):
    failure = Failure("agreement", "tiny-bert", "sam", 0, "out of memory")
    write_failure(failure, folder)  # an attempt before, by a suite
    for _ in ("trained", "finished before"):
        assert main(flags) == 0
        assert not (folder / "failure.json").exists()
        write_failure(failure, folder)


def test_no_hub_and_no_files(tiny_bert, tmp_path):
    """The whole command, with a hub that cannot be reached."""
    words = f"glue --task_name rte --model_name_or_path {tiny_bert} --use_cpu --output_dir {tmp_path}/run".split()
    with socket.create_server(("127.0.0.1", 0)) as server:  # a free port, at which nobody listens afterwards
        hub = {"HF_HUB_OFFLINE": "0", "HF_ENDPOINT": f"http://127.0.0.1:{server.getsockname()[1]}"}
    result = subprocess.run(
        [sys.executable, "-m", "hf_vasso", *words],
        env={**os.environ, **hub},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 2
    assert "Retrying" not in result.stderr  # the hub's client repeats its question for 23 seconds, and says so
    assert result.stderr.count("hf-vasso: task rte has no data") == 1
    assert "Either make http://127.0.0.1" in result.stderr
    assert "or pass --data_dir with a folder" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_head_of_another_size_is_replaced_only_on_demand(flags, tmp_path, capsys):
    assert main([*flags, "--output_dir", f"{tmp_path}/two", "--max_steps", "1"]) == 0
    words = f"--task_name stsb --model_name_or_path {tmp_path}/two --max_steps 1 --output_dir {tmp_path}/one".split()
    assert main([*flags, *words]) == 2
    assert (
        "has another size than task stsb needs, which is 1; --ignore_mismatched_sizes puts" in capsys.readouterr().err
    )
    assert main([*flags, *words, "--ignore_mismatched_sizes"]) == 0


def test_a_broken_record_is_named(flags, folder, capsys):
    assert main(flags) == 0
    (folder / "result.json").write_text("{")
    assert main(flags) == 2
    assert "result.json: not a JSON file" in capsys.readouterr().err
    assert main([*flags, "--fresh"]) == 0


def test_a_mistake_can_be_mended_without_fresh(flags, folder, data_dir):
    assert main([*flags, "--data_dir", "/nowhere"]) == 2
    assert not folder.exists()
    assert main(flags) == 0
    assert main([*flags, "--data_dir", "/nowhere", "--fresh"]) == 2
    assert (folder / "result.json").exists()


# --- real files ---


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "rte", "wnli"])
def test_a_few_steps_on_each_real_task(real_data, tiny_bert, tmp_path, name):
    words = (
        f"glue --task_name {name} --data_dir {real_data}/glue --model_name_or_path {tiny_bert} --use_cpu "
        f"--report_to none --max_train_samples 32 --max_eval_samples 16 --num_train_epochs 1 --learning_rate 1e-3 "
        f"--output_dir {tmp_path}/run"
    )
    assert main(words.split()) == 0
    record = read_record(tmp_path / "run" / "result.json")
    task = get_task(name)
    calibration = () if task.is_regression else ("loss", "expected_calibration_error")
    assert tuple(record.metrics) == (*task.metrics, *calibration)
    assert (record.train_examples, record.eval_examples) == (32, 16)
    assert (record.cost["steps"], record.cost["forward_passes"]) == (4, 8)
    results = json.loads((tmp_path / "run" / "all_results.json").read_text())
    assert results["train_loss"] > 0
    layer = "encoder.layer.0.output.dense.weight"
    assert not torch.equal(weights(tmp_path / "run")[f"bert.{layer}"], weights(tiny_bert)[layer])


# --- two processes ---


@pytest.mark.realdata
@pytest.mark.distributed
def test_two_processes_evaluate_each_real_example_once(real_data, tiny_bert, tmp_path):
    words = (
        f"--task_name rte --data_dir {real_data}/glue --model_name_or_path {tiny_bert} --use_cpu --report_to none "
        f"--max_train_samples 32 --num_train_epochs 1 --per_device_eval_batch_size 16 --output_dir {tmp_path}/run"
    )
    script = str(ROOT / "glue_scripts" / "run_glue.py")
    result = subprocess.run([*LAUNCH, script, *words.split()], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    record = read_record(tmp_path / "run" / "result.json")
    assert record.arguments["num_processes"] == 2
    assert record.eval_examples == 277
    assert round(record.metrics["accuracy"] * 277, 6).is_integer()  # not 288, to which the batches were padded
    assert result.stdout.count("record: ") == 1


@pytest.mark.distributed
def test_a_mistake_of_one_process_is_told_with_its_rank(flags, folder, tmp_path):
    script = tmp_path / "rank_1_differs.py"
    script.write_text(
        "import os, sys\nfrom hf_vasso.cli import main\n"
        "sys.exit(main(sys.argv[1:] + (['--rhoo', '1'] if os.environ['RANK'] == '1' else [])))\n"
    )
    result = subprocess.run([*LAUNCH, str(script), *flags], capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    assert result.stderr.count("hf-vasso: rank 1: unknown flag --rhoo, did you mean --rho?") == 1
    assert not (folder / "result.json").exists()


@pytest.mark.distributed
def test_two_processes_write_one_record(flags, folder, tiny_bert):
    script = str(ROOT / "glue_scripts" / "run_glue.py")
    words = [*flags[1:], "--do_train", "--do_eval", "--do_predict", "--per_device_eval_batch_size", "4"]

    def run():
        return subprocess.run([*LAUNCH, script, *words], capture_output=True, text=True, timeout=120)

    result = run()
    assert result.returncode == 0, result.stderr
    record = read_record(folder / "result.json")
    assert record.arguments["num_processes"] == 2
    assert record.cost["steps"] == 4  # 24 examples in global batches of 16, twice
    assert record.cost["forward_passes"] == 8
    assert record.eval_examples == 17
    assert round(record.metrics["accuracy"] * 17, 6).is_integer()  # each of the 17 counted once
    assert len((folder / "predictions_test.tsv").read_text().splitlines()) == 6
    assert result.stdout.count("record: ") == 1
    assert result.stdout.count("metric ") == 1

    again = run()
    assert again.stdout.count("finished before") == 1
    words += ["--learning_rate", "1"]
    refused = run()
    assert refused.returncode != 0
    assert refused.stderr.count("--learning_rate: was 0.001, is 1.0") == 1

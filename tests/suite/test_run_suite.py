"""`hf-vasso suite` on a tiny model: what it makes, skips, continues, survives and says."""

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hf_vasso.cli import main
from hf_vasso.results.failure import Failure, read_failure, write_failure
from hf_vasso.results.record import Record, read_record
from hf_vasso.results.suite_plan import read_suite_plan
from hf_vasso.suite import processes, run_suite

STAGES = [{"learning_rate": [0.003, 0.01]}, {"rho": [0.1, 0.2]}]
PATIENCE_SECONDS = 120.0


@pytest.fixture
def runs(tmp_path) -> Path:
    """Where the runs of the test's suite land."""
    return tmp_path / "runs"


def run_folder(runs: Path, method: str, seed: int) -> Path:
    return runs / "agreement" / "small-bert" / method / f"seed-{seed}"


def record_of(runs: Path, method: str, seed: int) -> Record:
    return read_record(run_folder(runs, method, seed) / "result.json")


def records(runs: Path) -> dict[str, Record]:
    return {path.parent.relative_to(runs).as_posix(): read_record(path) for path in runs.rglob("result.json")}


def during(condition: Callable[[], object], act: Callable[[], object]) -> threading.Thread:
    """Do something beside the running test as soon as a condition holds."""

    def watch() -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.01)
        act()

    thread = threading.Thread(target=watch)
    thread.start()
    return thread


# --- what a suite makes ---


@pytest.fixture(scope="module")
def finished(tmp_path_factory, write_suite_in) -> Path:
    """The folder of a suite that has selected learning rate and rho and made its runs."""
    folder = tmp_path_factory.mktemp("finished")
    select = {"stages": STAGES, "holdout_samples": 16}
    path = write_suite_in(folder, select=select, contrasts=[["sam", "none"]], defaults={"save_steps": 1})
    assert main(["suite", str(path), "--jobs", "2"]) == 0
    return folder


def test_records_and_what_was_chosen(finished):
    runs = finished / "runs"
    made = records(runs)
    assert made.keys() == {
        f"agreement/small-bert/{method}/seed-{seed}" for method in ("none", "sam") for seed in (0, 1)
    }
    choices = json.loads((runs / "selection.json").read_text())["tasks"]["agreement"]
    assert choices["sam"]["chosen"].keys() == {"learning_rate", "rho"}
    assert choices["none"]["chosen"].keys() == {"learning_rate"}
    assert choices["sam"]["trials"] == choices["none"]["trials"] == len(choices["none"]["scores"]) == 4
    for record in made.values():
        chosen = choices[record.label]["chosen"]
        assert record.task_label == "agreement"
        assert {name: record.arguments[name] for name in chosen} == chosen
        assert (record.train_examples, record.eval_examples) == (48, 24)  # all of both splits
        assert record.environment["threads"] == 1


def test_the_plan(finished):
    plan = read_suite_plan(finished / "runs" / "suite.json")
    assert (plan.name, plan.contrasts, len(plan.runs)) == ("small", [["sam", "none"]], 4)
    assert {run.folder for run in plan.runs} == records(finished / "runs").keys()
    choice = plan.selection["agreement"]["sam"]
    assert (choice["metric"], choice["holdout_samples"], choice["seeds"]) == ("accuracy", 16, [1000])
    kept = json.loads((finished / "runs" / "selection.json").read_text())["tasks"]["agreement"]["sam"]
    assert choice["notes"] == kept["notes"] != []  # of two values each is an end
    last_stage = {entry["values"]["rho"]: entry["score"] for entry in kept["scores"] if "rho" in entry["values"]}
    assert choice["score"] == last_stage.pop(choice["chosen"]["rho"])
    assert [choice["runner_up_score"]] == list(last_stage.values())


def test_what_is_left_on_the_disk(finished):
    runs = finished / "runs"
    trials = [path for path in (runs / ".select").rglob("*") if path.is_file()]
    assert {path.name for path in trials} == {"trial.json", "log.txt"}
    assert len(trials) == 2 * 7  # the eighth, at the rho of the file, is one of the stage before
    assert not list(runs.rglob("checkpoint-*"))
    assert (run_folder(runs, "sam", 0) / "model.safetensors").exists()
    log = (run_folder(runs, "sam", 0) / "log.txt").read_text()
    assert "hf-vasso glue " in log.splitlines()[0]
    assert "train_runtime" in log


def test_a_repeated_suite_makes_nothing(finished, capsys, monkeypatch):
    monkeypatch.setattr(processes, "run_in_process", None)
    before = records(finished / "runs")
    assert main(["suite", str(finished / "suite.yaml")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("small: 11 of 11 trials and runs were finished before\n")
    assert f"small: 4 of 4 runs are finished, in {finished / 'runs'}" in shown
    assert records(finished / "runs") == before


def test_a_repeated_suite_writes_what_an_earlier_version_did_not(finished):
    path = finished / "runs" / "suite.json"
    before = json.loads(path.read_text())
    earlier = json.loads(path.read_text())
    for choice in earlier["selection"]["agreement"].values():
        for name in ("notes", "score", "runner_up_score"):
            del choice[name]
    path.write_text(json.dumps(earlier))
    assert read_suite_plan(path).selection["agreement"]["sam"].keys() == {
        "chosen",
        "trials",
        "metric",
        "holdout_samples",
        "seeds",
    }
    assert main(["suite", str(finished / "suite.yaml")]) == 0
    assert json.loads(path.read_text()) == before


def test_a_finished_dry_run(finished, capsys):
    assert main(["suite", str(finished / "suite.yaml"), "--dry_run"]) == 0
    shown = capsys.readouterr().out
    assert shown.count(" done ") == 11
    assert "0 of 11 are to be made, with 0 steps and 0 forward passes.\n" in shown


def test_a_dry_run_writes_nothing(write_suite, runs, capsys, monkeypatch):
    monkeypatch.setattr(run_suite, "start_server", None)
    path = write_suite(select={"stages": STAGES, "holdout_samples": 16}, defaults={"num_train_epochs": 2})
    assert main(["suite", str(path), "--dry_run"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["run", "agreement", "sam", "1", "6", "12", "missing", "agreement/small-bert/sam/seed-1"] in lines
    folder = ".select/agreement/small-bert/none/learning_rate=0.00548,seed=1000"
    assert ["trial", "agreement", "none", "1000", "4", "4", "missing", folder] in lines
    assert "11 of 11 are to be made, with 52 steps and 76 forward passes." in " ".join(lines[-3])
    assert " ".join(lines[-2]) == (
        "Contrasts: sam minus none. Tested on all tasks together they need 6 seeds, and the suite has 2; add seeds, "
        "or name fewer contrasts."
    )
    assert " ".join(lines[-1]).startswith("A stage of the selection is tried at the best values of those before it.")
    assert not runs.exists()


def test_one_line_per_finished_run(write_suite, capfd):
    assert main(["suite", str(write_suite(methods=["sam"], seeds=[3]))]) == 0
    shown = capfd.readouterr().out.splitlines()
    assert shown[0].startswith("[1/1, 00:00 left] agreement, sam, seed 3: accuracy 0.")
    assert shown[0].endswith(" s, 3 steps, 6 passes")
    assert len(shown) == 2


# --- numbers do not depend on how many run at a time ---


def test_threads_are_fixed_and_recorded(write_suite, runs):
    path = write_suite(threads_per_run=2, methods=["sam"])
    assert main(["suite", str(path), "--jobs", "2"]) == 0
    beside = records(runs)
    assert main(["suite", str(path), "--fresh"]) == 0
    alone = records(runs)
    assert {record.environment["threads"] for record in [*beside.values(), *alone.values()]} == {2}
    assert {name: record.metrics for name, record in beside.items()} == {
        name: record.metrics for name, record in alone.items()
    }


def test_each_run_gets_one_graphics_card(write_suite, runs, monkeypatch):
    monkeypatch.setattr(run_suite, "graphics_cards", lambda: ["3", "5"])  # and so two at a time
    assert main(["suite", str(write_suite(seeds=[0, 1, 2]))]) == 0
    first_lines = [path.read_text().splitlines()[0] for path in runs.rglob("log.txt")]
    cards = [line.partition("CUDA_VISIBLE_DEVICES=")[2].partition(":")[0] for line in first_lines]
    assert len(cards) == 6
    assert set(cards) == {"3", "5"}


def test_cards_are_those_that_the_user_left_visible(monkeypatch):
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert processes.graphics_cards() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert processes.graphics_cards() == ["4", "7"]
    monkeypatch.setattr(processes.torch.cuda, "device_count", lambda: 0)
    assert processes.graphics_cards() == []


# --- failures ---


def test_a_failed_run_is_recorded_and_stops_no_other(write_suite, runs, capsys):
    path = write_suite()
    foreign = run_folder(runs, "sam", 0)
    foreign.mkdir(parents=True)
    (foreign / "result.json").write_text("{}")
    assert main(["suite", str(path)]) == 1
    failure = read_failure(foreign / "failure.json")
    assert (failure.task_label, failure.model, failure.label, failure.seed) == ("agreement", "small-bert", "sam", 0)
    assert failure.error == (
        ".../seed-0 holds what no run in it wrote and this one would replace: result.json; choose another "
        "--output_dir, or move that away"
    )
    assert failure.traceback == ""
    shown = capsys.readouterr().out
    assert f"agreement, sam, seed 0: FAILED: {failure.error} ({foreign / 'log.txt'})" in shown
    assert "small: 3 of 4 runs are finished" in shown
    assert main(["suite", str(path), "--dry_run"]) == 0
    assert ["failed", "agreement/small-bert/sam/seed-0"] in [
        line.split()[-2:] for line in capsys.readouterr().out.splitlines()
    ]

    (foreign / "result.json").unlink()
    assert main(["suite", str(path)]) == 0
    assert not (foreign / "failure.json").exists()
    assert len(records(runs)) == 4


def test_a_fault_of_the_program_leaves_its_traceback(write_suite, runs):
    path = write_suite(methods=["none"], seeds=[0], defaults={"optim_args": "betas"})  # not as the Trainer splits it
    assert main(["suite", str(path)]) == 1
    failure = read_failure(run_folder(runs, "none", 0) / "failure.json")
    assert failure.error == "ValueError: not enough values to unpack (expected 2, got 1)"
    assert "task_run" in failure.traceback


@pytest.mark.parametrize("fault", ["log", "folder"])
def test_a_run_that_cannot_even_write_stops_no_other(write_suite, runs, capsys, fault):
    path = write_suite(seeds=[0])
    folder = run_folder(runs, "none", 0)
    if fault == "log":
        (folder / "log.txt").mkdir(parents=True)
        write_failure(Failure("agreement", "small-bert", "none", 0, "of an attempt before"), folder)
    else:
        folder.parent.mkdir(parents=True)
        folder.touch()
    assert main(["suite", str(path)]) == 1
    shown = capsys.readouterr().out
    assert record_of(runs, "sam", 0).seed == 0
    if fault == "log":
        words = ".../log.txt is no log of a run, and this one would write its own there; move it away"
        assert read_failure(folder / "failure.json").error == words
        assert f"agreement, none, seed 0: FAILED: {words}" in shown
    else:
        assert "agreement, none, seed 0: FAILED: why is not known" in shown


def test_a_run_that_is_killed_breaks_no_other(write_suite, runs):
    path = write_suite(seeds=[0], methods={"none": {"num_train_epochs": 100_000}, "sam": {}})
    log = run_folder(runs, "none", 0) / "log.txt"
    kill = during(
        lambda: log.exists() and "hf-vasso glue" in log.read_text() and record_exists(runs, "sam"),
        lambda: os.kill(next(iter(processes._running)).pid, signal.SIGKILL),
    )
    assert main(["suite", str(path), "--jobs", "2"]) == 1
    kill.join()
    assert read_failure(log.parent / "failure.json").error == (
        "killed by signal 9, as the system does when memory is short; log.txt ends where it was"
    )
    assert record_of(runs, "sam", 0).seed == 0


def record_exists(runs: Path, method: str) -> bool:
    return (run_folder(runs, method, 0) / "result.json").exists() and len(processes._running) == 1


def test_a_record_made_with_other_flags_is_a_failure(write_suite, runs):
    methods = {"none": {}}
    assert main(["suite", str(write_suite(methods=methods, seeds=[0]))]) == 0
    other = write_suite(methods=methods, seeds=[0], defaults={"num_train_epochs": 2})
    assert main(["suite", str(other)]) == 1
    failure = read_failure(run_folder(runs, "none", 0) / "failure.json")
    assert "began with other flags:\n  --num_train_epochs: was 1.0, is 2.0" in failure.error
    assert record_of(runs, "none", 0).arguments["num_train_epochs"] == 1.0

    assert main(["suite", str(write_suite(methods=methods, seeds=[0]))]) == 0
    assert not (run_folder(runs, "none", 0) / "failure.json").exists()


def test_other_files_of_the_model_are_a_failure(write_suite, runs, materials, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(materials / "small-bert", model)
    path = write_suite(methods={"none": {}}, seeds=[0], defaults={"config_name": str(model)})
    assert main(["suite", str(path)]) == 0
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "hidden_dropout_prob": 0.25}))
    assert main(["suite", str(path)]) == 1
    folder = runs / "agreement" / "model" / "none" / "seed-0"
    assert "began with other files in the folder of its model" in read_failure(folder / "failure.json").error


def test_without_a_finite_trial_a_cell_is_not_run(write_suite, runs, capsys):
    select = {"stages": [{"learning_rate": [1e30]}], "holdout_samples": 16}
    assert main(["suite", str(write_suite(select=select, methods=["none"], seeds=[0]))]) == 1
    shown = capsys.readouterr().out
    assert "trial of agreement, none, learning_rate 1e+30, seed 1000: held-out accuracy not finite" in shown
    assert "agreement, none, seed 0: FAILED: no trial of its selection ended with a finite score" in shown
    assert not list(runs.rglob("result.json"))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"defaults": {"lerning_rate": 1}}, "unknown flag --lerning_rate, did you mean --learning_rate?"),
        (
            {"methods": {"none": {"rho": 0.1}}},
            "task agreement with method none and the defaults: method 'none' does not use rho",
        ),
        ({"defaults": {"data_dir": "nowhere"}}, "task agreement with method none and the defaults: "),
    ],
)
def test_mistakes_are_found_before_anything_starts(write_suite, runs, capsys, keys, words):
    path = write_suite(**keys)
    assert main(["suite", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"hf-vasso: {path}: ")
    assert words in error
    assert not runs.exists()


def test_a_model_that_is_not_there_is_told_once(write_suite, runs, capsys):
    assert main(["suite", str(write_suite(defaults={"model_name_or_path": "some/model", "config_name": None}))]) == 2
    assert capsys.readouterr().err.count("some/model") == 1
    assert not runs.exists()


def test_ray_that_is_not_installed(write_suite, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["suite", str(write_suite()), "--backend", "ray"]) == 2
    assert "--backend ray needs Ray; install it with `pip install 'hf_vasso[ray]'`" in capsys.readouterr().err


def test_a_wrong_number_of_jobs(write_suite, capsys):
    with pytest.raises(SystemExit):
        main(["suite", str(write_suite()), "--jobs", "0"])
    assert "argument --jobs: must be a whole number, at least 1, got '0'" in capsys.readouterr().err


# --- starting over and stopping ---


def test_fresh_deletes_only_what_the_suite_wrote(write_suite, runs):
    select = {"stages": [{"learning_rate": [0.003]}], "holdout_samples": 16}
    assert main(["suite", str(write_suite(select=select, methods=["none"]))]) == 0
    shutil.copytree(run_folder(runs, "none", 0), run_folder(runs, "none", 7))  # of no seed of the suite
    mine = [
        runs / "notes.txt",
        run_folder(runs, "none", 0) / "adapter_notes.txt",
        run_folder(runs, "none", 1) / "a" / "b",
    ]
    mine.append(next((runs / ".select").rglob("trial.json")).parent / "notes.txt")
    mine[2].parent.mkdir()
    for path in mine:
        path.write_text("mine")
    first = record_of(runs, "none", 0)
    assert main(["suite", str(write_suite(methods=["none"], defaults={"num_train_epochs": 2})), "--fresh"]) == 0
    assert (first.cost["steps"], record_of(runs, "none", 0).cost["steps"]) == (3, 6)
    assert record_of(runs, "none", 7).cost["steps"] == 3
    assert sorted(path.name for path in runs.iterdir()) == [
        *(".hf_vasso.lock", ".select", "agreement", "notes.txt", "suite.json")
    ]
    assert [path.read_text() for path in mine] == ["mine"] * 4
    assert [path for path in (runs / ".select").rglob("*") if path.is_file()] == mine[3:]


@pytest.mark.parametrize("name", ["suite.json", "selection.json"])
def test_a_folder_with_a_file_of_another_origin_is_refused(write_suite, runs, capsys, name):
    select = {"stages": STAGES[:1], "holdout_samples": 16}
    path = write_suite(select=select, methods=["none"], seeds=[0])
    runs.mkdir()
    (runs / name).write_text('{"name": "mine"}')
    for words in ([], ["--fresh"]):
        assert main(["suite", str(path), *words]) == 2
        assert f"hf-vasso: {runs}/{name}: this version reads schema 1" in capsys.readouterr().err
    assert [path.name for path in runs.iterdir()] == [name]


def test_fresh_starts_over_from_broken_files(write_suite, runs, capsys):
    select = {"stages": STAGES[:1], "holdout_samples": 16}
    path = write_suite(select=select, methods=["none"], seeds=[0])
    assert main(["suite", str(path)]) == 0
    files = [runs / "selection.json", runs / "suite.json", *runs.rglob("trial.json"), *runs.rglob("result.json")]
    assert len(files) == 5
    for file in files:
        file.write_text("{")
    assert main(["suite", str(path)]) == 2
    assert "selection.json: not a JSON file" in capsys.readouterr().err
    assert main(["suite", str(path), "--fresh", "--dry_run"]) == 0
    assert capsys.readouterr().out.count("starts over") == 3
    assert main(["suite", str(path), "--fresh"]) == 0
    assert read_suite_plan(runs / "suite.json").selection["agreement"]["none"]["trials"] == 2
    assert record_of(runs, "none", 0).seed == 0


def test_ctrl_c_keeps_checkpoints_and_the_repeated_command_continues(write_suite, runs, capsys, tmp_path):
    keys = {"methods": ["sam"], "seeds": [0, 1], "defaults": {"num_train_epochs": 40, "logging_steps": 1}}
    path = write_suite(**keys)
    log = run_folder(runs, "sam", 0) / "log.txt"
    stop = during(lambda: log.exists() and "'loss'" in log.read_text(), lambda: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(SystemExit) as caught:
        main(["suite", str(path)])
    stop.join()
    assert caught.value.code == 130
    shown = capsys.readouterr().out
    assert "agreement, sam, seed 0: interrupted" in shown
    assert "seed 1" not in shown  # it was not begun
    assert shown.endswith("small: interrupted; repeat the command to continue\n")
    assert list(log.parent.glob("checkpoint-*"))
    assert not list(runs.rglob("failure.json"))

    assert main(["suite", str(path)]) == 0
    assert "continuing from" in log.read_text()
    continued = records(runs)
    assert main(["suite", str(write_suite(**keys, output_dir=str(tmp_path / "undisturbed")))]) == 0
    undisturbed = records(tmp_path / "undisturbed")
    assert {name: record.metrics for name, record in continued.items()} == {
        name: record.metrics for name, record in undisturbed.items()
    }

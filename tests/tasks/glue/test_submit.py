"""`hf-vasso submit` on small test sets: which runs it takes, what it predicts, what it refuses and says."""

import inspect
import json
import shutil
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import pytest

from hf_vasso.cli import main
from hf_vasso.methods import METHODS
from hf_vasso.results.record import Record, read_record, write_record
from hf_vasso.tasks.binding import binding_arguments, recorded_arguments
from hf_vasso.tasks.commands import task_run
from hf_vasso.tasks.folder_lock import hold_folder
from hf_vasso.tasks.glue.table import TASKS

SIZE = 3  # of every test set here


@pytest.fixture(autouse=True)
def small_test_sets(monkeypatch):
    for name, task in TASKS.items():
        monkeypatch.setitem(TASKS, name, replace(task, split_sizes=dict.fromkeys(task.test_splits, SIZE)))


def example(task: str, index: int, hidden: bool) -> dict:
    texts = dict.fromkeys(TASKS[task].columns, f"the cats near the dog {'run ' * index}")
    return {**texts, "label": -1 if hidden else index % TASKS[task].num_labels}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A few examples of cola, mnli and ax."""
    data = tmp_path_factory.mktemp("data")
    for name in ("cola", "mnli", "ax"):
        (data / name).mkdir()
        for split in TASKS[name].splits:
            rows = [example(name, index, hidden=split in TASKS[name].test_splits) for index in range(SIZE)]
            (data / name / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return data


@pytest.fixture
def submit(runs, data, tmp_path) -> list[str]:
    """The command line that submits them."""
    return ["submit", str(runs), "--out", str(tmp_path / "glue.zip"), "--data_dir", str(data)]


@pytest.fixture(scope="module")
def trained(tiny_bert, data, tmp_path_factory) -> Path:
    """Runs on cola and mnli that have trained and not predicted, with numbers that are not the method's own."""
    runs = tmp_path_factory.mktemp("runs")
    for name in ("cola", "mnli"):
        words = (
            f"glue --task_name {name} --model_name_or_path {tiny_bert} --data_dir {data} --method asam --rho 0.3 "
            f"--seed 7 --max_steps 2 --output_dir {runs / name} --lr_scheduler_type cosine --report_to none "
            "--save_strategy no --logging_strategy no"
        )
        assert main([*words.split(), "--method_args", '{"eta": 0.02}']) == 0
    return runs


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    """The trained runs, and one that has predicted for each of the other tasks but AX."""
    folder = tmp_path / "runs"
    shutil.copytree(trained, folder)
    for name in ("sst2", "mrpc", "stsb", "qqp", "qnli", "rte", "wnli"):
        predicted_run(folder / name, name, read_record(trained / "cola" / "result.json"))
    return folder


def predicted_run(folder: Path, task: str, record: Record, **changes) -> None:
    """A record and predictions without a model: the first label, or 2.500, for each example."""
    write_record(replace(record, task=task, task_label=task, **changes), folder)
    answer = "2.500" if TASKS[task].is_regression else TASKS[task].label_names[0]
    for split in TASKS[task].test_splits:
        lines = [f"{index}\t{answer}\n" for index in range(SIZE)]
        (folder / f"predictions_{split}.tsv").write_text("index\tprediction\n" + "".join(lines))


def number_flags(method: str) -> list[str]:
    """Other numbers than the method's own, all of them that it has and that are not None."""
    changed = {
        name: parameter.default / 2 if isinstance(parameter.default, float) else parameter.default + 1
        for name, parameter in inspect.signature(METHODS[method]).parameters.items()
        if parameter.default is not None
    }
    return ["--method_args", json.dumps(changed)]


WAYS_TO_TRAIN = {
    **{f"{name}, its own numbers": ["--method", name] for name in METHODS},
    **{f"{name}, other numbers": ["--method", name, *number_flags(name)] for name in METHODS},
    **{
        words: words.split()
        for words in (
            "--method sam --rho 0.2 --rho_warmup_steps 0.5 --rho_scheduler_type linear",
            "--method vasso --theta 0.3 --no_perturb bias|LayerNorm --same_dropout False --ascent_sync False",
            "--method sam --ascent_every 3",
            "--method sam --ascent_fraction 0.5",
            "--method vasso-quarter --ascent_fraction 1.0 --ascent_every 2",
            "--method vasso-re --ascent_every 3",
            "--method vasso-looksam --ascent_every 3",
            '--lr_scheduler_kwargs {"num_cycles":2} --lr_scheduler_type cosine --optim adafactor',
            "--load_best_model_at_end --eval_strategy steps --save_steps 1 --eval_steps 1 --label_smoothing_factor .1",
        )
    },
    **{
        f"--method {name} --method_args {numbers}": ["--method", name, "--method_args", json.dumps(numbers)]
        for name, numbers in (
            ("vasso-re", {"p": 0.3}),
            ("vasso-re", {"k": 4}),
            ("mesa", {"decay": 0.9}),
            ("gsam", {"rho": 0.2, "rho_min": 0.1}),
            ("sam", {"ascent_every": 4}),
            ("looksam", {"ascent_every": 4}),
            ("sam", {"ascent_fraction": 0.5}),
            ("vasso-quarter", {"ascent_fraction": 1.0}),
        )
    },
}


def lines(out: Path, name: str) -> list[str]:
    with ZipFile(out) as archive:
        return archive.read(name).decode().splitlines()


def test_what_has_trained_predicts_and_all_is_zipped(runs, tmp_path, capsys, submit):
    out, before = tmp_path / "glue.zip", read_record(runs / "cola" / "result.json")
    assert main(submit) == 0
    assert lines(out, "STS-B.tsv") == ["index\tprediction", "0\t2.500", "1\t2.500", "2\t2.500"]
    assert lines(out, "RTE.tsv")[1:] == ["0\tentailment", "1\tentailment", "2\tentailment"]
    assert lines(out, "WNLI.tsv")[1:] == ["0\t0", "1\t0", "2\t0"]
    predicted = [line.split("\t") for line in (runs / "cola" / "predictions_test.tsv").read_text().splitlines()]
    numbers = {"unacceptable": "0", "acceptable": "1", "prediction": "prediction"}
    assert lines(out, "CoLA.tsv") == [f"{index}\t{numbers[label]}" for index, label in predicted]
    for name, split in (("MNLI-m.tsv", "matched"), ("MNLI-mm.tsv", "mismatched")):
        assert lines(out, name) == (runs / "mnli" / f"predictions_test_{split}.tsv").read_text().splitlines()
    record = read_record(runs / "cola" / "result.json")
    assert (record.metrics, record.cost, record.method) == (before.metrics, before.cost, before.method)
    said = capsys.readouterr().out
    assert said.endswith(f"submission: {out}, to be uploaded at https://gluebenchmark.com/submit\n")
    assert not list(runs.rglob("ax*"))  # its predictions are made anew each time

    first = out.read_bytes()
    assert main(submit) == 0
    assert out.read_bytes() == first
    assert str(runs) not in capsys.readouterr().out  # nothing was predicted again


@pytest.mark.parametrize("way", WAYS_TO_TRAIN)
def test_whatever_has_trained_can_be_submitted(runs, way, tmp_path, submit, data, tiny_bert):
    """The record and what the run was asked for stay as they are: only the predictions are added."""
    folder, seed = runs / "cola", ["--seed", "7"]
    words = f"glue --task_name cola --output_dir {folder} --data_dir {data} --report_to none --max_steps 2"
    model = ["--model_name_or_path", str(tiny_bert)]
    run = task_run([*words.split(), *model, *seed, "--method_label", "asam", *WAYS_TO_TRAIN[way]])
    asked = json.loads(json.dumps(binding_arguments(run.arguments, run.training)))
    content = {**json.loads((folder / "run.json").read_text()), "arguments": asked}
    (folder / "run.json").write_text(json.dumps(content))
    method = run.training.build_method()
    before = replace(
        read_record(folder / "result.json"),
        method={"name": method.name, "numbers": method.numbers, "paper": None},
        arguments=json.loads(json.dumps(recorded_arguments(run.arguments, run.training))),
    )
    write_record(before, folder)
    for name in ("mnli", "ax"):
        shutil.rmtree(runs / name, ignore_errors=True)
        predicted_run(runs / name, name, before)
    assert main(submit) == 0
    assert len(lines(tmp_path / "glue.zip", "CoLA.tsv")) == SIZE + 1
    assert json.loads((folder / "run.json").read_text())["arguments"] == asked
    after = read_record(folder / "result.json")
    assert after.method["numbers"] == before.method["numbers"]
    assert after.arguments == before.arguments
    assert (after.label, after.metrics, after.cost) == (before.label, before.metrics, before.cost)


def test_what_two_processes_have_trained_one_can_submit(runs, tmp_path, submit):
    run_file, result_file = runs / "cola" / "run.json", runs / "cola" / "result.json"
    content = json.loads(run_file.read_text())
    content["arguments"]["num_processes"] = 2
    run_file.write_text(json.dumps(content))
    before = read_record(result_file)
    before.arguments["num_processes"] = 2
    write_record(before, runs / "cola")
    assert main(submit) == 0
    assert read_record(result_file).arguments == before.arguments


def test_ax_is_predicted_with_the_model_of_mnli(runs, tmp_path, submit, data):
    predicted_run(runs / "ax", "ax", read_record(runs / "cola" / "result.json"))
    (runs / "ax" / "predictions_test.tsv").write_text("of a model that was trained before")
    out, by_hand = tmp_path / "glue.zip", tmp_path / "by-hand"
    assert main(submit) == 0
    words = f"glue --task_name ax --model_name_or_path {runs}/mnli --data_dir {data} --output_dir {by_hand}"
    assert main([*words.split(), "--report_to", "none"]) == 0
    assert lines(out, "AX.tsv") == (by_hand / "predictions_test.tsv").read_text().splitlines()


def test_without_mnlis_model_ax_is_a_run_like_others(runs, tmp_path, capsys, submit):
    shutil.rmtree(runs / "mnli")
    record = read_record(runs / "cola" / "result.json")
    predicted_run(runs / "mnli", "mnli", record)
    assert main(submit) == 2
    assert "\n  ax: no finished run, and none of mnli with its model\n" in capsys.readouterr().err
    predicted_run(runs / "ax", "ax", record)
    assert main(submit) == 0
    assert lines(tmp_path / "glue.zip", "AX.tsv")[1] == "0\tentailment"


def test_missing_tasks_are_all_named_before_any_predicts(runs, tmp_path, capsys, submit):
    shutil.rmtree(runs / "qqp")
    (runs / "wnli" / "result.json").write_text("{")
    (runs / "rte" / "predictions_test.tsv").unlink()
    assert main(submit) == 2
    said = capsys.readouterr().err
    assert f"left out: {runs}/wnli/result.json" in said
    assert said.endswith(
        f"hf-vasso: {runs} lacks what a submission needs:\n"
        "  qqp: no finished run\n"
        f"  rte: {runs}/rte has neither predictions for the whole test set nor a model that it trained\n"
        "  wnli: no finished run\n"
    )
    assert not (runs / "cola" / "predictions_test.tsv").exists()
    assert not (tmp_path / "glue.zip").exists()


def test_a_part_of_a_test_set_is_predicted_in_full(runs, tmp_path, submit, data, tiny_bert):
    arguments = json.loads((runs / "cola" / "run.json").read_text())["arguments"]
    words = " ".join(f"--{name} {arguments[name]}" for name in ("rho", "max_steps"))
    words += f" --model_name_or_path {tiny_bert} --data_dir {data}"
    words += " --method asam --seed 7 --lr_scheduler_type cosine --report_to none --do_predict --max_predict_samples 1"
    glue = ["glue", "--task_name", "cola", "--output_dir", str(runs / "cola"), "--method_args", '{"eta": 0.02}']
    assert main([*glue, *words.split()]) == 0
    assert len((runs / "cola" / "predictions_test.tsv").read_text().splitlines()) == 2
    assert main(submit) == 0
    assert len(lines(tmp_path / "glue.zip", "CoLA.tsv")) == SIZE + 1


def test_a_folder_with_data_is_named_by_the_user(runs, capsys, submit):
    assert main(submit[:-2]) == 2
    said = capsys.readouterr().err
    assert f"  cola: the run in {runs}/cola had its data from a folder; name it with --data_dir" in said


def test_predictions_of_other_data_than_those_at_hand(runs, tmp_path, capsys, submit, data):
    shutil.copytree(data, tmp_path / "data")
    submit[-1], data = f"{tmp_path}/data", tmp_path / "data"
    assert main(submit) == 0
    rows, predictions = data / "cola" / "test.jsonl", runs / "cola" / "predictions_test.tsv"
    rows.write_text("".join(reversed(rows.read_text().splitlines(keepends=True))))
    assert main(submit) == 2
    assert capsys.readouterr().err.endswith(
        f"hf-vasso: {runs} lacks what a submission needs:\n"
        f"  cola: {predictions} was predicted from other examples than {data}/cola now has for split test; delete it "
        "to predict again\n"
    )
    predictions.unlink()
    assert main(submit) == 0
    shutil.rmtree(data / "cola")  # what was predicted elsewhere may be submitted here
    assert main(submit) == 0


def test_one_label_and_seed(runs, tmp_path, capsys, submit):
    record = read_record(runs / "cola" / "result.json")
    predicted_run(runs / "other" / "rte", "rte", record, label="sam")
    predicted_run(runs / "other" / "sst2", "sst2", record, seed=8)
    predicted_run(runs / ".select" / "sst2", "sst2", record, seed=9)  # a suite's trial is no run
    model = record.model
    assert main(submit) == 2
    assert capsys.readouterr().err == (
        "hf-vasso: a submission is of one method, model and seed; choose with --method_label, --model and --seed:\n"
        f"  --method_label asam --model {model} --seed 7: cola, mnli, mrpc, qnli, qqp, rte, sst2, stsb, wnli\n"
        f"  --method_label asam --model {model} --seed 8: sst2\n"
        f"  --method_label sam --model {model} --seed 7: rte\n"
    )
    assert main([*submit, "--method_label", "vasso"]) == 2
    assert "runs has no such finished run of a GLUE task; it has\n  --method_label asam" in capsys.readouterr().err
    assert main([*submit, "--method_label", "asam", "--seed", "7"]) == 0


def test_one_model(runs, tmp_path, capsys, submit):
    record = read_record(runs / "cola" / "result.json")
    predicted_run(runs / "sst2", "sst2", record, model="roberta-base")
    predicted_run(runs / "rte", "rte", record, model="mnli")
    named = ["--model", record.model]
    assert main(submit) == 2
    assert capsys.readouterr().err == (
        "hf-vasso: a submission is of one method, model and seed; choose with --method_label, --model and --seed:\n"
        "  --method_label asam --model mnli --seed 7: rte\n"
        "  --method_label asam --model roberta-base --seed 7: sst2\n"
        f"  --method_label asam --model {record.model} --seed 7: cola, mnli, mrpc, qnli, qqp, stsb, wnli\n"
    )
    assert not (runs / "cola" / "predictions_test.tsv").exists()
    assert main([*submit, *named, "--model", "mnli"]) == 2
    assert "\n  sst2: no finished run\n" in capsys.readouterr().err
    predicted_run(runs / "again" / "sst2", "sst2", record)
    assert main([*submit, *named, "--model", "mnli"]) == 0  # RTE's model was fine-tuned on MNLI before


def test_a_run_in_which_another_command_works(runs, capsys, submit):
    with hold_folder(runs / "cola"):
        assert main(submit) == 2
    assert f"hf-vasso: {runs}/cola is in use by process " in capsys.readouterr().err
    assert not (runs / "cola" / "predictions_test.tsv").exists()


def test_two_runs_of_one_task(runs, tmp_path, capsys, submit):
    predicted_run(runs / "sst2-again", "sst2", read_record(runs / "cola" / "result.json"))
    assert main(submit) == 2
    assert f"task sst2 has two such runs, {runs}/sst2 and {runs}/sst2-again" in capsys.readouterr().err


def test_no_runs(tmp_path, capsys):
    assert main(["submit", str(tmp_path / "typo"), "--out", str(tmp_path / "glue.zip")]) == 2
    assert f"{tmp_path}/typo has no such finished run of a GLUE task; it has none" in capsys.readouterr().err


def test_wrong_predictions_are_named(runs, tmp_path, capsys, submit):
    (runs / "rte" / "predictions_test.tsv").write_text("index\tprediction\n0\tyes\n")
    assert main(submit) == 2
    said = capsys.readouterr().err
    assert "line 2: the prediction must be entailment or not_entailment, got 'yes'" in said
    assert "lines 3 to 4 are missing" in said

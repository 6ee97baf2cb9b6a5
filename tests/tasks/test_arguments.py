"""Flags and recipes: what they default to, which of both wins, and the words of every error."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers import EvalPrediction

from hf_vasso.tasks import recipes
from hf_vasso.tasks.binding import (
    binding_arguments,
    given_flags,
    recorded_arguments,
    result_arguments,
    with_base_names,
)
from hf_vasso.tasks.glue.arguments import parse_glue_arguments
from hf_vasso.tasks.glue.metrics import compute_metrics
from hf_vasso.tasks.glue.table import get_task
from hf_vasso.tasks.task_arguments import base_name
from hf_vasso.training.arguments import VassoTrainingArguments

NEEDED = ["--use_cpu", "--task_name", "rte", "--model_name_or_path", "org/bert"]


def parse(*words):
    return parse_glue_arguments([*NEEDED, *words])


def recipe(tmp_path, text):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    return ["--config", str(path)]


# --- defaults ---


def test_default_output_folder(tmp_path, monkeypatch):
    assert parse("--seed", "3")[1].output_dir == "runs/rte/bert/vasso/seed-3"
    assert parse("--method", "sam")[1].output_dir == "runs/rte/bert/sam/seed-42"
    assert parse("--method_label", "vasso-02")[1].output_dir == "runs/rte/bert/vasso-02/seed-42"
    assert parse("--output_dir", "here")[1].output_dir == "here"
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")
    assert parse("--model_name_or_path", ".")[1].output_dir == "runs/rte/model/vasso/seed-42"


@pytest.mark.parametrize(
    ("words", "stages"),
    [
        ([], ["train", "eval"]),
        (["--eval_strategy", "epoch"], ["train", "eval"]),
        (["--do_predict"], ["predict"]),
        (["--do_train", "--do_eval", "--do_predict"], ["train", "eval", "predict"]),
        (["--task_name", "ax"], ["predict"]),
    ],
)
def test_stages(words, stages):
    _, training = parse(*words)
    assert [stage for stage in ("train", "eval", "predict") if getattr(training, f"do_{stage}")] == stages


def test_help_shows_defaults_and_units(capsys):
    with pytest.raises(SystemExit) as stopped:
        parse_glue_arguments(["--help"])
    assert stopped.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "Longest input, in tokens, at least 1; longer ones are cut. (default: 128)" in text
    assert "usage: hf-vasso glue" in text


# --- recipes ---


def test_the_command_line_wins_over_the_recipe(tmp_path):
    words = recipe(tmp_path, "learning_rate: 1e-4\nnum_train_epochs: 2\nsame_dropout: false\nrho: null\n")
    _, training = parse("--num_train_epochs", "5", *words)
    assert (training.learning_rate, training.num_train_epochs) == (1e-4, 5)
    assert training.same_dropout is False
    assert training.rho is None


def test_lists_and_objects_in_a_recipe(tmp_path):
    words = recipe(tmp_path, 'method: asam\nmethod_args: {"eta": 0.1}\ninclude_for_metrics: [inputs, loss]\n')
    _, training = parse(*words)
    assert training.build_method().numbers == {"rho": 0.03, "eta": 0.1}
    assert training.include_for_metrics == ["inputs", "loss"]


def test_words_of_a_recipe_that_yaml_1_1_takes_for_booleans(tmp_path):
    words = recipe(tmp_path, "save_strategy: no\ndo_predict: yes\nfp16: False\n")
    _, training = parse(*words)
    assert (training.save_strategy, training.do_predict, training.fp16) == ("no", True, False)
    words = recipe(tmp_path, "run_name: on\nmethod_label: off\n")
    glue, training = parse(*words)
    assert (training.run_name, glue.method_label) == ("on", "off")


def test_a_shipped_recipe():
    _, training = parse("--config", "glue/rte-vasso")
    assert training.build_method().numbers == {"rho": 0.01, "theta": 0.4}


def test_environment_variables_in_a_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_FOLDER", "/data")
    glue, _ = parse(*recipe(tmp_path, "# not ${READ}\ndata_dir: ${SOME_FOLDER}/glue\n"))
    assert glue.data_dir == "/data/glue"
    monkeypatch.delenv("SOME_FOLDER")
    with pytest.raises(ValueError, match=r"uses \$\{SOME_FOLDER\}, which is not set; export SOME_FOLDER=\.\.\."):
        parse(*recipe(tmp_path, "data_dir: ${SOME_FOLDER}/glue\n"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lerning_rate: 1\n", "unknown flag --lerning_rate, did you mean --learning_rate?"),
        ("learning_rate: fast\n", "argument --learning_rate.*invalid float value: 'fast'"),
        ("a: [\n", "recipe.yaml, line 2: broken YAML"),
        ("config: glue/rte\n", "recipe.yaml names another recipe, 'glue/rte'; copy its lines instead"),
        ("- a\n", r"must map flags to values, one `key: value` a line, got \['a'\]"),
    ],
)
def test_errors_of_recipes(tmp_path, text, words):
    with pytest.raises(ValueError, match=words):
        parse(*recipe(tmp_path, text))


def test_an_unknown_recipe(tmp_path, monkeypatch):
    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "rte.yaml").touch()
    monkeypatch.setattr(recipes, "RECIPES", tmp_path)
    with pytest.raises(ValueError, match="unknown recipe 'glue/rt', did you mean 'glue/rte'.*or pass the path"):
        parse("--config", "glue/rt")


# --- errors ---


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rhoo", "1"], "unknown flag --rhoo, did you mean --rho?"),
        (["--qwertz"], "unknown flag --qwertz. `hf-vasso glue --help` lists all flags"),
        (["--lear", "1"], "unknown flag --lear"),  # no abbreviations
        (["--config"], "argument --config: expected one argument; `hf-vasso glue --help` lists all flags"),
        (
            ["--train_file", "a.csv"],
            "unknown flag --train_file; pass --data_dir with a folder that holds one file per",
        ),
        (["--validation_file=a.csv"], "unknown flag --validation_file; pass --data_dir"),
        (["--dataset_name", "imdb"], "unknown flag --dataset_name; pass --data_dir"),
        (["rte"], "unexpected 'rte'; flags begin with --"),
        (["--task_name", "rt"], "unknown task 'rt', did you mean 'rte'?"),
        (["--max_seq_length", "0"], "max_seq_length must be at least 1, got 0"),
        (["--max_train_samples", "0"], "max_train_samples must be at least 1, got 0"),
        (["--per_device_train_batch_size", "0"], "per_device_train_batch_size must be from 1 to 2,147,483,647, got 0"),
        (["--seed=-1"], "seed must be from 0 to 4,294,967,295, got -1"),
        (["--weight_decay", "nan"], "weight_decay must be a finite number of the size of a measurement, got nan"),
        (["--save_steps", "9" * 400], "save_steps must be a finite number of the size of a measurement, got inf"),
        (["--method_label", "../x"], "method_label becomes the name of a folder.*got '../x'; take another one"),
        (["--task_label", "é" * 128], "task_label becomes the name of a folder, .* at most 255 bytes"),
        (["--output_dir", "here", "--method_label", "a\nb"], r"method_label becomes .*got 'a\\nb'"),
        (["--model_name_or_path", "org/" + "a" * 200], "the model's name stands in records and must be a printable"),
        (["--run_name", "\udcff"], r"run_name must be text that UTF-8 can write, got '\\udcff'"),
        (["--accelerator_config", "nope.json"], "Transformers cannot use these flags: FileNotFoundError: .*nope.json"),
        (["--theta", "1.5"], r"theta weighs the new gradient and must be in \(0, 1\], got 1.5"),
        (["--method", "none", "--rho", "0.1"], "method 'none' does not use rho"),
        (
            ["--task_name", "stsb", "--label_smoothing_factor", "0.1"],
            "label_smoothing_factor needs classes, and task stsb is a regression; leave it out",
        ),
        (["--task_name", "stsb", "--label_noise", "0.1"], "label_noise needs classes, and task stsb is a regression"),
        (
            ["--task_name", "stsb", "--max_train_samples_per_class", "2"],
            "max_train_samples_per_class needs classes, and task stsb is a regression",
        ),
        (
            ["--task_name", "stsb", "--method", "mesa"],
            "method 'mesa' compares probabilities of classes, and task stsb",
        ),
        (
            ["--task_name", "stsb", "--metric_for_best_model", "accuracy"],
            "unknown metric_for_best_model 'accuracy'.*Known: loss, pearson, spearmanr$",
        ),
        (
            ["--metric_for_best_model", "eval_f1"],
            "unknown metric_for_best_model 'eval_f1'.*Known: loss, accuracy, cross_entropy, expected_calib",
        ),
        (["--task_name", "stsb", "--method", "saf"], "method 'saf' compares probabilities of classes, and task stsb"),
    ],
)
def test_errors(words, message):
    with pytest.raises(ValueError, match=message):
        parse(*words)


@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "mnli"])
def test_the_best_checkpoint_is_chosen_by_what_an_evaluation_finds(task):
    """The least cross-entropy and calibration error, though the Trainer takes the greatest of all but a loss."""
    answers = EvalPrediction(np.eye(4, get_task(task).num_labels), np.array([0, 1, 0, 1]))
    words = "--load_best_model_at_end --eval_strategy steps --save_strategy steps --task_name".split()
    for name in {"loss", *compute_metrics(get_task(task))(answers)} - {"collapsed"}:
        _, training = parse(*words, task, "--metric_for_best_model", name)
        is_lower = name in ("loss", "cross_entropy", "expected_calibration_error")
        assert training.greater_is_better is not is_lower, name
        given = ["--metric_for_best_model", f"eval_{name}", "--greater_is_better", str(is_lower)]
        assert parse(*words, task, *given)[1].greater_is_better is is_lower, name


def test_no_model():
    with pytest.raises(ValueError, match="no model is named; pass --model_name_or_path"):
        parse_glue_arguments(["--task_name", "rte"])


def test_no_task():
    with pytest.raises(ValueError, match="required: --task_name"):
        parse_glue_arguments(["--model_name_or_path", "bert"])


# --- what a run is known by ---


def test_result_arguments(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "glue").mkdir()
    arguments = result_arguments(*parse("--data_dir", "glue", "--token", "secret", "--method", "sam"))
    assert arguments["data_dir"] == str(tmp_path / "glue")
    assert arguments["model_name_or_path"] == "org/bert"
    assert (arguments["method"], arguments["rho"], arguments["theta"]) == ("sam", 0.01, None)
    assert arguments["num_processes"] == 1
    assert "secret" not in json.dumps(arguments)
    assert not {"output_dir", "logging_steps", "report_to", "save_steps", "do_eval", "fresh"} & arguments.keys()
    assert with_base_names(arguments)["data_dir"] == "glue"


def test_limits_bind_a_run_only_where_they_decide_about_the_training():
    def limits(*words):
        return {"max_eval_samples", "max_predict_samples"} & binding_arguments(*parse(*words)).keys()

    assert limits() == set()
    assert limits("--eval_strategy", "epoch") == {"max_eval_samples"}
    assert {"max_eval_samples", "max_predict_samples"} <= result_arguments(*parse()).keys()


def test_checkpoints_bind_a_run_whose_model_is_the_best_of_them():
    best = ["--load_best_model_at_end", "--eval_strategy", "epoch", "--save_strategy", "epoch"]
    assert {"save_strategy", "save_steps"} <= binding_arguments(*parse(*best)).keys()
    assert not {"save_strategy", "save_steps"} & binding_arguments(*parse()).keys()


def test_a_number_given_as_the_methods_own_makes_no_difference():
    assert result_arguments(*parse("--rho", "0.01")) == result_arguments(*parse())
    assert result_arguments(*parse("--rho", "0.02")) != result_arguments(*parse())
    assert result_arguments(*parse("--rho_warmup_steps", "0.1")) == result_arguments(*parse())
    assert result_arguments(*parse("--rho_warmup_steps", "0")) != result_arguments(*parse())


@pytest.mark.parametrize("method", ["none", "saf", "mesa"])
def test_what_perturbs_nothing_is_recorded_as_before_the_warm_up_of_rho(method):
    """So that a suite of before goes on with the runs of its base."""
    arguments = result_arguments(*parse("--method", method))
    assert arguments["rho"] == (0.0 if method == "none" else None)
    assert arguments["rho_warmup_steps"] == 0.0


def test_given_flags():
    needed = {"use_cpu", "task_name", "model_name_or_path"}
    assert set(given_flags(*parse("--method", "none"))) == needed | {"method"}
    words = ["--method", "asam", "--rho", "0.5", "--method_args", '{"eta": 0.1}', "--same_dropout", "false"]
    assert set(given_flags(*parse(*words))) == needed | {"method", "rho", "rho_warmup_steps", "eta", "same_dropout"}
    assert given_flags(*parse("--weight_decay", "0")) == given_flags(*parse())


@pytest.fixture
def models(tmp_path):
    """Two folders of one name with models that differ in one byte."""
    for place, weights in (("a", b"01"), ("b", b"02")):
        folder = tmp_path / place / "final"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(weights)
        (folder / "config.json").write_text("{}")
        (folder / "vocab.txt").write_text("[PAD]")
    return tmp_path


def fingerprint_of(*words):
    return recorded_arguments(*parse(*words))["model_fingerprint"]


def test_the_fingerprint_follows_what_is_read_of_a_model(models, monkeypatch):
    a, b = models / "a" / "final", models / "b" / "final"
    first = fingerprint_of("--model_name_or_path", f"{a}")
    assert len(first) == 16
    assert fingerprint_of("--model_name_or_path", f"{b}") != first
    assert fingerprint_of("--model_name_or_path", f"{a}", "--tokenizer_name", f"{b}") != first
    (a / "result.json").write_text("{}")  # of a run, whose folder it is
    monkeypatch.chdir(models)
    assert fingerprint_of("--model_name_or_path", "a/final") == first
    (b / "model.safetensors").write_bytes(b"01")
    assert fingerprint_of("--model_name_or_path", f"{b}") == first
    for name in ("vocab.txt", "config.json", "model.safetensors"):
        (a / name).write_text("other")
        assert fingerprint_of("--model_name_or_path", f"{a}") not in (None, first)
        (a / name).write_bytes((b / name).read_bytes())


def test_no_weights_are_read_of_a_configuration(models):
    a, b = models / "a" / "final", models / "b" / "final"
    scratch = ["--use_cpu", "--task_name", "rte", "--config_name"]
    found = [recorded_arguments(*parse_glue_arguments([*scratch, f"{folder}"])) for folder in (a, b)]
    assert found[0] == found[1]
    assert found[0]["model_fingerprint"] is not None


def test_models_of_the_hub_go_by_their_names():
    assert fingerprint_of() is None


def test_a_file_is_read_once_and_by_one_process(models, monkeypatch):
    opened = []
    monkeypatch.setattr(Path, "open", lambda path, *mode, of=Path.open: opened.append(path.name) or of(path, *mode))
    arguments = parse("--model_name_or_path", f"{models}/a/final")
    monkeypatch.setattr(VassoTrainingArguments, "process_index", 1)
    assert "model_fingerprint" not in binding_arguments(*arguments) | recorded_arguments(*arguments)
    assert opened == []
    monkeypatch.setattr(VassoTrainingArguments, "process_index", 0)
    assert binding_arguments(*arguments)["model_fingerprint"] == recorded_arguments(*arguments)["model_fingerprint"]
    assert sorted(opened) == ["config.json", "model.safetensors", "vocab.txt"]


def test_base_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").mkdir()
    assert base_name("model/") == base_name("./model") == "model"
    assert base_name("org/bert") == "org/bert"

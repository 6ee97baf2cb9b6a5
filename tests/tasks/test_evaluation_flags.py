"""Flags of the Trainer that also act on evaluation: each row is counted once all the same, or the flag is refused."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from scipy.stats import pearsonr
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, set_seed

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.training.arguments import VassoTrainingArguments

ROOT = Path(__file__).resolve().parents[2]
TWO_PROCESSES = ROOT / "glue_scripts" / "accelerate_configs" / "cpu_ddp.yaml"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TWO_PROCESSES)]

# Flags of the loader or of the loop; what only the newest or the oldest version of Transformers has is left out there.
HARMLESS = [
    words
    for words in (
        "--dataloader_drop_last",
        "--dataloader_drop_last --per_device_eval_batch_size 64",
        "--dataloader_num_workers 2 --dataloader_in_order false",
        "--dataloader_num_workers 2 --dataloader_persistent_workers --dataloader_prefetch_factor 3",
        "--dataloader_pin_memory false",
        "--eval_accumulation_steps 1",
        "--eval_delay 2",
        "--group_by_length",
        "--include_for_metrics inputs loss",
        "--train_sampling_strategy batch_rebalance",
        "--train_sampling_strategy group_by_length",
        "--train_sampling_strategy sequential",
    )
    if all(
        word.removeprefix("--") in VassoTrainingArguments.__dataclass_fields__
        for word in words.split()
        if word.startswith("--")
    )
]


@pytest.fixture(scope="module")
def model(tiny_bert, data_dir, tmp_path_factory) -> Path:
    """A regression whose answers to the task's test rows spread around 2.5."""
    folder = tmp_path_factory.mktemp("regression")
    set_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=1)
    tokenizer = AutoTokenizer.from_pretrained(tiny_bert)
    rows = [json.loads(line) for line in (data_dir / "stsb" / "test.jsonl").read_text().splitlines()]
    with torch.no_grad():
        pairs = [row["sentence1"] for row in rows], [row["sentence2"] for row in rows]
        answers = model(**tokenizer(*pairs, padding=True, return_tensors="pt")).logits
        model.classifier.weight /= answers.std()
        model.classifier.bias += 2.5 - answers.mean() / answers.std()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def glue(model, data_dir, tmp_path) -> list[str]:
    """12 rows in batches of 5."""
    return (
        f"glue --task_name stsb --model_name_or_path {model} --data_dir {data_dir} --report_to none "
        f"--per_device_eval_batch_size 5 --output_dir {tmp_path}/run"
    ).split()


def result(folder: Path) -> tuple:
    record = read_record(folder / "result.json")
    lines = (folder / "predictions_test.tsv").read_text().splitlines()[1:]
    numbers = [float(line.split("\t")[1]) for line in lines]
    assert [line.split("\t")[0] for line in lines] == [str(row) for row in range(12)]
    return record.eval_examples, record.metrics, numbers


@pytest.fixture
def plain(glue, tmp_path) -> tuple:
    assert main([*glue, "--do_eval", "--do_predict", "--output_dir", f"{tmp_path}/plain"]) == 0
    count, metrics, numbers = result(tmp_path / "plain")
    assert count == 12 and len(set(numbers)) > 6
    return count, pytest.approx(metrics, rel=1e-4), pytest.approx(numbers, abs=2e-3)  # sums depend on the batch


@pytest.mark.parametrize("words", HARMLESS)
def test_flags_of_loaders_are_for_the_training_alone(glue, plain, tmp_path, words):
    assert main([*glue, "--do_eval", "--do_predict", *words.split()]) == 0
    assert result(tmp_path / "run") == plain


@pytest.mark.parametrize("more", [[], ["--dry_run"]])
def test_batches_larger_than_the_training_are_refused_where_they_are_dropped(glue, tmp_path, capsys, more):
    words = ["--do_train", "--per_device_train_batch_size", "13", "--dataloader_drop_last", *more]
    assert main([*glue, *words]) == 2
    assert "dataloader_drop_last leaves nothing to train on: a batch takes 13 of the 12" in capsys.readouterr().err
    assert not (tmp_path / "run" / "run.json").exists()


def test_an_evaluation_within_the_training_counts_each_row(glue, tmp_path, data_dir):
    """As a loop finds it, one pair at a time."""
    words = "--do_train --do_eval --max_steps 2 --eval_strategy steps --eval_steps 2 --save_steps 2"
    assert main([*glue, *words.split(), "--per_device_train_batch_size", "5", "--dataloader_drop_last"]) == 0
    folder = tmp_path / "run"
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    rows = [json.loads(line) for line in (data_dir / "stsb" / "validation.jsonl").read_text().splitlines()]
    with torch.no_grad():
        answers = [
            model.eval()(**tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt")).logits.item()
            for row in rows
        ]
    expected = pearsonr(answers, [row["label"] for row in rows])[0]
    assert read_record(folder / "result.json").metrics["pearson"] == pytest.approx(expected, rel=1e-4)
    logged = json.loads((folder / "checkpoint-2" / "trainer_state.json").read_text())["log_history"]
    assert [entry["eval_pearson"] for entry in logged if "eval_pearson" in entry] == [
        pytest.approx(expected, rel=1e-4)
    ]


def test_splits_are_told_apart_by_workers_that_stay(glue, tiny_bert, tmp_path):
    scores = {}
    for name, words in {"plain": "", "kept": "--dataloader_num_workers 1 --dataloader_persistent_workers"}.items():
        flags = [*glue, "--task_name", "mnli", "--model_name_or_path", f"{tiny_bert}", "--do_eval", *words.split()]
        flags += ["--output_dir", f"{tmp_path}/{name}"]
        assert main(flags) == 0
        scores[name] = read_record(tmp_path / name / "result.json").metrics
    assert scores["kept"] == pytest.approx(scores["plain"])
    assert scores["plain"]["loss"] != pytest.approx(scores["plain"]["loss_mismatched"])


@pytest.mark.distributed
def test_two_processes_share_rows_whatever_the_training_does_with_batches(glue, plain, tmp_path):
    config = '{"split_batches": true, "even_batches": false, "dispatch_batches": true}'
    words = ["--do_eval", "--do_predict", "--accelerator_config", config, "--per_device_eval_batch_size", "4"]
    script = str(ROOT / "glue_scripts" / "run_glue.py")
    made = subprocess.run([*LAUNCH, script, *glue[1:], *words], capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    assert result(tmp_path / "run") == plain


@pytest.mark.parametrize("command", ["glue", "translate"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--auto_find_batch_size", "auto_find_batch_size is not supported here, got True; leave it out: "),
        (
            "--batch_eval_metrics",
            "batch_eval_metrics is not supported here, got True; leave it out: metrics are computed",
        ),
        ("--eval_do_concat_batches false", "eval_do_concat_batches is not supported here, got False; leave it out"),
        ("--eval_on_start --do_train", "eval_on_start needs something to evaluate on; add --do_eval, or leave it out"),
        ("--eval_use_gather_object", "eval_use_gather_object is not supported here, got True"),
        ("--fp16_full_eval --push_to_hub", "cast the model, and push_to_hub would push it so; push by a command"),
        ("--hub_strategy checkpoint --push_to_hub", "hub_strategy checkpoint pushes whole checkpoints, and pushed is"),
        ("--hub_strategy all_checkpoints --push_to_hub", "hub_strategy all_checkpoints pushes whole checkpoints"),
        ("--jit_mode_eval", "jit_mode_eval is not supported here, got True; leave it out"),
        (
            "--label_names start end",
            "label_names is not supported here, got ['start', 'end']; leave it out: the columns",
        ),
        ("--past_index 1", "past_index is not supported here, got 1; leave it out"),
        ("--prediction_loss_only", "prediction_loss_only is not supported here, got True; leave it out: metrics are"),
        ("--remove_unused_columns false", "remove_unused_columns is not supported here, got False; leave it out"),
        ("--use_legacy_prediction_loop", "use_legacy_prediction_loop is not supported here, got True; leave it out"),
    ],
)
def test_flags_without_a_place_are_refused(glue, translate, capsys, command, words, message):
    flag = words.split()[0].removeprefix("--")
    if flag not in VassoTrainingArguments.__dataclass_fields__:
        pytest.skip(f"this version of Transformers has no {flag}")
    assert main([*(glue if command == "glue" else translate), *words.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_batch_size_that_may_shrink_is_refused_from_files_too(glue, tmp_path, capsys):
    recipe, suite = tmp_path / "recipe.yaml", tmp_path / "suite.yaml"
    recipe.write_text("auto_find_batch_size: true\n")
    flags = "{config_name: x, auto_find_batch_size: true, max_steps: 2}"
    suite.write_text(f"{{name: s, output_dir: r, tasks: [rte], methods: [none], seeds: [0], defaults: {flags}}}\n")
    for words in ([*glue, "--config", str(recipe)], ["suite", str(suite), "--dry_run"]):
        assert main(words) == 2
        assert "pass --per_device_train_batch_size with one that fits" in capsys.readouterr().err


@pytest.mark.skipif(int(transformers.__version__[0]) < 5, reason="Transformers 4 does not tell")
@pytest.mark.parametrize(("launcher", "words"), [("bf16", []), ("no", ["--bf16"])])
def test_the_record_tells_of_the_launchers_precision(glue, tmp_path, monkeypatch, launcher, words):
    """`accelerate launch --mixed_precision` says it by this variable."""
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", launcher)
    precisions = []
    train = Trainer.train
    monkeypatch.setattr(
        Trainer,
        "train",
        lambda self, *given, **options: (
            precisions.append(self.accelerator.mixed_precision),
            train(self, *given, **options),
        )[1],
    )
    assert main([*glue, "--do_train", "--do_eval", "--max_steps", "1", *words]) == 0
    assert precisions == ["bf16"]
    record = read_record(tmp_path / "run" / "result.json")
    assert record.arguments["bf16"] is True
    assert "bf16" in record.given


# --- translations ---


@pytest.fixture
def translate(corpus, tmp_path) -> list[str]:
    """6 pairs to translate and 8 to evaluate on, in batches of few tokens."""
    return (
        f"translate --data_dir {corpus} --source_lang de --target_lang en --config_name tiny --max_tokens 40 "
        f"--num_beams 2 --vocab_size 60 --output_dir {tmp_path}/run --report_to none --disable_tqdm true "
        "--method none --max_steps 2"
    ).split()


@pytest.mark.parametrize("words", [words for words in HARMLESS if "drop_last" not in words and "length" not in words])
def test_translations_are_those_without_the_flag(translate, tmp_path, capsys, words):
    if "strategy" in words:
        assert main([*translate, *words.split()]) == 2
        assert "train_sampling_strategy is not supported here" in capsys.readouterr().err
        return
    found = []
    for name, more in {"plain": [], "run": words.split()}.items():
        assert main([*translate, "--output_dir", f"{tmp_path}/{name}", *more]) == 0
        record = read_record(tmp_path / name / "result.json")
        found.append(
            (record.eval_examples, record.metrics, (tmp_path / name / "generated_predictions.txt").read_text())
        )
    assert found[0] == found[1]
    assert found[0][0] == 6

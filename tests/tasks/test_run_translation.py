"""`hf-vasso translate` from end to end: what it writes, what it leaves out, and that it goes on where it was."""

import gzip
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import sacremoses
import torch
from huggingface_hub import ModelCard
from multi_bleu import multi_bleu
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks import translation_data
from hf_vasso.tasks.run_translation import TranslationRun
from hf_vasso.tasks.subwords import learn_tokenizer
from hf_vasso.tasks.translation_arguments import parse_translation_arguments
from hf_vasso.tasks.translation_data import load_corpus
from hf_vasso.tasks.translation_model import Architecture, new_model
from hf_vasso.tasks.translation_text import as_words
from hf_vasso.tasks.translation_trainer import TranslationTrainer

ROOT = Path(__file__).resolve().parents[2]
TWO_PROCESSES = ROOT / "glue_scripts" / "accelerate_configs" / "cpu_ddp.yaml"
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", str(TWO_PROCESSES)]
COUNTS = {"train": 40, "valid": 8, "test": 6}  # of the fixture `corpus`


@pytest.fixture
def flags(corpus, tmp_path):
    return [
        "translate",
        *("--data_dir", str(corpus), "--source_lang", "de", "--target_lang", "en", "--config_name", "tiny"),
        *("--max_tokens", "100", "--num_train_epochs", "1", "--num_beams", "2", "--vocab_size", "60"),
        *("--output_dir", str(tmp_path / "run"), "--report_to", "none", "--disable_tqdm", "true", "--method", "sam"),
        *("--max_source_length", "40", "--max_target_length", "40"),
    ]


def test_a_run_from_scratch(flags, corpus, tmp_path, capsys):
    assert main(flags) == 0
    folder = tmp_path / "run"
    record = read_record(folder / "result.json")
    assert (record.task, record.label, record.train_examples, record.eval_examples) == ("numbers", "sam", 40, 6)
    names = ["bleu", "bleu_tokenized", "chrf"]
    assert list(record.metrics)[:3] == names
    assert set(record.metrics) - set(names) == {f"validation_{name}" for name in (*names, "loss", "perplexity")}
    assert record.directions["validation_perplexity"] == "lower" and record.directions["bleu"] == "higher"
    assert record.cost["forward_passes"] == 2 * record.cost["steps"]
    references = (corpus / "test.en").read_text()
    assert (folder / "references.txt").read_text() == references
    assert (folder / "generated_predictions.txt").read_text().count("\n") == COUNTS["test"]
    words = ["references.txt", "-i", "generated_predictions.txt", "-w", "10"]
    printed = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert json.loads(printed)["score"] == pytest.approx(record.metrics["bleu"], abs=1e-9)
    printed = capsys.readouterr().out
    assert "nrefs:1|case:mixed|eff:no|tok:13a" in printed
    assert record.signatures["bleu"].startswith("nrefs:1|case:mixed|eff:no|tok:13a") and set(record.signatures) == set(
        names
    )
    assert f" tokens an epoch, {record.cost['padding_share']:.1%} of them padding\n" in printed
    card = ModelCard.load(folder / "README.md")
    assert (card.data.language, card.data.pipeline_tag) == (["de", "en"], "translation")
    results = {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results}
    assert results["test", "bleu"] == record.metrics["bleu"]
    assert results["validation", "perplexity"] == record.metrics["validation_perplexity"]
    assert f"bleu: `{record.signatures['bleu']}`" in card.text

    assert main(flags) == 0  # again
    assert "finished before" in capsys.readouterr().out
    model, tokenizer = AutoModelForSeq2SeqLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = model.generate(**tokenizer(["eins vier."], return_tensors="pt"), max_new_tokens=5)
    assert isinstance(tokenizer.decode(ids[0], skip_special_tokens=True), str)


def test_stages_one_after_the_other_are_one_command(flags, tmp_path):
    assert main(flags) == 0
    whole = read_record(tmp_path / "run" / "result.json")
    flags[flags.index("--output_dir") + 1] = str(tmp_path / "parts")
    for stage in ("--do_train", "--do_eval", "--do_predict"):
        assert main([*flags, stage]) == 0
    parts = read_record(tmp_path / "parts" / "result.json")
    assert parts.metrics == whole.metrics and list(parts.metrics) == list(whole.metrics)
    assert parts.data == whole.data


def test_a_trained_model_is_fine_tuned(flags, tmp_path):
    assert main([*flags, "--do_train"]) == 0
    words = [*flags, "--model_name_or_path", str(tmp_path / "run"), "--output_dir", str(tmp_path / "tuned")]
    words[words.index("--config_name") : words.index("--config_name") + 2] = []
    assert main(words) == 0
    assert read_record(tmp_path / "tuned" / "result.json").train_examples == COUNTS["train"]


def test_the_metric_of_papers_stands_first(flags, tmp_path):
    assert main([*flags, "--task_name", "iwslt14.de-en", "--max_steps", "1"]) == 0
    record = read_record(tmp_path / "run" / "result.json")
    assert list(record.metrics)[:3] == ["bleu_tokenized", "bleu", "chrf"]
    assert "|case:lc|eff:no|tok:none|" in record.signatures["bleu_tokenized"]


def test_the_best_checkpoint_by_bleu_is_kept(flags, tmp_path):
    """The learning rate grows until it undoes what was learned, so the best one is neither the first nor the last."""
    rate = ["--learning_rate", "1e-2", "--warmup_steps", "60", "--max_steps", "60"]
    best = ["--eval_strategy", "steps", "--save_strategy", "steps", "--eval_steps", "20", "--save_steps", "20"]
    assert main([*flags, *rate, *best, "--load_best_model_at_end", "--metric_for_best_model", "bleu"]) == 0
    folder = tmp_path / "run"
    checkpoints = [folder / f"checkpoint-{step}" for step in (20, 40, 60)]
    logs = json.loads((checkpoints[-1] / "trainer_state.json").read_text())["log_history"]
    scores = [entry["eval_bleu"] for entry in logs if "eval_bleu" in entry]
    assert len(set(scores)) == 3 and scores[1] == max(scores)
    kept, best = (load_file(path / "model.safetensors") for path in (folder, checkpoints[1]))
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert read_record(folder / "result.json").metrics["validation_bleu"] == pytest.approx(max(scores))


def test_averaged_checkpoints(flags, tmp_path, capsys):
    words = [*flags, "--save_strategy", "steps", "--save_steps", "2", "--max_steps", "8", "--do_train"]
    assert main([*words, "--average_checkpoints", "3"]) == 0
    assert "averaged: checkpoint-4, checkpoint-6, checkpoint-8" in capsys.readouterr().out
    kept = load_file(tmp_path / "run" / "model.safetensors")
    states = [load_file(tmp_path / "run" / f"checkpoint-{step}" / "model.safetensors") for step in (4, 6, 8)]
    for name, tensor in kept.items():
        assert torch.allclose(tensor, sum(state[name] for state in states) / 3, atol=1e-7)
    assert not torch.equal(kept["model.encoder.embed_tokens.weight"], states[-1]["model.encoder.embed_tokens.weight"])
    words = [*words, "--output_dir", str(tmp_path / "other"), "--average_checkpoints", "9"]
    for more, message in (
        (["--save_total_limit", "2"], "average_checkpoints=9 needs as many, and save_total_limit=2"),
        (
            ["--load_best_model_at_end", "--eval_strategy", "steps", "--eval_steps", "2"],
            "both say which weights are kept",
        ),
    ):
        assert main([*words, *more]) == 2
        assert message in capsys.readouterr().err


def test_the_tokens_of_a_training(flags, tmp_path):
    assert main([*flags, "--do_train", "--num_train_epochs", "3"]) == 0
    cost = json.loads((tmp_path / "run" / "run.json").read_text())["training"]["entries"]["cost"]
    pairs = load_corpus(parse_translation_arguments([*flags[1:]])[0], ["train"], print).splits["train"]
    tokens = sum(len(ids) for column in ("input_ids", "labels") for ids in pairs[column])
    assert cost["tokens_per_second"] * cost["train_seconds"] == pytest.approx(3 * tokens)
    assert 0 < cost["padding_share"] < 1


def test_limits_hold_before_words_are_found(flags, monkeypatch):
    counts = []
    monkeypatch.setattr(
        translation_data, "as_words", lambda pairs, corpus: counts.append(len(pairs)) or as_words(pairs, corpus)
    )
    limits = ["--max_train_samples", "10", "--holdout_samples", "8", "--max_eval_samples", "7"]
    data = load_corpus(parse_translation_arguments([*flags[1:], *limits])[0], ["train"], print)
    assert sorted(counts) == [7, 10]
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 10, "validation": 7}


def test_the_example_of_the_docs(corpus, tmp_path, monkeypatch):
    page = (ROOT / "docs" / "translation.md").read_text()
    command = re.search(r"^    hf-vasso (translate --data_dir my-corpus .*)$", page, re.MULTILINE)
    assert command is not None
    corpus.rename(tmp_path / "my-corpus")
    monkeypatch.chdir(tmp_path)
    assert main([*shlex.split(command[1]), "--disable_tqdm", "true", "--report_to", "none"]) == 0
    assert (tmp_path / "runs" / "my-corpus" / "tiny" / "vasso" / "seed-42" / "references.txt").exists()


def test_dry_run(flags, tmp_path, capsys):
    assert main([*flags, "--dry_run"]) == 0
    printed = capsys.readouterr().out
    assert main(flags) == 0
    cost = read_record(tmp_path / "run" / "result.json").cost
    assert f"steps              {cost['steps']}\n" in printed
    assert f"{cost['forward_passes']} forward and {cost['backward_passes']} backward" in printed


def test_what_cannot_be_trained_on(flags, corpus, tmp_path, capsys):
    lines = (corpus / "train.en").read_text().splitlines()
    lines[2], lines[7] = "", " ".join(["one", "two"] * 36)
    (corpus / "train.en").write_text("".join(f"{line}\n" for line in lines))
    assert main(flags) == 2
    assert "train: of 40 pairs 1 have an empty side (lines 3); mend them, or leave them out" in capsys.readouterr().err
    assert main([*flags, "--invalid_pairs", "drop"]) == 0
    printed = capsys.readouterr().out
    assert "1 have an empty side (lines 3); they are left out" in printed
    assert "1 have more than 40 and 40 tokens (lines 8); they are left out" in printed
    assert read_record(tmp_path / "run" / "result.json").train_examples == 38


@pytest.mark.distributed
def test_two_processes_write_one_record(flags, tmp_path):
    script = str(ROOT / "glue_scripts" / "run_translation.py")
    result = subprocess.run([*LAUNCH, script, *flags[1:], "--use_cpu"], capture_output=True, text=True, timeout=240)
    assert result.returncode == 0, result.stderr
    folder = tmp_path / "run"
    record = read_record(folder / "result.json")
    assert record.arguments["num_processes"] == 2 and record.eval_examples == COUNTS["test"]
    assert result.stdout.count("record: ") == 1
    for name in ("generated_predictions.txt", "references.txt"):
        assert (folder / name).read_text().count("\n") == COUNTS["test"]
    words = ["references.txt", "-i", "generated_predictions.txt", "-w", "10", "-b"]
    printed = subprocess.run(
        [sys.executable, "-m", "sacrebleu", *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout
    assert float(printed) == pytest.approx(record.metrics["bleu"], abs=1e-9)

    flags[flags.index("--output_dir") + 1] = str(tmp_path / "alone")
    alone = [*flags, "--model_name_or_path", str(folder), "--do_eval", "--do_predict"]
    alone[alone.index("--config_name") : alone.index("--config_name") + 2] = []
    assert main(alone) == 0  # one process finds the same scores of that model
    found = read_record(tmp_path / "alone" / "result.json").metrics
    assert found == pytest.approx(record.metrics, rel=1e-5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source_lang", "de"], "is none of iwslt14.de-en"),
        (["--task_name", "multi30k.de-en", "--source_lang", "fr"], "has de and en, got fr and"),
        (["--config_name", "huge", "--task_name", "multi30k.de-en"], "config_name must be one of tiny, small"),
        (["--invalid_pairs", "keep", "--task_name", "multi30k.de-en"], "invalid_pairs must be one of refuse, drop"),
        (["--num_beams", "0", "--task_name", "multi30k.de-en"], "num_beams must be at least 1, got 0"),
        (["--train_file", "x"], "unknown flag --train_file; pass --data_dir"),
    ],
)
def test_mistakes(words, message, corpus, capsys):
    assert main(["translate", "--data_dir", str(corpus), "--config_name", "tiny", *words]) == 2
    assert message in capsys.readouterr().err


def test_directions():
    common = ["--task_name", "multi30k.de-en", "--config_name", "tiny", "--use_cpu"]
    for words, languages in (
        ([], ("de", "en")),
        (["--source_lang", "en"], ("en", "de")),
        (["--target_lang", "de"], ("en", "de")),
    ):
        translation, training = parse_translation_arguments([*common, *words])
        assert translation.corpus.languages == languages
    assert training.output_dir == "runs/multi30k.de-en/tiny/vasso/seed-42"


def every_other(trainer, pairs):
    """Translations of which one of two is right: it stands for the next one, too."""
    return [pairs["labels"][row - row % 2] for row in range(len(pairs))]


def test_tokenized_scores_are_of_the_written_files(flags, tmp_path, monkeypatch):
    monkeypatch.setattr(TranslationTrainer, "translate", every_other)
    assert main([*flags, "--max_steps", "1", "--do_train", "--do_predict"]) == 0
    moses, folder = sacremoses.MosesTokenizer("en"), tmp_path / "run"
    tokens = [
        [moses.tokenize(line.lower()) for line in (folder / name).read_text().splitlines()]
        for name in ("generated_predictions.txt", "references.txt")
    ]
    score = read_record(folder / "result.json").metrics["bleu_tokenized"]
    assert score == pytest.approx(multi_bleu(*tokens), abs=1e-9) and 1 < score < 99


def test_the_metric_of_papers_is_of_the_words_of_the_corpus(flags, corpus, tmp_path, monkeypatch):
    """Moses does not find them again in the text: "well @-@ known" is read as one word."""
    for file in corpus.iterdir():
        words = [line.removesuffix(".").split() for line in file.read_text().splitlines()]
        lines = [f"The well @-@ known {' and '.join(of_line)} &apos;s {of_line[0]} @-@ day ." for of_line in words]
        file.write_text("".join(f"{line}\n" for line in lines * 3))
    monkeypatch.setattr(TranslationTrainer, "translate", every_other)
    longer = ["--max_source_length", "200", "--max_target_length", "200", "--max_tokens", "400", "--max_steps", "1"]
    assert main([*flags, *longer, "--task_name", "iwslt14.de-en", "--do_train", "--do_predict"]) == 0
    words = [line.lower().split() for line in (corpus / "test.en").read_text().splitlines()]
    expected = multi_bleu([words[row - row % 2] for row in range(len(words))], words)
    metrics = read_record(tmp_path / "run" / "result.json").metrics
    assert metrics["bleu_tokenized"] == pytest.approx(expected, abs=1e-9)
    assert 1 < expected < 99 and abs(metrics["bleu"] - expected) > 1


@pytest.mark.realdata
@pytest.mark.slow
def test_official_references_are_scored_as_papers_do(real_data, tmp_path, monkeypatch):
    """Against themselves they have 100; a disturbed copy has what multi-bleu.perl finds in the files' own words."""
    count = 1000
    words = {}
    for split in ("valid", "test"):
        for language in ("de", "en"):
            with gzip.open(real_data / "translation" / "iwslt14.de-en" / f"{split}.{language}.gz", "rt") as lines:
                words[split, language] = [line.lower() for line in lines][:count]
    sentences = [line for lines in words.values() for line in lines]
    tokenizer = learn_tokenizer(sentences, "de", "en", 1000, lower_case=True)
    size = Architecture(layers=1, width=8, feed_forward=8, heads=2, dropout=0.0)
    for part in (tokenizer, new_model(size, tokenizer, longest=8)):
        part.save_pretrained(tmp_path / "model")
    names = ["--task_name", "iwslt14.de-en", "--model_name_or_path", str(tmp_path / "model")]
    places = ["--data_dir", str(real_data / "translation"), "--output_dir", str(tmp_path / "run")]
    limits = ["--do_eval", "--max_eval_samples", str(count), "--do_predict", "--max_predict_samples", str(count)]
    run = TranslationRun(*parse_translation_arguments([*names, *places, *limits, "--report_to", "none"]))
    run.load(run.arguments, trains=False)
    monkeypatch.setattr(run.trainer, "token_loss", lambda pairs: 0.0)  # the model is not asked

    monkeypatch.setattr(TranslationTrainer, "translate", lambda trainer, pairs: pairs["labels"][:])
    metrics = {**run.predict()["metrics"], **run.evaluate()["metrics"]}
    for name in ("bleu_tokenized", "bleu", "chrf"):
        assert [metrics[name], metrics[f"validation_{name}"]] == pytest.approx([100, 100])

    monkeypatch.setattr(TranslationTrainer, "translate", every_other)
    metrics = {**run.predict()["metrics"], **run.evaluate()["metrics"]}
    for split, name in (("test", "bleu_tokenized"), ("valid", "validation_bleu_tokenized")):
        references = [line.split() for line in words[split, "en"]]
        expected = multi_bleu([references[row - row % 2] for row in range(count)], references)
        assert metrics[name] == pytest.approx(expected, abs=1e-9)

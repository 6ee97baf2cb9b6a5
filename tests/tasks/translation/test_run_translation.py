"""`hf-vasso translate` from end to end: what it writes, what it leaves out, and that it goes on where it was."""

import gzip
import json
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import datasets
import pytest
import sacremoses
import torch
from huggingface_hub import ModelCard
from multi_bleu import multi_bleu
from safetensors.torch import load_file
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, BartConfig, BartForConditionalGeneration

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks.interruption import StopOnSignal
from hf_vasso.tasks.translation import data as translation_data
from hf_vasso.tasks.translation.arguments import parse_translation_arguments
from hf_vasso.tasks.translation.data import load_corpus
from hf_vasso.tasks.translation.model import Architecture, new_model
from hf_vasso.tasks.translation.model_positions import longest_translation
from hf_vasso.tasks.translation.run_translation import TranslationRun
from hf_vasso.tasks.translation.subwords import learn_tokenizer
from hf_vasso.tasks.translation.text import prepare
from hf_vasso.tasks.translation.trainer import TranslationTrainer

ROOT = Path(__file__).resolve().parents[3]
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
    results = json.loads((folder / "all_results.json").read_text())
    assert results["predict_bleu"] == record.metrics["bleu"] and "train_samples_per_second" not in results
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
    code = re.search(r"```python\n(.*?)```", card.text, re.DOTALL)
    exec(code[1].replace("FOLDER", str(folder)).replace("...", "eins vier."), names := {})  # noqa: S102
    assert names["longest"] == int(1.2 * names["sources"]["input_ids"].shape[1]) + 10
    assert capsys.readouterr().out.startswith("[")
    endless = names["model"].generate(**names["sources"], eos_token_id=None)  # by the saved settings alone
    assert endless.shape[1] == 1 + int(1.2 * 40) + 10


def test_a_folder_with_the_name_of_an_architecture_is_not_taken_for_it(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(flags) == 0
    (tmp_path / "tiny").mkdir()
    shutil.copy(tmp_path / "run" / "config.json", tmp_path / "tiny")
    assert main(flags) == 0
    assert "finished before" in capsys.readouterr().out


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
    tuned = read_record(tmp_path / "tuned" / "result.json")
    assert tuned.train_examples == COUNTS["train"]
    assert tuned.arguments["model_fingerprint"] is not None
    assert read_record(tmp_path / "run" / "result.json").arguments["model_fingerprint"] is None


def test_the_metric_of_papers_stands_first(flags, tmp_path, capsys):
    assert main([*flags, "--task_name", "iwslt14.de-en", "--max_steps", "1"]) == 0
    printed = capsys.readouterr().out
    assert "train: 40 pairs, and iwslt14.de-en has 160239: scores on it are of something else" in printed
    record = read_record(tmp_path / "run" / "result.json")
    assert list(record.metrics)[:3] == ["bleu_tokenized", "bleu", "chrf"]
    assert "|case:lc|eff:no|tok:none|" in record.signatures["bleu_tokenized"]


def test_the_best_checkpoint_by_bleu_is_kept(flags, tmp_path):
    """The learning rate grows until it undoes what was learned, so the best one is neither the first nor the last."""
    rate = "--learning_rate 1e-2 --warmup_steps 60 --max_steps 60 --rho 0.05 --rho_warmup_steps 0".split()
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
        translation_data, "prepare", lambda pairs, *others: counts.append(len(pairs)) or prepare(pairs, *others)
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
    assert "train: of 40 pairs 1 have an empty side (line 3); mend them, or leave them out" in capsys.readouterr().err
    assert main([*flags, "--invalid_pairs", "drop"]) == 0
    printed = capsys.readouterr().out
    assert "1 have an empty side (line 3); they are left out" in printed
    assert "1 have more than 40 and 40 tokens (line 8); they are left out" in printed
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
        (["--source_lang", "de", "--target_lang", "de"], "source_lang and target_lang are both 'de'; name two"),
        (["--dataset_name", "me/mine"], "data_dir and dataset_name both say where the pairs are; give one"),
        (["--source_lang_code", "de_DE", "--task_name", "multi30k.de-en"], "source_lang_code is for a pretrained"),
        (["--do_predict", "--task_name", "multi30k.de-en"], "no model has been trained here; add --do_train, or name"),
        (["--tokenizer_name", "x", "--task_name", "multi30k.de-en"], "tokenizer_name is for a pretrained model; pass"),
        (["--bf16_full_eval", "--push_to_hub", "--task_name", "multi30k.de-en"], "cast the model, and push_to_hub"),
        (
            ["--average_checkpoints", "2", "--resume_from_checkpoint", "x", "--task_name", "multi30k.de-en"],
            "average_checkpoints takes the checkpoints of its own folder",
        ),
        (["--forced_bos_token", "en_XX"], "unknown flag --forced_bos_token; pass --target_lang_code"),
        (
            ["--generation_num_beams", "7", "--task_name", "multi30k.de-en"],
            "generation_num_beams is not supported here",
        ),
        (
            ["--metric_for_best_model", "accuracy", "--task_name", "multi30k.de-en"],
            "unknown metric_for_best_model 'accuracy'. Known: bleu, bleu_tokenized, chrf, loss, perplexity",
        ),
        (["--auto_find_batch_size", "--task_name", "multi30k.de-en"], "as many pairs as go into"),
        (["--dataloader_drop_last", "--task_name", "multi30k.de-en"], "no batch is left over, as each has as many"),
    ],
)
def test_mistakes(words, message, corpus, capsys):
    assert main(["translate", "--data_dir", str(corpus), "--config_name", "tiny", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_hub_names_are_no_corpora():
    with pytest.raises(
        ValueError, match="multi30k.de-en is a corpus with data of its own; leave --dataset_name me/mu"
    ):
        parse_translation_arguments(["--dataset_name", "me/multi30k.de-en", "--config_name", "tiny"])
    words = ["--task_name", "mine", "--source_lang", "de", "--target_lang", "en", "--config_name", "tiny", "--use_cpu"]
    corpus = parse_translation_arguments([*words, "--dataset_name", "me/multi30k.de-en"])[0].corpus
    assert (corpus.name, corpus.hub_id) == ("mine", "me/multi30k.de-en")


@pytest.mark.parametrize(
    ("metric", "greater"),
    [("bleu", True), ("chrf", True), ("perplexity", False), ("eval_perplexity", False), ("loss", False)],
)
def test_the_best_checkpoint_has_the_least_perplexity(metric, greater):
    common = ["--task_name", "multi30k.de-en", "--config_name", "tiny", "--use_cpu", "--load_best_model_at_end"]
    common += ["--eval_strategy", "steps", "--save_strategy", "steps", "--metric_for_best_model", metric]
    assert parse_translation_arguments(common)[1].greater_is_better is greater
    assert parse_translation_arguments([*common, "--greater_is_better", "true"])[1].greater_is_better is True


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


@pytest.fixture
def learning(flags):
    """Flags with which the model learns enough for scores that are not zero."""
    return [*flags, "--method", "none", "--max_steps", "40", "--learning_rate", "3e-3", "--num_beams", "1"]


def test_an_evaluation_after_the_prediction_keeps_its_scores(learning, tmp_path, capsys):
    assert main(learning) == 0
    whole = read_record(tmp_path / "run" / "result.json")
    parts = [*learning, "--output_dir", str(tmp_path / "parts")]
    for stages in (["--do_train"], ["--do_predict"], ["--do_eval"]):
        assert main([*parts, *stages]) == 0
    record = read_record(tmp_path / "parts" / "result.json")
    for name in ("metrics", "signatures", "eval_examples", "data"):
        assert getattr(record, name) == getattr(whole, name)
    assert list(record.metrics) == list(whole.metrics) and record.metrics["chrf"] > 0
    capsys.readouterr()
    for stages in ([], ["--do_predict"], ["--do_eval"]):
        assert main([*parts, *stages]) == 0
    assert capsys.readouterr().out.count("finished before") == 3

    assert main([*parts, "--do_predict", "--max_predict_samples", "2"]) == 0  # judged anew, and evaluated as before
    fewer = read_record(tmp_path / "parts" / "result.json")
    assert f"chrf: {fewer.metrics['chrf']:.2f} (" in capsys.readouterr().out
    assert (fewer.eval_examples, fewer.metrics["chrf"] == record.metrics["chrf"]) == (2, False)
    assert fewer.metrics["validation_chrf"] == record.metrics["validation_chrf"]


def test_scores_that_a_record_has_lost_are_found_again(learning, tmp_path):
    assert main(learning) == 0
    file = tmp_path / "run" / "result.json"
    record = read_record(file)
    content = json.loads(file.read_text())
    for entry in ("metrics", "directions"):
        content[entry] = {name: value for name, value in content[entry].items() if name.startswith("validation_")}
    file.write_text(json.dumps(content))
    assert main([*learning, "--do_predict"]) == 0
    assert read_record(file).metrics == record.metrics


def test_a_new_model_takes_sentences_longer_than_any_it_was_made_for(flags, corpus, tmp_path):
    assert main([*flags, "--do_train"]) == 0
    for language, word in (("de", "eins"), ("en", "one")):
        with (corpus / f"test.{language}").open("a") as file:
            file.write(" ".join([word] * 200) + "\n")
    assert main([*flags, "--do_predict"]) == 0  # with the model of before
    assert (tmp_path / "run" / "generated_predictions.txt").read_text().count("\n") == COUNTS["test"] + 1
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["max_position_embeddings"] == 160 < 200
    assert main([*flags, "--output_dir", str(tmp_path / "whole")]) == 0
    before, whole = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "whole"))
    assert all(torch.equal(whole[name], before[name]) for name in before)  # it began with the same weights
    names = ("bleu", "chrf")
    parts, whole = (read_record(tmp_path / name / "result.json").metrics for name in ("run", "whole"))
    assert [parts[name] for name in names] == [whole[name] for name in names]


def test_a_pretrained_model_that_cannot_take_a_sentence_is_refused_before_it_trains(flags, corpus, tmp_path, capsys):
    tokenizer = load_corpus(parse_translation_arguments(flags[1:])[0], ["train"], print).tokenizer
    size = {f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads")}
    tokens = {f"{name}_token_id": tokenizer.eos_token_id for name in ("bos", "decoder_start", "forced_eos", "eos")}
    config = BartConfig(
        vocab_size=len(tokenizer), d_model=16, max_position_embeddings=30, pad_token_id=tokenizer.pad_token_id,
        **size, **tokens,
    )  # fmt: skip
    model = BartForConditionalGeneration(config)
    model.save_pretrained(tmp_path / "bart")
    tokenizer.save_pretrained(tmp_path / "bart")
    lengths = ["--max_source_length", "90", "--max_target_length", "90"]
    words = [*flags, *lengths, "--model_name_or_path", str(tmp_path / "bart")]
    words[words.index("--config_name") : words.index("--config_name") + 2] = []
    lines = {name: (corpus / name).read_text() for name in ("valid.en", "test.de", "train.de")}

    def longer(name, word, count):
        for other, text in lines.items():
            (corpus / other).write_text(text)
        kept = lines[name].splitlines()
        kept[2] = " ".join([word] * count)
        (corpus / name).write_text("".join(f"{line}\n" for line in kept))

    for name, word, split, count, remedy in (
        ("test.de", "eins", "test", 6, "shorten or split them"),
        ("valid.en", "one", "validation", 8, "shorten or split them"),
        ("train.de", "eins", "train", 40, "lower --max_source_length and --max_target_length"),
    ):
        longer(name, word, 35)
        assert main(words) == 2
        message = (
            f"{split}: of {count} pairs 1 have more than 30 tokens (pairs 3), and the model was made for no more; "
        )
        assert message + remedy in capsys.readouterr().err
        assert not (tmp_path / "run").exists()
    assert [longest_translation(model, source) for source in (5, 29)] == [16, 30]  # cut where the positions end


def test_an_interruption_changes_no_average(flags, tmp_path, monkeypatch, capsys):
    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 4:
            self._receive(signal.SIGTERM, None)

    words = [*flags, "--do_train", "--max_steps", "6", "--average_checkpoints", "2", "--save_steps"]
    with monkeypatch.context() as patched:
        patched.setattr(StopOnSignal, "on_step_begin", interrupt)
        with pytest.raises(SystemExit):
            main([*words, "3", "--save_total_limit", "2"])
    assert (tmp_path / "run" / "checkpoint-5").exists()
    assert main([*words, "2"]) == 2
    assert "--save_steps: was 3, is 2" in capsys.readouterr().err
    assert main([*words, "3", "--save_total_limit", "2"]) == 0
    assert "averaged: checkpoint-3, checkpoint-6" in capsys.readouterr().out
    assert main([*words, "3", "--output_dir", str(tmp_path / "straight")]) == 0
    kept, straight = (load_file(tmp_path / name / "model.safetensors") for name in ("run", "straight"))
    assert all(torch.equal(kept[name], straight[name]) for name in kept)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--save_steps", "30"], "needs as many, and the training saves 1, after steps 6: save more often"),
        (["--save_steps", "0.9"], "needs as many, and the training saves 1, after steps 6: save more often"),
        (["--save_strategy", "no"], "needs checkpoints at regular steps, and save_strategy is no; pass"),
    ],
)
def test_what_cannot_be_averaged_is_said_before_the_training(flags, more, message, capsys):
    assert main([*flags, "--do_train", "--max_steps", "6", "--average_checkpoints", "2", *more]) == 2
    assert message in capsys.readouterr().err


def test_epochs_are_averaged(flags, tmp_path, capsys):
    words = ["--do_train", "--save_strategy", "epoch", "--num_train_epochs", "2.5", "--average_checkpoints", "2"]
    assert main([*flags, *words]) == 0
    steps = sorted(int(path.name.rpartition("-")[2]) for path in (tmp_path / "run").glob("checkpoint-*"))
    assert len(steps) == 3 and steps[1] == 2 * steps[0] < steps[2]
    assert f"averaged: checkpoint-{steps[1]}, checkpoint-{steps[2]}" in capsys.readouterr().out


def test_a_configuration_of_ones_own(flags, tmp_path):
    size = {
        f"{side}_{name}": 1 for side in ("encoder", "decoder") for name in ("layers", "attention_heads", "ffn_dim")
    }
    BartConfig(d_model=8, max_position_embeddings=64, vocab_size=5, **size).save_pretrained(tmp_path / "config")
    flags[flags.index("--config_name") + 1] = str(tmp_path / "config")
    assert main([*flags, "--max_steps", "2"]) == 0
    model = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "run")
    assert isinstance(model, BartForConditionalGeneration)
    assert (model.config.d_model, model.config.vocab_size) == (8, len(tokenizer))
    assert model.config.decoder_start_token_id == tokenizer.eos_token_id
    assert read_record(tmp_path / "run" / "result.json").arguments["model_fingerprint"] is not None


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
    sentences = {language: words["valid", language] + words["test", language] for language in ("de", "en")}
    tokenizer = learn_tokenizer(datasets.Dataset.from_dict(sentences), "de", "en", 1000, lower_case=True)
    size = Architecture(layers=1, width=8, feed_forward=8, heads=2, dropout=0.0)
    for part in (tokenizer, new_model(size, tokenizer, longest=8)):
        part.save_pretrained(tmp_path / "model")
    names = ["--task_name", "iwslt14.de-en", "--model_name_or_path", str(tmp_path / "model")]
    places = ["--data_dir", str(real_data / "translation"), "--output_dir", str(tmp_path / "run")]
    limits = ["--do_eval", "--max_eval_samples", str(count), "--do_predict", "--max_predict_samples", str(count)]
    run = TranslationRun(*parse_translation_arguments([*names, *places, *limits, "--report_to", "none"]))
    run.load(run.arguments, trains=False)
    monkeypatch.setattr(run.trainer, "token_loss", lambda pairs: 0.0)  # the model is not asked
    (tmp_path / "run").mkdir(exist_ok=True)
    run.folder.begin({}, fresh=False)

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


def test_a_training_without_a_record_gets_one(flags, tmp_path):
    assert main([*flags, "--do_train"]) == 0
    (tmp_path / "run" / "result.json").unlink()  # as if it was killed in between
    assert main([*flags, "--do_train"]) == 0
    assert read_record(tmp_path / "run" / "result.json").train_examples == COUNTS["train"]


def test_the_benchmark_of_batches(corpus, monkeypatch, capsys):
    """That it runs; its figures are of real data."""
    script = ROOT / "benchmarks" / "token_batches.py"
    flags = ["--data_dir", str(corpus), "--config_name", "tiny", "--max_tokens", "100"]
    monkeypatch.setattr(sys, "argv", [str(script), *flags, "--rounds", "2", "--steps", "1"])
    runpy.run_path(str(script), run_name="__main__")
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [line["contestant"] for line in printed] == ["none", "none, batches of pairs", "sam", "vasso"]
    assert all(line["n"] == 2 and line["tokens_per_second"] > 0 for line in printed)

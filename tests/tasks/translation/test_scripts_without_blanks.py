"""`hf-vasso translate` into languages without blanks between words: which tokenizer scores, and what is refused."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from hf_vasso.cli import main
from hf_vasso.results.record import read_record

DIGITS = dict(zip(["null", "eins", "zwei", "drei", "vier"], "零一二三四", strict=True))


@pytest.fixture
def flags(tmp_path):
    """Sentences of German numbers and the same in Chinese, without blanks."""
    data = tmp_path / "numbers"
    data.mkdir()
    words = list(DIGITS)
    for split, count in (("train", 30), ("valid", 6), ("test", 6)):
        lines = [[words[(n * k + k + n) % 5] for k in range(3 + n % 4)] for n in range(count)]
        (data / f"{split}.de").write_text("".join(f"{' '.join(line)} .\n" for line in lines))
        (data / f"{split}.zh_CN").write_text("".join(f"{''.join(map(DIGITS.get, line))}。\n" for line in lines))
    return [
        "translate",
        *("--data_dir", str(data), "--source_lang", "de", "--target_lang", "zh_CN", "--config_name", "tiny"),
        *("--max_tokens", "60", "--num_train_epochs", "8", "--learning_rate", "5e-3", "--num_beams", "1"),
        *("--vocab_size", "40", "--output_dir", str(tmp_path / "run"), "--report_to", "none", "--method", "none"),
        *("--max_source_length", "20", "--max_target_length", "20", "--disable_tqdm", "true"),
    ]


def command_finds(folder: Path, *words: str) -> dict:
    command = [sys.executable, "-m", "sacrebleu", "references.txt", "-i", "generated_predictions.txt", "-w", "10"]
    return json.loads(subprocess.run([*command, *words], cwd=folder, capture_output=True, check=True).stdout)


def test_a_chinese_target_is_scored_as_by_the_command(flags, tmp_path):
    flags += ["--eval_strategy", "epoch", "--save_strategy", "epoch"]
    assert main([*flags, "--load_best_model_at_end", "--metric_for_best_model", "bleu"]) == 0
    record = read_record(tmp_path / "run" / "result.json")
    found = command_finds(tmp_path / "run", "-l", "de-zh")
    assert record.metrics["bleu"] == pytest.approx(found["score"], abs=1e-9) and record.metrics["bleu"] > 1
    assert record.signatures["bleu"] == found["signature"]
    words = command_finds(tmp_path / "run", "-tok", "zh", "-lc", "-s", "none")
    assert record.metrics["bleu_tokenized"] == pytest.approx(words["score"], abs=1e-9)
    assert record.signatures["bleu_tokenized"] == words["signature"]
    (*_, last) = sorted((tmp_path / "run").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    state = json.loads((last / "trainer_state.json").read_text())
    assert (
        record.metrics["validation_bleu"] == pytest.approx(state["best_metric"], abs=1e-9) and state["best_metric"] > 1
    )


def test_the_tokenizer_can_be_chosen(flags, tmp_path, capsys):
    assert main([*flags, "--bleu_tokenizer", "char"]) == 0
    record = read_record(tmp_path / "run" / "result.json")
    found = command_finds(tmp_path / "run", "-tok", "char")
    assert (record.metrics["bleu"], record.signatures["bleu"]) == (pytest.approx(found["score"]), found["signature"])
    assert main([*flags, "--bleu_tokenizer", "chars"]) == 2
    assert "unknown bleu_tokenizer 'chars', did you mean 'char'?" in capsys.readouterr().err


def test_a_missing_package_is_named_before_the_training(flags, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(import_module("sacrebleu.tokenizers.tokenizer_ja_mecab"), "MeCab", None)
    for path in (tmp_path / "numbers").glob("*.zh_CN"):
        path.rename(path.with_suffix(".ja"))
    flags[flags.index("zh_CN")] = "ja"
    assert main(flags) == main([*flags, "--dry_run"]) == 2
    error = capsys.readouterr().err
    assert "pip install sacrebleu[ja]" in error and "--bleu_tokenizer" in error
    assert not (tmp_path / "run").exists()
    assert main([*flags, "--do_train", "--dry_run"]) == 0  # what does not score does not need it


def test_a_record_of_an_earlier_version_is_scored_again(flags, tmp_path, capsys):
    assert main(flags) == 0
    path = tmp_path / "run" / "result.json"
    scored, weights = path.read_text(), (tmp_path / "run" / "model.safetensors").read_bytes()
    path.write_text(scored.replace("tok:zh", "tok:13a").replace('"bleu_tokenizer": null,\n', ""))
    capsys.readouterr()
    assert main(flags) == 0
    assert "BLEU was computed with the tokenizer 13a, and is now computed again with zh" in capsys.readouterr().out
    now, before = json.loads(path.read_text()), json.loads(scored)
    assert (now["metrics"], now["signatures"]) == (before["metrics"], before["signatures"])
    assert (tmp_path / "run" / "model.safetensors").read_bytes() == weights
    assert main(flags) == 0
    assert "finished before" in capsys.readouterr().out

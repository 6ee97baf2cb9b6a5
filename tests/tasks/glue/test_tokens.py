"""Decoders without a padding token, texts longer than a model's positions: scores are those of one text at a time."""

import json
import math
import re
import runpy
from pathlib import Path

import pytest
import torch
import transformers
from datasets import Dataset
from tokenizers.processors import TemplateProcessing
from transformers import (
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    set_seed,
)

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks.glue.probe import ProbeConfig, load_backbone, pooled_features
from hf_vasso.tasks.glue.tokenizer import fit_tokenizer
from hf_vasso.tasks.positions import model_positions

SCRIPT = Path(__file__).parents[3] / "glue_scripts" / "run_glue_no_trainer.py"
POSITIONS = 32
PADDED = "the tokenizer has no padding token: batches are padded with its end token, [SEP]\n"
SIZES = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "max_position_embeddings": POSITIONS,
    "initializer_range": 0.5,  # so that answers differ from text to text
}


def config_of(kind: str, **options):
    return getattr(transformers, f"{kind}Config")(**{**SIZES, "eos_token_id": 3, "bos_token_id": 3, **options})


@pytest.fixture
def words(tiny_bert):
    """The tiny vocabulary, in which [SEP] is the token 3, without a limit and without a padding token."""

    def make(template: str = "$A", **options) -> PreTrainedTokenizerFast:
        backend = AutoTokenizer.from_pretrained(tiny_bert).backend_tokenizer
        backend.post_processor = TemplateProcessing(
            single=template, pair=f"{template} $B", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=backend, **{"unk_token": "[UNK]", "eos_token": "[SEP]", **options}
        )

    return make


@pytest.fixture
def write(words, tmp_path):
    """Write a model with its tokenizer."""

    def write(model, tokenizer) -> Path:
        model.save_pretrained(tmp_path / "model")
        tokenizer.save_pretrained(tmp_path / "model")
        return tmp_path / "model"

    return write


@pytest.fixture
def flags(data_dir, tmp_path):
    return (
        f"glue --task_name stsb --model_name_or_path {tmp_path}/model --data_dir {data_dir} --report_to none "
        f"--per_device_train_batch_size 4 --per_device_eval_batch_size 5 --output_dir {tmp_path}/run --max_steps 2"
    ).split()


def predictions(folder: Path) -> list[float]:
    return [float(line.split("\t")[1]) for line in (folder / "predictions_test.tsv").read_text().splitlines()[1:]]


def one_at_a_time(folder: Path, data: Path) -> list[float]:
    """What a saved regression answers, as GLUE's server reads it, to each pair alone."""
    model, tokenizer = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    answers = []
    for line in data.read_text().splitlines():
        row = json.loads(line)
        with torch.no_grad():
            answers.append(model.eval()(**tokenizer(row["sentence1"], row["sentence2"], return_tensors="pt")).logits)
    return [min(max(answer.item(), 0.0), 5.0) for answer in answers]


# --- padding ---


@pytest.mark.parametrize("padding", [{}, {"pad_token": "[PAD]", "padding_side": "left"}])
@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_a_decoder_is_evaluated_as_one_text_at_a_time(words, write, flags, data_dir, tmp_path, capsys, kind, padding):
    set_seed(0)
    tokenizer = words(**padding)
    head = AutoModelForSequenceClassification.from_config(config_of(kind, vocab_size=len(tokenizer), num_labels=1))
    assert head.config.pad_token_id is None
    expected = one_at_a_time(write(head, tokenizer), data_dir / "stsb" / "test.jsonl")
    assert len(set(expected)) > 4
    assert main([*flags, "--do_eval", "--do_predict"]) == 0
    assert predictions(tmp_path / "run") == pytest.approx(expected, abs=2e-3)
    assert capsys.readouterr().out.count(PADDED) == (not padding)


@pytest.mark.parametrize("kind", ["GPT2", "Llama"])
def test_a_trained_decoder_names_its_padding_token(words, write, flags, data_dir, tmp_path, capsys, kind):
    set_seed(0)
    tokenizer = words()
    write(AutoModel.from_config(config_of(kind, vocab_size=len(tokenizer))), tokenizer)
    assert main([*flags, "--do_train", "--do_eval", "--do_predict"]) == 0
    folder = tmp_path / "run"
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] == 3
    assert AutoTokenizer.from_pretrained(folder).pad_token == "[SEP]"
    expected = one_at_a_time(folder, data_dir / "stsb" / "test.jsonl")
    assert predictions(folder) == pytest.approx(expected, abs=2e-3)
    assert capsys.readouterr().out.count(PADDED) == 1


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False:UserWarning")  # of PEFT, which then sets it
def test_a_decoder_with_adapters_and_under_a_probe(words, write, flags, tmp_path, capsys):
    set_seed(0)
    tokenizer = words()
    write(AutoModel.from_config(config_of("GPT2", vocab_size=len(tokenizer))), tokenizer)
    for name, kind in {"lora": "--use_peft --lora_target_modules c_attn", "probe": "--probe_hidden_size 4"}.items():
        run = [*flags, *kind.split(), "--output_dir", f"{tmp_path}/{name}"]
        assert main([*run, "--do_train", "--do_eval"]) == 0
        assert capsys.readouterr().out.count(PADDED) == 1
        metrics = read_record(tmp_path / name / "result.json").metrics
        assert main([*run, "--do_eval", "--do_predict", "--per_device_eval_batch_size", "1"]) == 0
        (tmp_path / name / "result.json").unlink()
        assert main([*run, "--do_eval", "--per_device_eval_batch_size", "1"]) == 0
        assert read_record(tmp_path / name / "result.json").metrics == pytest.approx(metrics, rel=1e-3)


def test_features_of_a_decoder_do_not_depend_on_padding(words, write, tmp_path):
    set_seed(0)
    tokenizer = words()
    folder = write(AutoModel.from_config(config_of("GPT2", vocab_size=len(tokenizer))), tokenizer)
    backbone = load_backbone(ProbeConfig(backbone=str(folder)), {}, str(folder))
    fit_tokenizer(tokenizer, backbone, print)
    texts = ["the keys seem famous", "the narrow mirrors beside the keys seem famous"]
    found = pooled_features(
        {"x": Dataset.from_dict(dict(tokenizer(texts)))}, tokenizer, backbone, torch.device("cpu")
    )["x"]
    for text, features in zip(texts, found["features"], strict=True):
        with torch.no_grad():
            states = AutoModel.from_pretrained(folder).eval()(**tokenizer(text, return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(features, states[0].mean(0))


@pytest.mark.parametrize("padding", ["", "--pad_to_max_length"])
def test_a_text_without_a_token_is_one_end_token(words, write, flags, tmp_path, padding):
    """As the head of a decoder reads it within a padded batch."""
    set_seed(0)
    tokenizer = words()
    write(AutoModelForSequenceClassification.from_config(config_of("GPT2", vocab_size=len(tokenizer))), tokenizer)
    folder = tmp_path / "empty"
    (folder / "agreement").mkdir(parents=True)
    rows = [{"sentence": text, "label": number % 2} for number, text in enumerate(["", "the keys seem famous", " "])]
    for split in ("train", "validation", "test"):
        (folder / "agreement" / f"{split}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    run = [*flags, "--task_name", "agreement", "--data_dir", f"{folder}", "--do_eval", *padding.split()]
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").eval()
    with torch.no_grad():
        logits = torch.cat(
            [model(**tokenizer(row["sentence"] or "[SEP]", return_tensors="pt")).logits for row in rows[:2]]
        )
    expected = torch.nn.functional.cross_entropy(logits[[0, 1, 0]], torch.tensor([0, 1, 0])).item()
    for size in ("1", "3"):
        out = tmp_path / size
        assert main([*run, "--per_device_eval_batch_size", size, "--output_dir", f"{out}"]) == 0
        assert read_record(out / "result.json").metrics["loss"] == pytest.approx(expected, rel=1e-4)
    probe = [*run, "--do_train", "--probe_hidden_size", "4", "--output_dir", f"{tmp_path}/probe"]
    assert main(probe) == 0
    assert math.isfinite(read_record(tmp_path / "probe" / "result.json").metrics["loss"])


def test_a_tokenizer_with_nothing_to_pad_with(words, write, flags, capsys):
    tokenizer = words(eos_token=None)
    write(AutoModel.from_config(config_of("GPT2", vocab_size=len(tokenizer))), tokenizer)
    assert main([*flags, "--do_eval"]) == 2
    assert "neither a padding token nor an end token to pad with; name another one by" in capsys.readouterr().err


# --- positions ---


@pytest.mark.parametrize(
    ("kind", "positions", "options"),
    [
        ("Albert", 32, {"embedding_size": 8}),
        (
            "Bart",
            32,
            {
                "d_model": 8,
                **{f"{side}_{of}": 2 for side in ("encoder", "decoder") for of in ("layers", "attention_heads")},
            },
        ),
        ("Bert", 32, {}),
        ("DebertaV2", 32, {"relative_attention": True}),
        ("DistilBert", 32, {"dim": 8, "n_layers": 1, "n_heads": 2}),
        ("GPT2", 32, {}),
        ("IBert", 30, {"pad_token_id": 1}),
        ("MPNet", 30, {}),
        ("OPT", 32, {"word_embed_proj_dim": 8, "ffn_dim": 16}),
        ("Roberta", 30, {"pad_token_id": 1}),
        ("Roberta", 31, {"pad_token_id": 0}),
        ("XLM", 32, {"emb_dim": 8, "n_layers": 1, "n_heads": 2}),
    ],
)
def test_a_model_takes_as_many_tokens_as_it_has_positions_for(kind, positions, options):
    model = AutoModel.from_config(config_of(kind, **{"vocab_size": 40, **options})).eval()
    assert model_positions(model) == positions
    with torch.no_grad():
        model(input_ids=torch.full((1, positions), 5))
        with pytest.raises((IndexError, RuntimeError)):
            model(input_ids=torch.full((1, positions + 1), 5))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("DebertaV2", {**SIZES, "relative_attention": True, "position_biased_input": False}),
        ("T5", {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2}),
        ("XLNet", {"d_model": 8, "n_layer": 1, "n_head": 2, "d_inner": 16}),
    ],
)
def test_relative_positions_have_no_end(kind, options):
    config = getattr(transformers, f"{kind}Config")(vocab_size=40, **options)
    assert model_positions(AutoModel.from_config(config)) == float("inf")


@pytest.fixture
def long_texts(data_dir, tmp_path) -> Path:
    """The same task with texts of 5 to 55 words."""
    folder = tmp_path / "long"
    (folder / "agreement").mkdir(parents=True)
    for split in ("train", "validation", "test"):
        rows = [json.loads(line) for line in (data_dir / "agreement" / f"{split}.jsonl").read_text().splitlines()]
        texts = [
            {**row, "sentence": " ".join((row["sentence"] + " ").split() * 11)[: 40 + 12 * number].rsplit(" ", 1)[0]}
            for number, row in enumerate(rows)
        ]
        (folder / "agreement" / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    return folder


def counts(folder: Path, longest: int) -> tuple[int, int]:
    """How many texts there are to train and evaluate on, and how many have more words."""
    lines = [
        line
        for split in ("train", "validation")
        for line in (folder / "agreement" / f"{split}.jsonl").read_text().splitlines()
    ]
    lengths = [len(json.loads(line)["sentence"].split()) for line in lines]
    return len(lengths), sum(length > longest for length in lengths)


@pytest.mark.parametrize(
    ("kind", "positions"), [("Bert", POSITIONS), ("Roberta", POSITIONS - 1), ("GPT2", POSITIONS), ("Llama", POSITIONS)]
)
@pytest.mark.parametrize("more", ["", "--probe_hidden_size 4"])
def test_texts_are_cut_at_the_models_positions(words, write, flags, long_texts, capsys, kind, positions, more):
    """Bert and Roberta see two tokens more than words, decoders none."""
    set_seed(0)
    is_decoder = kind in ("GPT2", "Llama")
    tokenizer = words() if is_decoder else words("[CLS] $A [SEP]", pad_token="[PAD]")
    assert tokenizer.model_max_length > 1e20
    write(
        AutoModel.from_config(config_of(kind, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)),
        tokenizer,
    )
    run = [*flags, "--task_name", "agreement", "--data_dir", f"{long_texts}", *more.split()]
    texts, cut = counts(long_texts, positions if is_decoder else positions - 2)
    assert 5 < cut < texts
    said = f"{cut} of {texts} texts are longer than the {positions} tokens that the model takes, and are truncated\n"
    for name in ("first", "again"):  # the second time from the cache
        assert main([*run, "--output_dir", f"{long_texts}/{name}"]) == 0
        assert capsys.readouterr().out.count(said) == 1
    assert main([*run, "--max_seq_length", "20", "--output_dir", f"{long_texts}/short"]) == 0
    assert "are truncated" not in capsys.readouterr().out


def test_the_plain_loop_pads_and_cuts_as_well(words, write, flags, long_texts, capsys):
    set_seed(0)
    tokenizer = words()
    write(AutoModel.from_config(config_of("GPT2", vocab_size=len(tokenizer))), tokenizer)
    run = [*flags[1:], "--task_name", "agreement", "--data_dir", f"{long_texts}", "--max_grad_norm", "0"]
    run[run.index("--max_steps") : run.index("--max_steps") + 2] = ["--num_train_epochs", "1"]
    assert main(["glue", *run, "--output_dir", f"{long_texts}/trainer"]) == 0
    said = capsys.readouterr().out
    found = runpy.run_path(str(SCRIPT))["main"]([*run, "--output_dir", f"{long_texts}/loop"])
    again = capsys.readouterr().out
    for line in (PADDED, "tokens that the model takes, and are truncated\n"):
        assert said.count(line) == again.count(line) == 1
    record = read_record(long_texts / "trainer" / "result.json")
    assert found["accuracy"] == pytest.approx(record.metrics["accuracy"])
    assert re.search(r"\d+ of \d+ texts", said)[0] == re.search(r"\d+ of \d+ texts", again)[0]

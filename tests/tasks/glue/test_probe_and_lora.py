"""Probes and adapters: what is trained and saved, and that later stages find it."""

import json
from pathlib import Path

import datasets.config
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoTokenizer

from hf_vasso.cli import main
from hf_vasso.engine import SharpnessAwareStep
from hf_vasso.results.record import read_record
from hf_vasso.tasks.glue.probe import ProbeConfig, load_backbone, pooled_features

# Weights from a file lie elsewhere in memory than trained ones, and on some CPUs sums then end in other bits.
LOADED = {"rel": 1e-6}


@pytest.fixture
def flags(tiny_bert, data_dir, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return (
        f"glue --task_name agreement --model_name_or_path {tiny_bert} --data_dir {data_dir} "
        f"--output_dir {tmp_path}/run --num_train_epochs 2 --per_device_train_batch_size 8 --learning_rate 1e-2 "
        "--report_to none"
    ).split()


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "run"


CPU = torch.device("cpu")
PROBE = ["--probe_hidden_size", "5"]
LORA = "--use_peft --lora_r 2 --lora_alpha 4 --lora_target_modules query value".split()


def test_features_are_the_mean_over_an_examples_own_tokens(flags, tiny_bert):
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_bert), AutoModel.from_pretrained(tiny_bert).eval()
    texts = ["the keys seem famous", "the narrow mirrors beside the keys seem famous"]
    encoded = datasets.Dataset.from_dict({**tokenizer(texts), "label": [1, 0]})
    backbone = load_backbone(ProbeConfig(backbone="tiny-bert"), {}, str(tiny_bert))
    examples = pooled_features({"train": encoded}, tokenizer, backbone, CPU)["train"]
    for text, features in zip(texts, examples["features"], strict=True):
        with torch.no_grad():
            states = model(**tokenizer(text, return_tensors="pt")).last_hidden_state
        torch.testing.assert_close(features, states[0].mean(0))
    assert examples["label"][:].tolist() == [1, 0]


def test_features_of_another_model_are_others(flags, tiny_bert, tmp_path):
    """Equal weights, but another activation; and weights in half precision."""
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_bert), AutoModel.from_pretrained(tiny_bert)
    encoded = datasets.Dataset.from_dict(tokenizer(["the keys seem famous"]))

    def features(name):
        model.save_pretrained(tmp_path / name)
        backbone = load_backbone(ProbeConfig(backbone=name), {}, str(tmp_path / name))
        return pooled_features({"train": encoded}, tokenizer, backbone, CPU)["train"]["features"][:]

    as_it_was = features("as-it-was")
    model.config.hidden_act = "relu"
    assert not torch.equal(features("relu"), as_it_was)
    model.config.hidden_act = "gelu"
    model.to(torch.bfloat16)
    torch.testing.assert_close(features("bfloat16"), as_it_was, atol=0.05, rtol=0.05)


def test_texts_are_tokenised_and_features_computed_once(flags, tmp_path, monkeypatch):
    assert main([*flags, *PROBE]) == 0
    files = sorted((tmp_path / "cache").rglob("*.arrow"))
    assert len([file for file in files if file.parent.name == "hf_vasso_features"]) == 2
    assert len([file for file in files if file.name.startswith("cache-")]) == 2
    monkeypatch.setattr("hf_vasso.tasks.glue.probe._Embed.__call__", None)  # cannot compute any more
    assert main([*flags, *PROBE, "--method", "sam", "--seed", "1", "--output_dir", f"{tmp_path}/sam"]) == 0
    assert sorted((tmp_path / "cache").rglob("*.arrow")) == files
    other = ["--label_noise", "0.3", "--output_dir", f"{tmp_path}/other"]
    assert main([*flags, *PROBE, *other]) == 0
    assert read_record(tmp_path / "other" / "result.json").metrics != {}


def test_only_the_probe_is_trained_and_saved_and_predicts_later(flags, folder):
    assert main([*flags, *PROBE]) == 0
    record = read_record(folder / "result.json")
    assert record.model == "tiny-bert"
    saved = load_file(folder / "model.safetensors")
    assert {name: tuple(tensor.shape) for name, tensor in saved.items()} == {
        "hidden.weight": (5, 8),
        "hidden.bias": (5,),
        "classifier.weight": (2, 5),
        "classifier.bias": (2,),
    }
    assert main([*flags, *PROBE, "--do_predict"]) == 0
    assert len((folder / "predictions_test.tsv").read_text().splitlines()) == 6
    (folder / "result.json").unlink()
    assert main([*flags, *PROBE]) == 0
    assert read_record(folder / "result.json").metrics == pytest.approx(record.metrics, **LOADED)


def test_a_probe_can_regress(flags, folder):
    assert main([*flags, *PROBE, "--task_name", "stsb"]) == 0
    assert read_record(folder / "result.json").metrics.keys() == {"pearson", "spearmanr"}


def test_only_adapters_and_head_are_trained_and_saved_and_predict_later(flags, folder, tiny_bert):
    assert main([*flags, *LORA]) == 0
    record = read_record(folder / "result.json")
    assert not (folder / "model.safetensors").exists()
    names = load_file(folder / "adapter_model.safetensors").keys()
    assert {name.rsplit(".", 2)[1] for name in names} == {"lora_A", "lora_B", "classifier"}
    assert {name.split(".")[-3] for name in names if "lora" in name} == {"query", "value"}
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 4, 0.05)
    assert config["revision"] == "main"
    assert main([*flags, *LORA, "--do_predict"]) == 0
    assert len((folder / "predictions_test.tsv").read_text().splitlines()) == 6
    (folder / "result.json").unlink()
    assert main([*flags, *LORA]) == 0
    assert read_record(folder / "result.json").metrics == pytest.approx(record.metrics, **LOADED)


def use_of(folder: Path) -> str:
    """The code with which the model card loads the model."""
    card = (folder / "README.md").read_text()
    return card.split("## Use")[1].split("```")[1].partition("\n")[2].replace("FOLDER", str(folder))


def test_a_card_loads_adapters_and_probes(flags, folder, tmp_path, tiny_bert):
    assert main([*flags, *LORA]) == 0
    names: dict = {}
    exec(use_of(folder), names)  # noqa: S102
    with torch.no_grad():
        logits = names["model"](**names["tokenizer"]("the keys seem famous", return_tensors="pt")).logits
    again = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    inputs = AutoTokenizer.from_pretrained(folder)("the keys seem famous", return_tensors="pt")
    torch.testing.assert_close(logits, again(**inputs).logits)

    assert main([*flags, *PROBE, "--fresh"]) == 0
    words = use_of(folder).split()
    words[words.index("predictions")] = f"{tmp_path}/predictions"
    words[words.index("BACKBONE")] = str(tiny_bert)
    assert main([*words[1:], "--data_dir", flags[flags.index("--data_dir") + 1]]) == 0
    assert len((tmp_path / "predictions" / "predictions_test.tsv").read_text().splitlines()) == 6


def test_what_is_drawn_anew_beside_the_head_is_saved_with_the_adapters(flags, folder, tiny_bert, tmp_path):
    encoder = AutoModelForMaskedLM.from_pretrained(tiny_bert)  # it has no pooler
    encoder.save_pretrained(tmp_path / "no-pooler")
    AutoTokenizer.from_pretrained(tiny_bert).save_pretrained(tmp_path / "no-pooler")
    assert main([*flags, *LORA, "--model_name_or_path", f"{tmp_path}/no-pooler"]) == 0
    saved = load_file(folder / "adapter_model.safetensors")
    assert any("pooler.dense" in name for name in saved)


def test_adapters_find_the_revision_of_their_base_again(flags, folder, monkeypatch):
    assert main([*flags, *LORA, "--model_revision", "v2"]) == 0
    assert json.loads((folder / "adapter_config.json").read_text())["revision"] == "v2"
    asked = []
    from_pretrained = AutoConfig.from_pretrained
    monkeypatch.setattr(
        AutoConfig,
        "from_pretrained",
        lambda *name, **options: (asked.append(options), from_pretrained(*name, **options))[1],
    )
    assert main([*flags, *LORA, "--model_revision", "v2", "--do_predict"]) == 0
    assert "v2" in {options.get("revision") for options in asked}


def test_all_linear_layers_can_have_adapters(flags, folder):
    assert main([*flags, *LORA, "--lora_target_modules", "all-linear"]) == 0
    names = load_file(folder / "adapter_model.safetensors").keys()
    assert {name.split(".")[-3] for name in names if "lora" in name} >= {"query", "key", "value", "dense"}


def test_starting_over_without_adapters_leaves_none(flags, folder):
    assert main([*flags, *LORA]) == 0
    assert main([*flags, "--fresh"]) == 0
    record = read_record(folder / "result.json")
    assert not list(folder.glob("adapter_*"))
    (folder / "result.json").unlink()
    assert main(flags) == 0
    assert read_record(folder / "result.json").metrics == pytest.approx(record.metrics, **LOADED)


def test_adapters_alone_are_perturbed(flags, folder, tiny_bert, monkeypatch):
    seen = {}
    original = SharpnessAwareStep.__init__

    def keep(self, method, named_parameters, *args, **kwargs):
        seen.update({name: parameter.requires_grad for name, parameter in named_parameters()})
        original(self, method, named_parameters, *args, **kwargs)

    monkeypatch.setattr(SharpnessAwareStep, "__init__", keep)
    assert main([*flags, *LORA]) == 0
    trainable = {name for name, needs_gradient in seen.items() if needs_gradient}
    assert trainable
    assert all("lora_" in name or "modules_to_save" in name for name in trainable)


def test_a_trained_probe_is_a_model_of_transformers(flags, folder):
    assert main([*flags, *PROBE]) == 0
    probe = AutoModelForSequenceClassification.from_pretrained(folder)
    logits = probe(features=torch.zeros(3, 8), labels=torch.tensor([0, 1, 1])).logits
    assert logits.shape == (3, 2)


@pytest.mark.parametrize("words", [LORA, PROBE])
def test_ax_is_predicted_with_what_was_trained_on_mnli(flags, folder, tmp_path, words, tiny_bert):
    assert main([*flags, *words, "--task_name", "mnli"]) == 0
    ax = ["--task_name", "ax", "--model_name_or_path", str(folder), "--output_dir", f"{tmp_path}/ax"]
    ax += ["--backbone", str(tiny_bert)]
    assert main([*flags, *ax]) == 0
    assert len((tmp_path / "ax" / "predictions_test.tsv").read_text().splitlines()) == 7

"""The card of a run: what it says, that the hub's library reads it back, and that a push carries it."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard
from transformers import Trainer

from hf_vasso import get_method
from hf_vasso.cli import main
from hf_vasso.results.record import Record, read_record
from hf_vasso.tasks.glue.card import glue_card

RECORD = Record(
    task="mnli",
    task_label="mnli-1000",
    model="someone/bert",
    label="sam-wide",
    method={"name": "sam", "numbers": {"rho": 0.1}, "paper": None},
    seed=3,
    metrics={"accuracy": 0.75, "loss": 0.5, "accuracy_mismatched": 0.625, "loss_mismatched": 0.25},
    directions={
        "accuracy": "higher",
        "loss": "lower",
        "accuracy_mismatched": "higher",
        "loss_mismatched": "lower",
    },
    eval_examples=9815,
    train_examples=1000,
    data={"source": "nyu-mll/glue", "fingerprint": "0123456789abcdef"},
    cost={
        "train_seconds": 10.0,
        "seconds_per_step": 0.5,
        "forward_passes": 40,
        "backward_passes": 40,
        "steps": 20,
        "peak_memory_bytes": 2**20,
    },
    arguments={
        "task_name": "mnli",
        "model_name_or_path": "someone/bert",
        "max_train_samples": 1000,
        "max_seq_length": 128,
        "label_noise": 0.0,
        "learning_rate": 5e-5,
        "optim": "adamw_torch_fused",
        "same_dropout": False,
        "accelerator_config": {"split_batches": False},
        "seed": 3,
        "num_processes": 2,
    },
    environment={
        "device": "cpu",
        "threads": 4,
        "packages": {"torch": "2.13.0", "transformers": "5.24.0"},
        "commit": None,
    },
    given=["task_name", "model_name_or_path", "max_train_samples", "same_dropout", "seed"],
)
SAM = get_method("sam", rho=0.1)
CARD = f"""\
---
base_model: someone/bert
datasets:
- nyu-mll/glue
language: en
library_name: transformers
metrics:
- accuracy
pipeline_tag: text-classification
tags:
- hf_vasso
- sharpness-aware
- sam
- generated_from_trainer
model-index:
- name: bert-mnli-1000-sam-wide
  results:
  - task:
      type: text-classification
    dataset:
      name: mnli-1000
      type: nyu-mll/glue
      config: mnli
      split: validation_matched
    metrics:
    - type: accuracy
      value: 0.75
    - type: loss
      value: 0.5
  - task:
      type: text-classification
    dataset:
      name: mnli-1000
      type: nyu-mll/glue
      config: mnli
      split: validation_mismatched
    metrics:
    - type: accuracy
      value: 0.625
    - type: loss
      value: 0.25
---

# someone/bert on mnli-1000, sam-wide (rho 0.1)

## Scores

| split                 | metric   |  value | better |
| --------------------- | -------- | -----: | ------ |
| validation_matched    | accuracy | 0.7500 | higher |
| validation_matched    | loss     | 0.5000 | lower  |
| validation_mismatched | accuracy | 0.6250 | higher |
| validation_mismatched | loss     | 0.2500 | lower  |

With seed 3, on 9815 examples of validation_matched. One seed does not tell methods apart.

## Use

In place of FOLDER goes this folder, or the model's id on the hub.

```python
from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER")
```

## Method

Sharpness-aware training with hf_vasso, method **sam** (rho = 0.1): the optimizer gets gradients at perturbed weights.

Paper: [{SAM.paper.title}]({SAM.paper.url})

```bibtex
{SAM.paper.bibtex}
```

## Training

- data: 1000 training examples, nyu-mll/glue, fingerprint 0123456789abcdef
- cost: 20 steps in 10.0 s (0.5000 s per step), 40 forward and 40 backward passes, 1 MiB at most
- device: cpu, 4 CPU threads per process
- versions: torch 2.13.0, transformers 5.24.0, commit unknown

| flag               | value               |
| ------------------ | ------------------- |
| task_name          | mnli                |
| model_name_or_path | someone/bert        |
| max_train_samples  | 1000                |
| max_seq_length     | 128                 |
| learning_rate      | 5e-05               |
| optim              | adamw\\_torch\\_fused |
| same_dropout       | False               |
| seed               | 3                   |
| num_processes      | 2                   |"""


def index_of(card: ModelCard) -> dict[tuple[str, str], float]:
    """What stands in `model-index`, by split and metric."""
    return {(result.dataset_split, result.metric_type): result.metric_value for result in card.data.eval_results or []}


@pytest.fixture
def flags(tiny_bert, data_dir, tmp_path) -> list[str]:
    return (
        f"glue --task_name agreement --model_name_or_path {tiny_bert} --data_dir {data_dir} "
        f"--output_dir {tmp_path}/run --max_steps 1 --per_device_train_batch_size 8 --report_to none "
        "--save_strategy no"
    ).split()


@pytest.fixture
def hub(monkeypatch) -> list[str | None]:
    """A hub that keeps the card of each upload, None for one without."""
    cards = []

    def upload_folder(*_, folder_path, **__):
        card = Path(folder_path, "README.md")
        cards.append(card.read_text() if card.exists() else None)

    monkeypatch.setattr(Trainer, "init_hf_repo", lambda self, **_: setattr(self, "hub_model_id", "me/model"))
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return cards


def test_the_whole_card():
    assert str(glue_card(RECORD, SAM)) == CARD


def test_the_card_of_a_run_has_its_scores_and_no_path(flags, tmp_path, tiny_bert, data_dir):
    assert main([*flags, "--method", "vasso-asam", "--rho", "0.2"]) == 0
    record = read_record(tmp_path / "run" / "result.json")
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert index_of(card) == {("validation", name): value for name, value in record.metrics.items()}
    assert card.data.tags == ["hf_vasso", "sharpness-aware", "vasso-asam", "generated_from_trainer"]
    assert (card.data.base_model, card.data.get("datasets")) == (None, None)  # a folder, and no data of the hub
    assert "method **vasso-asam** (rho = 0.2, theta = 0.4, eta = 0.01)" in card.text
    assert f"fingerprint {record.data['fingerprint']}" in card.text
    assert (
        "[VASSO: Variance Suppression for Sharpness-Aware Minimization](https://arxiv.org/abs/2509.02433)" in card.text
    )
    for folder in (tmp_path, tiny_bert.parent, data_dir.parent, Path.home()):
        assert str(folder) not in card.content


def test_a_later_evaluation_brings_its_scores_into_the_card(flags, tmp_path):
    assert main([*flags, "--do_train"]) == 0
    card = ModelCard.load(tmp_path / "run" / "README.md")
    assert card.data.eval_results is None
    assert "## Scores\n\nNot evaluated.\n\n## Use" in card.text
    assert main(flags) == 0
    scores = index_of(ModelCard.load(tmp_path / "run" / "README.md"))
    assert scores["validation", "accuracy"] == read_record(tmp_path / "run" / "result.json").metrics["accuracy"]


def test_a_push_comes_last_and_carries_the_card(flags, tmp_path, hub):
    push = [*flags, "--method", "none", "--push_to_hub", "--hub_model_id", "me/model"]
    assert main(push) == 0
    saved, evaluated = hub  # the Trainer pushes when the model is saved
    assert saved is None  # PEFT would name the folder of the model, and the run's own card has scores
    assert evaluated == (tmp_path / "run" / "README.md").read_text()
    metrics = read_record(tmp_path / "run" / "result.json").metrics
    assert index_of(ModelCard(evaluated)) == {("validation", name): value for name, value in metrics.items()}
    assert main(push) == 0  # nothing tells whether the push before arrived
    assert hub[2:] == [evaluated]


def test_what_is_not_finite_is_no_result():
    card = ModelCard(str(glue_card(replace(RECORD, metrics={**RECORD.metrics, "loss": math.nan}), SAM)))
    assert index_of(card) == {
        ("validation_matched", "accuracy"): 0.75,
        ("validation_mismatched", "accuracy"): 0.625,
        ("validation_mismatched", "loss"): 0.25,
    }
    assert re.search(r"\| validation_matched +\| loss +\| +nan +\| lower +\|", card.text)


def test_held_out_training_examples_are_not_called_the_validation_split():
    record = replace(RECORD, metrics={"accuracy": 0.5}, arguments={**RECORD.arguments, "holdout_samples": 100})
    assert index_of(glue_card(record, SAM)) == {("train", "accuracy"): 0.5}


def test_adapters_are_loaded_by_peft():
    record = replace(RECORD, arguments={**RECORD.arguments, "use_peft": True})
    assert glue_card(record, SAM).data.library_name == "peft"


def test_names_are_data():
    name = "x: 1\n---\n# <script>alert(1)</script> {{ card_data }} | [a](b) 'q' \"r\""
    record = replace(RECORD, task_label=name, label=name, model=name, data={"source": name, "fingerprint": name})
    card = ModelCard(str(glue_card(record, SAM)))
    assert {result.dataset_name for result in card.data.eval_results} == {name}
    assert card.data.tags == glue_card(RECORD, SAM).data.tags
    assert card.text.count("\n# ") == 1
    assert "<script>" not in card.text
    assert "{{ card\\_data }}" in card.text
    assert [line for line in card.text.splitlines() if line.startswith("---")] == []


def test_no_pipeline_is_promised_for_a_probe():
    data = glue_card(replace(RECORD, arguments={**RECORD.arguments, "probe_hidden_size": 4}), get_method("sam")).data
    assert (data.library_name, data.pipeline_tag) == ("hf_vasso", None)
    data = glue_card(RECORD, get_method("sam")).data
    assert (data.library_name, data.pipeline_tag) == ("transformers", "text-classification")


def test_the_size_of_adapters_is_told():
    arguments = {**RECORD.arguments, "use_peft": True, "lora_r": 16, "lora_alpha": 32}
    assert "| lora_r " in glue_card(replace(RECORD, arguments=arguments), get_method("sam")).text
    assert "lora_r" not in glue_card(replace(RECORD, arguments={**arguments, "use_peft": False}), SAM).text

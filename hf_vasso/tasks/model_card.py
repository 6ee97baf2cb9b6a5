"""The model card of a run on a task: `README.md` in its output folder, and on the hub."""

import math
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_vasso.methods import Method
from hf_vasso.results.record import Record, describe_method
from hf_vasso.results.tables import markdown_table
from hf_vasso.spelling import escape_markdown
from hf_vasso.tasks.glue import TASKS
from hf_vasso.tasks.glue_arguments import GlueArguments
from hf_vasso.training.arguments import VassoTrainingArguments
from hf_vasso.training.model_card import method_section, method_tags

__all__ = ["model_card"]

_TEMPLATE = """\
---
{{ card_data }}
---

# {{ safe(title) }}

## Scores

{% if scores %}{{ markdown_table(scores) }}

With seed {{ record.seed }}, on {{ record.eval_examples }} examples of {{ scores[0].split }}. One seed does not tell \
methods apart.
{% else %}Not evaluated.
{% endif %}
## Use

In place of FOLDER goes this folder, or the model's id on the hub.

{{ use }}
{{ method_section }}
## Training

- data: {{ record.train_examples }} training examples, {{ safe(record.data.source) }}, fingerprint \
{{ safe(record.data.fingerprint) }}
- cost: {{ cost.steps }} steps in {{ "%.1f" | format(cost.train_seconds) }} s \
({{ "%.4f" | format(cost.seconds_per_step) }} s per step), {{ cost.forward_passes }} forward and \
{{ cost.backward_passes }} backward passes, {{ "%.0f" | format(cost.peak_memory_bytes / 2**20) }} MiB at most
- device: {{ safe(environment.device) }}, {{ environment.threads }} CPU threads per process
- versions: {% for name, version in environment.packages.items() %}{{ safe(name) }} {{ safe(version) }}, {% endfor %}\
commit {{ safe(environment.commit or "unknown") }}

{{ markdown_table(flags) }}
"""

_USES = {
    "transformers": """\
```python
from transformers import pipeline

classify = pipeline("text-classification", model="FOLDER")
```
""",
    "peft": """\
```python
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoTokenizer

model = AutoPeftModelForSequenceClassification.from_pretrained("FOLDER", num_labels={num_labels})
tokenizer = AutoTokenizer.from_pretrained("FOLDER")
```
""",
    "hf_vasso": """\
```shell
hf-vasso glue --task_name {task} --model_name_or_path FOLDER --do_predict --output_dir predictions
```
""",
}

# Shown whatever they are; all others where they differ from their defaults.
_SHOWN_FLAGS = {
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "max_seq_length",
    "num_processes",
    "num_train_epochs",
    "optim",
    "per_device_train_batch_size",
    "seed",
    "weight_decay",
}
_FILLED_IN_FLAGS = {"accelerator_config", "fsdp_config"}  # by Transformers, where nothing is given


def model_card(record: Record, method: Method) -> ModelCard:
    """
    Describe the model of a run: its scores, its method with the paper, and how it was trained.

    Args:
        record: The run.
        method: Its method.

    Returns:
        The card. Its scores stand in `model-index` too, except those that are not finite.
    """
    described = describe_method(record.label, record.method["numbers"], str(record.arguments.get("optim")))
    return ModelCard.from_template(
        _card_data(record, method),
        template_str=_TEMPLATE,
        safe=escape_markdown,
        title=f"{record.model} on {record.task_label}, {described}",
        markdown_table=markdown_table,
        scores=_score_rows(record),
        record=record,
        cost=record.cost,
        environment=record.environment,
        use=_USES[_library(record)].format(task=record.task, num_labels=TASKS[record.task].num_labels),
        method_section=method_section(method),
        flags=_flag_rows(record.arguments),
    )


def _card_data(record: Record, method: Method) -> ModelCardData:
    task = TASKS[record.task]
    is_from_hub = record.arguments.get("model_name_or_path") is not None and "/" in record.model
    return ModelCardData(
        base_model=record.model if is_from_hub else None,  # of a folder the record keeps the last part of its path
        datasets=[task.hub_id] if task.hub_id else None,
        eval_results=_eval_results(record) or None,
        language="en",
        library_name=_library(record),
        metrics=list(task.metrics),
        model_name="-".join([Path(record.model).name, record.task_label, record.label]),
        pipeline_tag=None if _library(record) == "hf_vasso" else "text-classification",
        tags=[*method_tags(method), "generated_from_trainer"],
    )


def _library(record: Record) -> str:
    """What loads the model."""
    if record.arguments.get("probe_hidden_size") is not None:
        return "hf_vasso"  # no pipeline makes the features of a probe
    return "peft" if record.arguments.get("use_peft") else "transformers"


def _eval_results(record: Record) -> list[EvalResult]:
    results = []
    for name, value in record.metrics.items():
        split, metric = _split_and_metric(record, name)
        result = EvalResult(
            task_type="text-classification",
            dataset_type=TASKS[record.task].hub_id or record.task,
            dataset_name=record.task_label,
            dataset_config=record.task,
            dataset_split=split,
            metric_type=metric,
            metric_value=value,
        )
        results += [result] if math.isfinite(value) else []
    return results


def _split_and_metric(record: Record, name: str) -> tuple[str, str]:
    """The split of a metric, and its name without that split's suffix."""
    if record.arguments.get("holdout_samples"):
        return "train", name
    first, *others = TASKS[record.task].validation_splits
    for split in others:
        suffix = split.removeprefix("validation")
        if name.endswith(suffix):
            return split, name.removesuffix(suffix)
    return first, name


def _score_rows(record: Record) -> list[dict[str, str]]:
    rows = []
    for name, value in record.metrics.items():
        split, metric = _split_and_metric(record, name)
        rows.append({"split": split, "metric": metric, "value": f"{value:.4f}", "better": record.directions[name]})
    return rows


def _flag_rows(arguments: dict[str, Any]) -> list[dict[str, str]]:
    entries = {entry.name: entry for kind in (GlueArguments, VassoTrainingArguments) for entry in fields(kind)}
    shown = [
        name
        for name, value in arguments.items()
        if name in _SHOWN_FLAGS
        or (name.startswith("lora_") and arguments.get("use_peft"))
        or (name in entries and name not in _FILLED_IN_FLAGS and _is_given(value, entries[name]))
    ]
    return [{"flag": name, "value": escape_markdown(str(arguments[name]))} for name in shown]


def _is_given(value: Any, entry: Field) -> bool:
    """Whether a flag has another value than its default; one without a default may have become empty."""
    default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    return value != default if default is not None else bool(value)

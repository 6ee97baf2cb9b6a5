"""The model card of a run on a task: `README.md` in its output folder, and on the hub."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from hf_vasso.methods import Method
from hf_vasso.results.record import Record, describe_method
from hf_vasso.results.tables import markdown_table
from hf_vasso.spelling import escape_markdown
from hf_vasso.training.model_card import method_section, method_tags

__all__ = ["CardTask", "model_card"]

_TEMPLATE = """\
---
{{ card_data }}
---

# {{ safe(title) }}

## Scores

{% if scores %}{{ markdown_table(scores) }}

With seed {{ record.seed }}, on {{ record.eval_examples }} examples of {{ scores[0].split }}. One seed does not tell \
methods apart.
{% for name, signature in record.signatures.items() %}
{{ safe(name) }}: `{{ signature }}`
{% endfor %}{% else %}Not evaluated.
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

# Shown whatever they are; all others where they differ from their defaults.
_SHOWN_FLAGS = {
    "gradient_accumulation_steps",
    "learning_rate",
    "lr_scheduler_type",
    "max_seq_length",
    "max_tokens",
    "num_processes",
    "num_train_epochs",
    "optim",
    "per_device_train_batch_size",
    "seed",
    "weight_decay",
}


@dataclass(frozen=True)
class CardTask:
    """
    What a card says about a task, beside the record of a run.

    Args:
        task_type: The hub's name of the kind of task.
        dataset: The data set's id on the hub, None where there is none.
        dataset_config: Its configuration.
        languages: Their codes.
        metrics: Names as in result files.
        library: What loads the model.
        pipeline_tag: The kind of task under which the hub offers the model, None for none.
        use: How to load it, in Markdown, with FOLDER in place of the folder.
        split_and_metric: From a metric of the record to its split, and to its name without that.
    """

    task_type: str
    dataset: str | None
    dataset_config: str
    languages: list[str]
    metrics: list[str]
    library: str
    pipeline_tag: str | None
    use: str
    split_and_metric: Callable[[str], tuple[str, str]]


def model_card(record: Record, method: Method, task: CardTask) -> ModelCard:
    """
    Describe the model of a run: its scores, its method with the paper, and how it was trained.

    Args:
        record: The run.
        method: Its method.
        task: Its task.

    Returns:
        The card. Its scores stand in `model-index` too, except those that are not finite.
    """
    described = describe_method(record.label, record.method["numbers"], str(record.arguments.get("optim")))
    return ModelCard.from_template(
        _card_data(record, method, task),
        template_str=_TEMPLATE,
        safe=escape_markdown,
        title=f"{record.model} on {record.task_label}, {described}",
        markdown_table=markdown_table,
        scores=_score_rows(record, task),
        record=record,
        cost=record.cost,
        environment=record.environment,
        use=task.use,
        method_section=method_section(method),
        flags=_flag_rows(record),
    )


def _card_data(record: Record, method: Method, task: CardTask) -> ModelCardData:
    is_from_hub = record.arguments.get("model_name_or_path") is not None and "/" in record.model
    return ModelCardData(
        base_model=record.model if is_from_hub else None,  # of a folder the record keeps the last part of its path
        datasets=[task.dataset] if task.dataset else None,
        eval_results=_eval_results(record, task) or None,
        language=task.languages if len(task.languages) > 1 else task.languages[0],
        library_name=task.library,
        metrics=task.metrics,
        model_name="-".join([Path(record.model).name, record.task_label, record.label]),
        pipeline_tag=task.pipeline_tag,
        tags=[*method_tags(method), "generated_from_trainer"],
    )


def _eval_results(record: Record, task: CardTask) -> list[EvalResult]:
    results = []
    for name, value in record.metrics.items():
        split, metric = task.split_and_metric(name)
        result = EvalResult(
            task_type=task.task_type,
            dataset_type=task.dataset or record.task,
            dataset_name=record.task_label,
            dataset_config=task.dataset_config,
            dataset_split=split,
            metric_type=metric,
            metric_value=value,
        )
        results += [result] if math.isfinite(value) else []
    return results


def _score_rows(record: Record, task: CardTask) -> list[dict[str, str]]:
    rows = []
    for name, value in record.metrics.items():
        split, metric = task.split_and_metric(name)
        rows.append({"split": split, "metric": metric, "value": f"{value:.4f}", "better": record.directions[name]})
    return rows


def _flag_rows(record: Record) -> list[dict[str, str]]:
    arguments = record.arguments
    shown = [
        name
        for name in arguments
        if name in _SHOWN_FLAGS or (name.startswith("lora_") and arguments.get("use_peft")) or name in record.given
    ]
    return [{"flag": name, "value": escape_markdown(str(arguments[name]))} for name in shown]

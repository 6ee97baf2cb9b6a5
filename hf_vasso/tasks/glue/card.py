"""The model card of a run on a GLUE task."""

from huggingface_hub import ModelCard

from hf_vasso.methods import Method
from hf_vasso.results.record import Record
from hf_vasso.tasks.glue.table import TASKS
from hf_vasso.tasks.model_card import CardTask, model_card

__all__ = ["glue_card"]

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
hf-vasso glue --task_name {task} --model_name_or_path FOLDER{backbone} --do_predict --output_dir predictions
```
""",
}
_OF_BACKBONE = "In place of BACKBONE goes the folder of the pretrained model under the probe.\n\n"


def glue_card(record: Record, method: Method) -> ModelCard:
    """
    Describe the model of a run on a GLUE task.

    Args:
        record: The run.
        method: Its method.
    """
    task, library = TASKS[record.task], _library(record)
    needs_backbone = library == "hf_vasso" and record.arguments.get("model_fingerprint") is not None
    backbone = " --backbone BACKBONE" if needs_backbone else ""
    use = _USES[library].format(task=record.task, num_labels=task.num_labels, backbone=backbone)
    facts = CardTask(
        task_type="text-classification",
        dataset=task.hub_id,
        dataset_config=record.task,
        languages=["en"],
        metrics=list(task.metrics),
        library=library,
        pipeline_tag=None if library == "hf_vasso" else "text-classification",
        use=_OF_BACKBONE + use if needs_backbone else use,
        split_and_metric=lambda name: _split_and_metric(record, name),
    )
    return model_card(record, method, facts)


def _library(record: Record) -> str:
    """What loads the model."""
    if record.arguments.get("probe_hidden_size") is not None:
        return "hf_vasso"  # no pipeline makes the features of a probe
    return "peft" if record.arguments.get("use_peft") else "transformers"


def _split_and_metric(record: Record, name: str) -> tuple[str, str]:
    if record.arguments.get("holdout_samples"):
        return "train", name
    first, *others = TASKS[record.task].validation_splits
    for split in others:
        suffix = split.removeprefix("validation")
        if name.endswith(suffix):
            return split, name.removesuffix(suffix)
    return first, name

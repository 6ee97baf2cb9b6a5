"""Load the model and tokenizer of a run, with the task's labels."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, PeftModel, TaskType, get_peft_model
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.peft_utils import find_adapter_config_file

from hf_vasso.tasks.glue.arguments import GlueArguments
from hf_vasso.tasks.glue.labels import knows_labels, label_order
from hf_vasso.tasks.glue.probe import Probe, ProbeConfig
from hf_vasso.tasks.glue.table import Task, get_task
from hf_vasso.tasks.hub import only_from_cache
from hf_vasso.tasks.model_files import folder_fingerprint
from hf_vasso.tasks.task_arguments import base_name

__all__ = ["hub_options", "load_model", "load_tokenizer"]

# The names under which PEFT saves a classifier's head by itself.
_HEADS = ("classifier", "score")


def load_model(glue: GlueArguments, task: Task) -> PreTrainedModel | PeftModel:
    """
    Load a pretrained model with a head for the task, build one from a configuration alone, or make a new probe.

    Args:
        glue: It names the model.
        task: Its labels go into the model's configuration.

    Returns:
        The model. Without `model_name_or_path` its weights are drawn anew. With `use_peft` only adapters and head are
        trainable.

    Raises:
        OSError: The model is not to be found.
        ValueError: The model is of no known kind, its head has another size than the task needs, or it does not know
            the labels of a task without training examples.
    """
    if glue.probe_hidden_size is not None:
        return _new_probe(glue, task, glue.probe_hidden_size)
    if find_adapter_config_file(glue.model, **_download_options(glue)) is not None:
        return _load_adapters(glue, task)
    model, new_modules = _load_whole_model(glue, task)
    return get_peft_model(model, _lora(glue, new_modules)) if glue.use_peft else model


def _load_adapters(glue: GlueArguments, task: Task) -> PeftModel:
    options = _download_options(glue)
    config: Any = PeftConfig.from_pretrained(glue.model, **options)
    # The base model does not know the labels of a task that has no training examples; its adapters learnt them.
    taught = get_task(task.trained_on or task.name)
    base = replace(glue, model_name_or_path=config.base_model_name_or_path, model_revision=config.revision or "main")
    model, _ = _load_whole_model(base, taught)
    return PeftModel.from_pretrained(model, glue.model, is_trainable=True, **options)


def _load_whole_model(glue: GlueArguments, task: Task) -> tuple[PreTrainedModel, list[str]]:
    """The model, and which of its modules are new, that is not in what was loaded."""
    options = hub_options(glue)
    config = AutoConfig.from_pretrained(glue.config_name or glue.model, **options)
    if task.trained_on and not knows_labels(config, task):
        raise ValueError(
            f"task {task.name} is predicted with a model that was fine-tuned on {task.trained_on}, and {glue.model} "
            f"does not know the labels {', '.join(task.label_names)}; pass the output folder of a run on "
            f"{task.trained_on} as --model_name_or_path"
        )
    _set_labels(config, task)
    if glue.model_name_or_path is None:
        return AutoModelForSequenceClassification.from_config(config, trust_remote_code=glue.trust_remote_code), []
    try:
        model, loaded = AutoModelForSequenceClassification.from_pretrained(
            glue.model_name_or_path,
            config=config,
            ignore_mismatched_sizes=glue.ignore_mismatched_sizes,
            output_loading_info=True,
            **options,
        )
        return model, sorted({name.rpartition(".")[0] for name in loaded["missing_keys"]})
    except RuntimeError as error:
        if "mismatch" not in str(error):
            raise
        raise ValueError(
            f"the head of {glue.model} has another size than task {task.name} needs, which is {task.num_labels}; "
            "--ignore_mismatched_sizes puts a new one in its place"
        ) from error


def _new_probe(glue: GlueArguments, task: Task, hidden_size: int) -> Probe:
    backbone = AutoConfig.from_pretrained(glue.model, **hub_options(glue))
    config = ProbeConfig(
        input_size=backbone.hidden_size,
        hidden_size=hidden_size,
        backbone=base_name(glue.model),
        backbone_revision=glue.model_revision,
        backbone_fingerprint=folder_fingerprint(Path(glue.model)) if os.path.isdir(glue.model) else None,
    )
    _set_labels(config, task)
    return Probe(config)


def _lora(glue: GlueArguments, new_modules: list[str]) -> LoraConfig:
    modules: Any = glue.lora_target_modules
    return LoraConfig(
        task_type=TaskType.SEQ_CLS,
        revision=glue.model_revision,
        r=glue.lora_r,
        lora_alpha=glue.lora_alpha,
        lora_dropout=glue.lora_dropout,
        target_modules="all-linear" if modules == ["all-linear"] else modules,
        # What was drawn anew beside the head, such as a pooler, must be trained and saved like the head.
        modules_to_save=[name for name in new_modules if name.split(".")[0] not in _HEADS],
    )


def load_tokenizer(glue: GlueArguments) -> PreTrainedTokenizerBase:
    """
    Load the tokenizer of a run.

    Args:
        glue: It names the tokenizer, or the model that has it.

    Returns:
        The tokenizer.

    Raises:
        OSError: The tokenizer is not to be found.
        ValueError: The tokenizer is of no known kind.
    """
    return AutoTokenizer.from_pretrained(glue.tokenizer_name or glue.model, **hub_options(glue))


def _set_labels(config: PretrainedConfig, task: Task) -> None:
    if task.is_regression:
        config.num_labels = 1
        config.problem_type = "regression"
        return
    config.problem_type = "single_label_classification"  # a model fine-tuned on a regression says otherwise
    label2id = dict(zip(task.label_names, label_order(config, task), strict=True))
    config.label2id = label2id
    config.id2label = {number: name for name, number in label2id.items()}


def hub_options(glue: GlueArguments) -> dict[str, Any]:
    """What every `from_pretrained` of a run takes beside the name."""
    return {**_download_options(glue), "trust_remote_code": glue.trust_remote_code}


def _download_options(glue: GlueArguments) -> dict[str, Any]:
    return {
        "cache_dir": glue.cache_dir,
        "revision": glue.model_revision,
        "token": glue.token,
        "local_files_only": only_from_cache(glue.model, glue.model_revision, glue.cache_dir),
    }

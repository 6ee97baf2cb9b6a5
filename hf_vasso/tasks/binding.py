"""Which flags bind a run: those that change its training, its evaluation or its predictions, as records keep them."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import MISSING, Field, fields
from typing import Any

from hf_vasso.engine.rho import RhoSchedule
from hf_vasso.tasks.model_files import FINGERPRINT, model_fingerprint
from hf_vasso.tasks.task_arguments import PATHS, TaskArguments, base_name
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = [
    "binding_arguments",
    "given_flags",
    "recorded_arguments",
    "result_arguments",
    "with_base_names",
    "without_folders",
]

# Flags that change neither the training nor its evaluation, so that a repeated command may change them. Evaluation
# during training is not among them: it decides which checkpoint is the best one and a plateau's learning rate.
_FREE_PREFIXES = ("hub_", "log_", "logging_", "push_to_hub", "save_", "trackio_")
_FREE = {
    "backbone",  # its fingerprint stands in the probe's file
    "cache_dir",
    "config",
    "dataloader_multiprocessing_context",
    "dataloader_num_workers",
    "dataloader_persistent_workers",
    "dataloader_pin_memory",
    "dataloader_prefetch_factor",
    "ddp_timeout",
    "debug",
    "disable_tqdm",
    "do_eval",
    "do_predict",
    "do_train",
    "dry_run",
    "enable_jit_checkpoint",
    "eval_accumulation_steps",
    "fresh",
    "include_num_input_tokens_seen",
    "include_tokens_per_second",
    "local_rank",
    "method_args",  # its numbers are compared one by one, as rho and theta are
    "output_dir",
    "overwrite_output_dir",
    "per_device_eval_batch_size",
    "per_gpu_eval_batch_size",
    "project",
    "ray_scope",
    "report_to",
    "restore_callback_states_from_checkpoint",
    "resume_from_checkpoint",
    "run_name",
    "skip_memory_metrics",
    "token",
    "torch_empty_cache_steps",
}
# Checkpoints are free too, unless the best or the mean of them becomes the model.
_CHECKPOINTS = {"save_steps", "save_strategy"}
_FILLED_IN = {"accelerator_config", "fsdp_config"}  # by Transformers, where nothing is given


def result_arguments(arguments: TaskArguments, training: AnyTrainingArguments) -> dict[str, Any]:
    """
    The flags that change the training, its evaluation or its predictions.

    Args:
        arguments: The task, data and model.
        training: The training's flags.

    Returns:
        Flag to value, ready for JSON. The method's numbers and the warm-up of rho are the ones that hold, given or
        not; folders are absolute paths; "num_processes" is the number of processes.
    """
    flags = {**vars(arguments), **training.to_dict(), **_numbers_that_hold(training)}
    averages = getattr(arguments, "average_checkpoints", None) is not None
    always = _CHECKPOINTS if training.load_best_model_at_end or averages else set()
    kept: dict[str, Any] = {
        name: value
        for name, value in flags.items()
        if name in always or not (name in _FREE or name.startswith(_FREE_PREFIXES))
    }
    return {**kept, **arguments.folders, "num_processes": training.world_size}


def binding_arguments(arguments: TaskArguments, training: AnyTrainingArguments) -> dict[str, Any]:
    """
    The flags that change the training: a run can be continued only with the same ones.

    Args:
        arguments: The task, data and model.
        training: The training's flags.

    Returns:
        Those of `result_arguments` without the limits of what is evaluated and predicted after the training. What is
        evaluated during the training may decide about it. For the first process "model_fingerprint" is among them.
        Folders are told by name and hash, see `without_folders`.
    """
    free = {"max_predict_samples"} if training.eval_strategy != "no" else {"max_predict_samples", "max_eval_samples"}
    bind = {name: value for name, value in result_arguments(arguments, training).items() if name not in free}
    return {**without_folders(bind), **_fingerprint(arguments, training)}


def recorded_arguments(arguments: TaskArguments, training: AnyTrainingArguments) -> dict[str, Any]:
    """
    The flags that the record of a run will have if it begins now.

    Args:
        arguments: The task, data and model.
        training: The training's flags.

    Returns:
        Those of `result_arguments` with the base names of folders, and "model_fingerprint".
    """
    return {**with_base_names(result_arguments(arguments, training)), **_fingerprint(arguments, training)}


def given_flags(arguments: TaskArguments, training: AnyTrainingArguments) -> list[str]:
    """
    Which flags tell something about a run: those that have another value than their default.

    Args:
        arguments: The task, data and model.
        training: The training's flags.

    Returns:
        Names of `result_arguments`, numbers in `method_args` among them, in its order.
    """
    entries = {entry.name: entry for group in (arguments, training) for entry in fields(group)}
    numbers = training.method_args or {}
    return [
        name
        for name, value in result_arguments(arguments, training).items()
        if name in numbers or (name in entries and name not in _FILLED_IN and _is_given(value, entries[name]))
    ]


def with_base_names(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same arguments with the base names of folders, for records that are passed on."""
    named = {name: base_name(value) if name in PATHS and value else value for name, value in arguments.items()}
    return _with_each_path(named, os.path.basename)


def without_folders(arguments: Any) -> Any:
    """
    The same flags without absolute paths, which tell of a machine and its users.

    Args:
        arguments: What stands in a JSON file.

    Returns:
        In place of each absolute path its last part and a hash of it, which other paths do not have.

    Example:
        >>> without_folders({"data_dir": "/home/me/glue", "max_steps": 5})
        {'data_dir': 'glue#c9745eddbb219dc3', 'max_steps': 5}
    """
    return _with_each_path(arguments, _name_and_hash)


def _with_each_path(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {name: _with_each_path(entry, change) for name, entry in value.items()}
    if isinstance(value, list):
        return [_with_each_path(entry, change) for entry in value]
    return change(value.rstrip("/")) if isinstance(value, str) and os.path.isabs(value) else value


def _name_and_hash(path: str) -> str:
    return f"{os.path.basename(path)}#{hashlib.sha256(path.encode(errors='surrogatepass')).hexdigest()[:16]}"


def _numbers_that_hold(training: AnyTrainingArguments) -> dict[str, float]:
    """The numbers of the method and the warm-up of rho; zeros for the base method, as all versions have recorded."""
    method = training.build_method()
    if not method.schedule.perturbs:
        base = {"rho": 0.0} if method.extra_loss is None else {}
        return {"rho_warmup_steps": 0.0, **base, **method.numbers}
    return {"rho_warmup_steps": RhoSchedule(1, training.rho_warmup_steps).warmup, **method.numbers}


def _fingerprint(arguments: TaskArguments, training: AnyTrainingArguments) -> dict[str, str | None]:
    """Of the model's files, which only one process needs to read."""
    return {FINGERPRINT: model_fingerprint(arguments)} if training.process_index == 0 else {}


def _is_given(value: Any, entry: Field) -> bool:
    """Whether a flag has another value than its default; one without a default may have become empty."""
    default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    return value != default if default is not None else bool(value)

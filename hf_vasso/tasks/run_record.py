"""The record of a run, from its flags and what came out."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, TypeVar

from hf_vasso.results.record import Record
from hf_vasso.tasks.binding import given_flags, result_arguments, with_base_names
from hf_vasso.tasks.task_arguments import TaskArguments, base_name
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = ["has_limits", "run_record", "with_limits_of"]

Arguments = TypeVar("Arguments", bound=TaskArguments)

# How many examples a stage is done on. A finished training is evaluated again under another limit, not refused.
_LIMITS = {"do_eval": "max_eval_samples", "do_predict": "max_predict_samples"}


def run_record(
    task_name: str,
    arguments: TaskArguments,
    training: AnyTrainingArguments,
    training_arguments: Mapping[str, Any],
    outcome: Mapping[str, Any],
) -> Record:
    """
    Make the record of a run.

    Args:
        task_name: The task.
        arguments: Task, data and model.
        training: Method and training.
        training_arguments: Flags that only the command that trained can know.
        outcome: The record's entries about what came out.
    """
    method = training.build_method()
    paper = asdict(method.paper) if method.paper else None
    return Record(
        task=task_name,
        task_label=arguments.task_label or task_name,
        model=base_name(arguments.model),
        label=arguments.method_label or method.name,
        method={"name": method.name, "numbers": method.numbers, "paper": paper},
        seed=training.seed,
        arguments={**with_base_names(result_arguments(arguments, training)), **training_arguments},
        given=given_flags(arguments, training),
        **outcome,
    )


def has_limits(record: Record, arguments: TaskArguments, training: AnyTrainingArguments) -> bool:
    """Whether the stages that are asked for were done on as many examples as is asked for."""
    asked = [limit for stage, limit in _LIMITS.items() if getattr(training, stage)]
    return all(getattr(arguments, limit) == record.arguments[limit] for limit in asked)


def with_limits_of(record: Record, arguments: Arguments, training: AnyTrainingArguments) -> Arguments:
    """The flags with the limits under which the stages that are not done again were done."""
    kept = [limit for stage, limit in _LIMITS.items() if not getattr(training, stage)]
    return replace(arguments, **{limit: record.arguments[limit] for limit in kept})

"""The record of a run, from its flags and what came out."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hf_vasso.results.record import Record
from hf_vasso.tasks.binding import given_flags, result_arguments, with_base_names
from hf_vasso.tasks.task_arguments import TaskArguments, base_name
from hf_vasso.training.arguments import AnyTrainingArguments

__all__ = ["run_record"]


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

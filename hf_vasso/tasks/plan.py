"""What a run would do and spend, worked out without its weights and without a hub."""

import math
from dataclasses import dataclass

from hf_vasso.results.record import describe_method
from hf_vasso.tasks.run_folder import RunFolder
from hf_vasso.tasks.task_arguments import TaskArguments
from hf_vasso.training.arguments import AnyTrainingArguments
from hf_vasso.training.checkpoints import checkpoint_to_continue

__all__ = [
    "PlannedTraining",
    "TrainingSize",
    "describe_plan",
    "size_of_epochs",
    "steps_of_epoch",
    "training_size",
    "with_passes",
]


@dataclass(frozen=True)
class TrainingSize:
    """
    How much a training is.

    Args:
        steps: Optimizer steps.
        micro_batches: Micro-batches of each process over all steps; one pass runs forward and backward on each.
    """

    steps: int
    micro_batches: int


def training_size(examples: int, training: AnyTrainingArguments) -> TrainingSize:
    """
    Count steps and micro-batches as the Trainer does.

    Args:
        examples: Training examples.
        training: Batch size, accumulation, processes, epochs or steps.

    Returns:
        The counts.

    Raises:
        ValueError: A batch takes more than all examples, and such a batch is dropped.
    """
    batch = training.train_batch_size * training.world_size
    if not training.dataloader_drop_last:
        return size_of_epochs(math.ceil(examples / batch), training)
    if examples < batch:
        raise ValueError(
            f"dataloader_drop_last leaves nothing to train on: a batch takes {batch} of the {examples} examples "
            "that there are; take smaller batches, or leave it out"
        )
    return size_of_epochs(examples // batch, training)


def size_of_epochs(batches_per_epoch: int, training: AnyTrainingArguments) -> TrainingSize:
    """
    The same from the batches of an epoch.

    Args:
        batches_per_epoch: Of each process.
        training: Accumulation, epochs or steps.
    """
    steps_per_epoch = steps_of_epoch(batches_per_epoch, training)
    steps = training.max_steps if training.max_steps > 0 else math.ceil(training.num_train_epochs * steps_per_epoch)
    epochs, steps_left = divmod(steps, steps_per_epoch)
    batches_left = min(steps_left * training.gradient_accumulation_steps, batches_per_epoch)
    return TrainingSize(steps, epochs * batches_per_epoch + batches_left)


def steps_of_epoch(batches_per_epoch: int, training: AnyTrainingArguments) -> int:
    """The optimizer steps of an epoch from the batches of each process."""
    return max(math.ceil(batches_per_epoch / training.gradient_accumulation_steps), 1)


@dataclass(frozen=True)
class PlannedTraining:
    """
    What a training will spend.

    Args:
        examples: Training examples; None where the data were not read.
        steps: Optimizer steps.
        passes: Forward passes: micro-batches of each process. The most that there can be, where the method decides on
            the way.
        backward_passes: Backward passes.
    """

    examples: int | None
    steps: int
    passes: int
    backward_passes: int


def with_passes(examples: int | None, size: TrainingSize, training: AnyTrainingArguments) -> PlannedTraining:
    """
    What a training of some size will spend.

    Args:
        examples: Training examples; None where the data were not read.
        size: Steps and micro-batches.
        training: Its method.
    """
    method = training.build_method()
    passes = [round(size.micro_batches * mean) for mean in (method.mean_forward_passes, method.mean_passes)]
    return PlannedTraining(examples, size.steps, *passes)


def describe_plan(
    arguments: TaskArguments,
    training: AnyTrainingArguments,
    task_name: str,
    folder: RunFolder,
    planned: PlannedTraining | None,
) -> str:
    """
    Describe a run before it is made.

    Args:
        arguments: Task, data and model.
        training: Method and training.
        task_name: The task.
        folder: It tells how far the run has come.
        planned: What the training will spend; None where it is not asked for, or not known.

    Returns:
        One line per fact.

    Raises:
        ValueError: The training cannot be continued from the checkpoint.
    """
    method = training.build_method()
    facts = {
        "task": task_name,
        "model": arguments.model,
        "method": describe_method(arguments.method_label or method.name, method.numbers, training.to_dict()["optim"]),
        "seed": training.seed,
        "stages": ", ".join(stage for stage in ("train", "eval", "predict") if getattr(training, f"do_{stage}")),
    }
    if planned is not None and planned.examples is not None:
        facts["training examples"] = planned.examples
    if planned is not None:
        facts |= {
            "steps": planned.steps,
            "passes": f"{planned.passes} forward and {planned.backward_passes} backward (micro-batches, per process)",
        }
    state = "starts over" if arguments.fresh else _state(folder, training)
    facts |= {"output folder": training.output_dir, "state": state}
    width = max(len(name) for name in facts)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def _state(folder: RunFolder, training: AnyTrainingArguments) -> str:
    if folder.is_finished:
        return "finished"
    if folder.training is not None:
        return "trained, not evaluated"
    checkpoint = checkpoint_to_continue(training)
    return f"interrupted, continues from {checkpoint}" if checkpoint else "not started"

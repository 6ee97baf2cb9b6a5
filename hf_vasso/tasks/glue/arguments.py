"""The flags of `hf-vasso glue`: those of the Transformers example beside those of `VassoTrainingArguments`."""

from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from hf_vasso.tasks.evaluation_flags import refuse_unknown_metric
from hf_vasso.tasks.glue.table import TASKS, Task, get_task
from hf_vasso.tasks.task_arguments import TaskArguments, TaskParser, parse_flags
from hf_vasso.training.arguments import VassoTrainingArguments

__all__ = ["GlueArguments", "parse_glue_arguments"]

_INSTEAD_OF: dict[str, str] = dict.fromkeys(
    ("dataset_name", "test_file", "train_file", "validation_file"),
    "pass --data_dir with a folder that holds one file per split, <task>/<split>",
)

_CALIBRATION = ("cross_entropy", "expected_calibration_error")  # of a classification, lower is better


@dataclass(kw_only=True)
class GlueArguments(TaskArguments):
    """
    The task, its data and the model; names as in the Transformers example `run_glue.py`.

    Of the example's flags these are left out: `--train_file`, `--validation_file`, `--test_file`, `--dataset_name` and
    `--dataset_config_name`, as `--data_dir` takes data of one's own; `--overwrite_cache`, as a cached tokenisation is
    used only where data and flags are the same; `--use_fast_tokenizer`, as Transformers chooses.

    Raises:
        ValueError: The task is unknown, no model is named, or a number is out of its range.
    """

    counts: ClassVar[tuple[str, ...]] = (
        *TaskArguments.counts,
        "max_seq_length",
        "max_train_samples_per_class",
        "probe_hidden_size",
        "lora_r",
        "lora_alpha",
    )

    task_name: str = field(metadata={"help": f"The task: {', '.join(TASKS)}."})
    data_dir: str | None = field(
        default=None,
        metadata={"help": "A folder with <task>/<split> as .jsonl, .jsonl.gz, .csv or .parquet, instead of the hub."},
    )
    max_seq_length: int = field(
        default=128, metadata={"help": "Longest input, in tokens, at least 1; longer ones are cut."}
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad to max_seq_length instead of to the longest input of the batch."}
    )
    max_train_samples_per_class: int | None = field(
        default=None, metadata={"help": "Train on the first so many examples of each class, at least 1."}
    )
    label_noise: float = field(
        default=0.0,
        metadata={"help": "Share of the training examples that get a wrong label, drawn by the seed, in [0, 1)."},
    )
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Replace a head of another size instead of refusing it."}
    )
    probe_hidden_size: int | None = field(
        default=None,
        metadata={
            "help": "Train only a probe: a hidden layer of this width, at least 1, on the mean-pooled features of the "
            "frozen model, which are computed once."
        },
    )
    backbone: str | None = field(
        default=None,
        metadata={
            "help": "The frozen model under a probe that was saved, where that is in a folder: the probe's own file "
            "has only its name and its fingerprint."
        },
    )
    use_peft: bool = field(default=False, metadata={"help": "Train LoRA adapters and the head instead of the model."})
    lora_r: int = field(default=16, metadata={"help": "Rank of the adapters, at least 1."})
    lora_alpha: int = field(default=32, metadata={"help": "The adapters' output is scaled by lora_alpha / lora_r."})
    lora_dropout: float = field(default=0.05, metadata={"help": "Dropout before the adapters, in [0, 1)."})
    lora_target_modules: list[str] | None = field(
        default=None,
        metadata={
            "help": "Names of the modules that get adapters, such as query value; or all-linear; None asks PEFT."
        },
    )

    def __post_init__(self) -> None:
        task = get_task(self.task_name)
        super().__post_init__()
        for name in ("label_noise", "lora_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        self._refuse_contradictions(task)

    def _refuse_contradictions(self, task: Task) -> None:
        for name in ("max_train_samples_per_class", "label_noise"):
            if task.is_regression and getattr(self, name):
                raise ValueError(f"{name} needs classes, and task {task.name} is a regression; leave it out")
        if self.max_train_samples and self.max_train_samples_per_class:
            raise ValueError("max_train_samples and max_train_samples_per_class limit the same; give one of them")
        given = [name for name, default in _lora_defaults().items() if getattr(self, name) != default]
        if given and not self.use_peft:
            raise ValueError(f"{', '.join(given)}: of no use without --use_peft; add that, or leave out what needs it")
        if self.probe_hidden_size and self.use_peft:
            raise ValueError("a probe leaves the model frozen, so it has no use for adapters; leave --use_peft out")
        if (self.probe_hidden_size or self.use_peft) and self.model_name_or_path is None:
            raise ValueError("probes and adapters need a pretrained model; pass --model_name_or_path")

    def with_trained_model(self, folder: Path) -> "GlueArguments":
        """The same flags for the model that a run has saved, its probe or adapters included."""
        whole = super().with_trained_model(folder)
        backbone = self.model if self.probe_hidden_size else self.backbone
        return replace(whole, backbone=backbone, probe_hidden_size=None, use_peft=False, **_lora_defaults())


def _lora_defaults() -> dict[str, Any]:
    return {entry.name: entry.default for entry in fields(GlueArguments) if entry.name.startswith("lora_")}


def parse_glue_arguments(arguments: Sequence[str]) -> tuple[GlueArguments, VassoTrainingArguments]:
    """
    Parse a command line, and the recipe that it names, whose flags it overrules.

    Without `--output_dir` the run goes to `runs/<task label>/<model>/<method label>/seed-<n>`. Without any of
    `--do_train`, `--do_eval` and `--do_predict` it trains and evaluates, or predicts where the task has nothing to
    train on.

    Args:
        arguments: The words after the command's name.

    Returns:
        The two groups of flags.

    Raises:
        ValueError: A flag is unknown, missing or has a wrong value, or it is for classes and the task a regression.
    """
    glue, training = parse_flags(_parser(), arguments, _defaults, _INSTEAD_OF, {})
    task = get_task(glue.task_name)
    refuse_unknown_metric(training, ["loss", *task.metrics, *(() if task.is_regression else _CALIBRATION)])
    if task.is_regression:
        _refuse_what_needs_classes(glue.task_name, training)
    return glue, training


def _refuse_what_needs_classes(task_name: str, training: VassoTrainingArguments) -> None:
    method = training.build_method()
    if training.label_smoothing_factor:
        raise ValueError(f"label_smoothing_factor needs classes, and task {task_name} is a regression; leave it out")
    if method.extra_loss is not None:
        raise ValueError(
            f"method {method.name!r} compares probabilities of classes, and task {task_name} is a regression; take "
            "another method"
        )


@cache
def _parser() -> TaskParser:
    """Made once, as a suite parses the flags of hundreds of runs."""
    return TaskParser(
        GlueArguments,
        VassoTrainingArguments,
        prog="hf-vasso glue",
        description="Fine-tune a model on a GLUE task and evaluate it.",
    )


def _defaults(given: Namespace) -> list[str]:
    words = []
    if not (given.do_train or given.do_eval or given.do_predict):
        has_training = given.task_name not in TASKS or "train" in TASKS[given.task_name].splits
        words += ["--do_train", "--do_eval"] if has_training else ["--do_predict"]
    if given.greater_is_better is None and str(given.metric_for_best_model).removeprefix("eval_") in _CALIBRATION:
        words += ["--greater_is_better", "false"]  # by itself the Trainer knows this only of losses
    return words

"""The flags of `hf-vasso glue`: those of the Transformers example beside those of `VassoTrainingArguments`."""

import os
from argparse import SUPPRESS, Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import torch
from transformers import HfArgumentParser

from hf_vasso.tasks.glue import TASKS, Task, get_task
from hf_vasso.tasks.recipes import recipe_arguments, recipe_names
from hf_vasso.training.arguments import VassoTrainingArguments

__all__ = [
    "PATHS",
    "GlueArguments",
    "base_name",
    "parse_glue_arguments",
]

# Flags of the Transformers example for data of one's own.
_INSTEAD_OF_DATA_DIR = {"dataset_name", "test_file", "train_file", "validation_file"}
_COUNTS = (
    "max_seq_length",
    "max_train_samples",
    "max_train_samples_per_class",
    "max_eval_samples",
    "max_predict_samples",
    "holdout_samples",
    "probe_hidden_size",
    "lora_r",
    "lora_alpha",
)
_MODELS = ("config_name", "model_name_or_path", "tokenizer_name")
PATHS = (*_MODELS, "data_dir")


@dataclass
class GlueArguments:
    """
    The task, its data and the model; names as in the Transformers example `run_glue.py`.

    Of the example's flags these are left out: `--train_file`, `--validation_file`, `--test_file`, `--dataset_name` and
    `--dataset_config_name`, as `--data_dir` takes data of one's own; `--overwrite_cache`, as a cached tokenisation is
    used only where data and flags are the same; `--use_fast_tokenizer`, as Transformers chooses.

    Raises:
        ValueError: The task is unknown, no model is named, or a number is out of its range.
    """

    task_name: str = field(metadata={"help": f"The task: {', '.join(TASKS)}."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "The pretrained model to fine-tune: a hub id or a folder."}
    )
    config: str | None = field(
        default=None,
        metadata={
            "help": f"A recipe: a shipped one ({', '.join(recipe_names())}) or a YAML file. The command line wins."
        },
    )
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
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on the first so many examples, at least 1."}
    )
    max_train_samples_per_class: int | None = field(
        default=None, metadata={"help": "Train on the first so many examples of each class, at least 1."}
    )
    holdout_samples: int | None = field(
        default=None,
        metadata={
            "help": "Hold so many training examples out, at least 1, and evaluate on them instead of on the "
            "validation split: for choosing numbers."
        },
    )
    label_noise: float = field(
        default=0.0,
        metadata={"help": "Share of the training examples that get a wrong label, drawn by the seed, in [0, 1)."},
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Evaluate on the first so many examples of each split, at least 1."}
    )
    max_predict_samples: int | None = field(
        default=None, metadata={"help": "Predict the first so many examples of each split, at least 1."}
    )
    config_name: str | None = field(
        default=None,
        metadata={"help": "The model's configuration if it is another than the model's; alone: train from scratch."},
    )
    tokenizer_name: str | None = field(
        default=None, metadata={"help": "The tokenizer if it is another than the model's: a hub id or a folder."}
    )
    cache_dir: str | None = field(
        default=None, metadata={"help": "Where models from the hub are kept; None is the folder of huggingface_hub."}
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of the model on the hub."})
    token: str | None = field(
        default=None, metadata={"help": "Access token of the hub; None is the one of `hf auth login`."}
    )
    trust_remote_code: bool = field(
        default=False, metadata={"help": "Run model code from the hub. Only for repositories that you have read."}
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
    task_label: str | None = field(
        default=None, metadata={"help": "What reports and folders call the task with its data; None is its name."}
    )
    method_label: str | None = field(
        default=None, metadata={"help": "What reports and folders call this run; None is the method's name."}
    )
    dry_run: bool = field(default=False, metadata={"help": "Show what would be done, its steps and passes, and stop."})
    fresh: bool = field(
        default=False, metadata={"help": "Start over: delete what an earlier run with this output_dir wrote."}
    )

    def __post_init__(self) -> None:
        task = get_task(self.task_name)
        if self.model_name_or_path is None and self.config_name is None:
            raise ValueError(
                "no model is named; pass --model_name_or_path to fine-tune a pretrained one "
                "or --config_name to train one from scratch"
            )
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in _MODELS:
            value = getattr(self, name)
            if value is not None and value.startswith(("/", "./", "../")) and not os.path.exists(value):
                raise ValueError(f"{name}: there is no {value}; name an existing folder, or a model on the hub")
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

    @property
    def model(self) -> str:
        """The hub id or folder that names the model, also one trained from scratch."""
        model = self.model_name_or_path or self.config_name
        assert model is not None  # checked in __post_init__
        return model

    def with_trained_model(self, folder: Path) -> "GlueArguments":
        """The same flags for the model that a run has saved, its tokenizer and adapters included."""
        made_of = {"config_name": None, "tokenizer_name": None, "probe_hidden_size": None, "use_peft": False}
        return replace(self, model_name_or_path=str(folder), **made_of, **_lora_defaults())


def _lora_defaults() -> dict[str, Any]:
    return {entry.name: entry.default for entry in fields(GlueArguments) if entry.name.startswith("lora_")}


class _Parser(HfArgumentParser):
    """A parser whose errors can be caught, and whose message is not preceded by a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message}; `{self.prog} --help` lists all flags")


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
        ValueError: A flag is unknown, missing or has a wrong value.
    """
    parser = _glue_parser()
    words = [*_recipe(arguments), *arguments]
    given, unknown = parser.parse_known_args(words)
    if unknown:
        raise ValueError(_unknown_flag(unknown, vars(given)))
    words += _defaults(given)
    glue, training = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    return glue, training


@cache
def _glue_parser() -> _Parser:
    """Made once, as a suite parses the flags of hundreds of runs."""
    return _Parser(
        [GlueArguments, VassoTrainingArguments],  # pyright: ignore[reportArgumentType]
        prog="hf-vasso glue",
        description="Fine-tune a model on a GLUE task and evaluate it.",
        allow_abbrev=False,  # an abbreviation may become another flag with the next version of Transformers
    )


def base_name(name_or_path: str) -> str:
    """A hub id as it is, and of the path of an existing folder the last part."""
    return os.path.basename(os.path.realpath(name_or_path)) if os.path.exists(name_or_path) else name_or_path


def _recipe(arguments: Sequence[str]) -> list[str]:
    parser = _Parser(prog="hf-vasso glue", add_help=False, allow_abbrev=False, argument_default=SUPPRESS)
    parser.add_argument("--config")
    given, _ = parser.parse_known_args(arguments)
    return recipe_arguments(given.config) if "config" in given else []


def _unknown_flag(unknown: Sequence[str], known: Iterable[str]) -> str:
    """The list of all flags is a page long, so the message has the nearest one and names `--help`."""
    flags = [word for word in unknown if word.startswith("--")]
    if not flags:
        return f"unexpected {unknown[0]!r}; flags begin with --, `hf-vasso glue --help` lists them"
    name = flags[0].removeprefix("--").split("=")[0]
    if name in _INSTEAD_OF_DATA_DIR:
        return f"unknown flag --{name}; pass --data_dir with a folder that holds one file per split, <task>/<split>"
    nearest = get_close_matches(name.replace("-", "_"), known, n=1)
    hint = f", did you mean --{nearest[0]}?" if nearest else "."
    return f"unknown flag --{name}{hint} `hf-vasso glue --help` lists all flags"


def _defaults(given: Namespace) -> list[str]:
    """What the flags default to where it depends on other flags."""
    words = []
    if given.output_dir is None:
        model = given.model_name_or_path or given.config_name or "model"
        label = given.method_label or given.method
        folder = Path(
            "runs", given.task_label or given.task_name, Path(base_name(model)).name, label, f"seed-{given.seed}"
        )
        words += ["--output_dir", str(folder)]
    if not (given.do_train or given.do_eval or given.do_predict):
        has_training = given.task_name not in TASKS or "train" in TASKS[given.task_name].splits
        words += ["--do_train", "--do_eval"] if has_training else ["--do_predict"]
    if not torch.accelerator.is_available():
        words += ["--use_cpu"]  # the Trainer falls back on the CPU, but only so do several processes find each other
    return words

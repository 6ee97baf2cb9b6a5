"""The flags that the commands of all tasks share, and how a command line with a recipe is parsed."""

import os
from argparse import SUPPRESS, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, NoReturn, Self

import torch
from transformers import HfArgumentParser

from hf_vasso.spelling import one_line, shown, without_tokens
from hf_vasso.tasks.evaluation_flags import refuse_evaluation_flags
from hf_vasso.tasks.flag_values import check_values
from hf_vasso.tasks.labels import check_label, check_recorded, run_place
from hf_vasso.tasks.recipes import recipe_arguments, recipe_names

__all__ = ["PATHS", "TaskArguments", "TaskParser", "base_name", "parse_flags"]

_MODELS = ("config_name", "model_name_or_path", "tokenizer_name")
PATHS = (*_MODELS, "data_dir")
"""Flags that may name a folder."""

# What its checks of flags may raise beside a ValueError: no such file, no such package, an object of other keys.
_OF_TRANSFORMERS = (ArithmeticError, AttributeError, ImportError, LookupError, OSError, TypeError)


@dataclass(kw_only=True)
class TaskArguments:
    """
    Data, model and run; names as in the examples of Transformers.

    Raises:
        ValueError: No model is named, a number is out of its range, or a name cannot be recorded.
    """

    counts: ClassVar[tuple[str, ...]] = (
        "max_train_samples",
        "max_eval_samples",
        "max_predict_samples",
        "holdout_samples",
    )
    """Flags that must be at least 1 where they are given."""

    data_dir: str | None = field(default=None, metadata={"help": "A folder with data, instead of the hub."})
    model_name_or_path: str | None = field(
        default=None, metadata={"help": "The pretrained model to fine-tune: a hub id or a folder."}
    )
    config: str | None = field(
        default=None,
        metadata={
            "help": f"A recipe: a shipped one ({', '.join(recipe_names())}) or a YAML file. The command line wins."
        },
    )
    max_train_samples: int | None = field(
        default=None, metadata={"help": "Train on the first so many examples, at least 1."}
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Evaluate on the first so many examples of each split, at least 1."}
    )
    max_predict_samples: int | None = field(
        default=None, metadata={"help": "Predict the first so many examples of each split, at least 1."}
    )
    holdout_samples: int | None = field(
        default=None,
        metadata={
            "help": "Hold so many training examples out, at least 1, and evaluate on them instead of on the "
            "validation split: for choosing numbers."
        },
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
        if not self.model_name_or_path and not self.config_name:
            raise ValueError(
                "no model is named; pass --model_name_or_path to fine-tune a pretrained one "
                "or --config_name to train one from scratch"
            )
        for name in self.counts:
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        for name in _MODELS:
            value = getattr(self, name)
            if value is not None and value.startswith(("/", "./", "../")) and not os.path.exists(value):
                raise ValueError(f"{name}: there is no {value}; name an existing folder, or a model on the hub")
        self._check_names()

    def _check_names(self) -> None:
        """Before anything is written: a record with another name could not be read again."""
        for name in ("task_name", "task_label", "method_label"):
            value = getattr(self, name, None)
            if value is not None:
                check_label(name, value)
        for what, value in (("the model's name", self.model), ("dataset_name", getattr(self, "dataset_name", None))):
            if value is not None:
                check_recorded(what, base_name(value))

    @property
    def model(self) -> str:
        """The hub id or folder that names the model, also one trained from scratch."""
        model = self.model_name_or_path or self.config_name
        assert model is not None  # checked in __post_init__
        return model

    @property
    def folders(self) -> dict[str, str]:
        """The existing folders that flags name: flag to real path."""
        named = {name: getattr(self, name) for name in PATHS}
        return {name: os.path.realpath(path) for name, path in named.items() if path and os.path.exists(path)}

    def with_trained_model(self, folder: Path) -> Self:
        """The same flags for the model that a run has saved, its tokenizer included."""
        return replace(self, model_name_or_path=str(folder), config_name=None, tokenizer_name=None)


class TaskParser(HfArgumentParser):
    """A parser whose errors can be caught, and whose message is not preceded by a page of usage."""

    def __init__(self, *groups: type, **kwargs: Any) -> None:
        # An abbreviation may become another flag with the next version of Transformers.
        super().__init__(groups, allow_abbrev=False, **kwargs)  # pyright: ignore[reportArgumentType]

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{without_tokens(one_line(message))}; `{self.prog} --help` lists all flags")


def parse_flags(
    parser: TaskParser,
    arguments: Sequence[str],
    defaults: Callable[[Namespace], list[str]],
    instead_of: Mapping[str, str],
    out_of_place: Mapping[str, str],
) -> tuple[Any, ...]:
    """
    Parse a command line, and the recipe that it names, whose flags it overrules.

    Without `--output_dir` the run goes to `runs/<task label>/<model>/<method label>/seed-<n>`.

    Args:
        parser: It knows the flags.
        arguments: The words after the command's name.
        defaults: From what was given the words for what was not, where that depends on the task.
        instead_of: Flags of the examples that this command has not, and what to do instead.
        out_of_place: Flags of the training that must keep their default, with the reason.

    Returns:
        An instance of each of the parser's groups, that of the training's flags as the last.

    Raises:
        ValueError: A flag is unknown, missing or has a wrong value, or it would change how rows are scored.
    """
    words = [*_recipe(parser.prog, arguments), *arguments]
    given, unknown = parser.parse_known_args(words)
    if unknown:
        raise ValueError(_unknown_flag(parser.prog, unknown, vars(given), instead_of))
    words += defaults(given)
    given, _ = parser.parse_known_args(words)
    check_values(vars(given))
    if given.output_dir is None:
        words += ["--output_dir", str(_output_dir(given))]
    if not torch.accelerator.is_available():
        words += ["--use_cpu"]  # the Trainer falls back on the CPU, but only so do several processes find each other
    try:
        groups = parser.parse_args_into_dataclasses(words, look_for_args_file=False)
    except _OF_TRANSFORMERS as error:
        raise ValueError(
            f"Transformers cannot use these flags: {type(error).__name__}: {one_line(str(error))}"
        ) from error
    _take_launchers_precision(groups[-1])
    refuse_evaluation_flags(groups[-1], out_of_place)
    return groups


def base_name(name_or_path: str) -> str:
    """A hub id as it is, and of the path of an existing folder the last part."""
    return os.path.basename(os.path.realpath(name_or_path)) if os.path.exists(name_or_path) else name_or_path


def _recipe(prog: str, arguments: Sequence[str]) -> list[str]:
    parser = TaskParser(prog=prog, add_help=False, argument_default=SUPPRESS)
    parser.add_argument("--config")
    given, _ = parser.parse_known_args(arguments)
    repeated = {word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")}
    return recipe_arguments(given.config, repeated, prog) if "config" in given else []


def _take_launchers_precision(training: Any) -> None:
    """`accelerate launch` may ask for mixed precision, of which the flags, and so the record, would not tell."""
    precision = getattr(training, "mixed_precision", "no")  # Transformers 4 does not say
    if precision in ("bf16", "fp16"):
        setattr(training, precision, True)


def _unknown_flag(prog: str, unknown: Sequence[str], known: Iterable[str], instead_of: Mapping[str, str]) -> str:
    """The list of all flags is a page long, so the message has the nearest one and names `--help`."""
    flags = [word for word in unknown if word.startswith("--")]
    if not flags:
        return f"unexpected {shown(unknown[0])}; flags begin with --, `{prog} --help` lists them"
    name = flags[0].removeprefix("--").split("=")[0]
    if name in instead_of:
        return f"unknown flag --{name}; {instead_of[name]}"
    name = shown(name)[1:-1]
    nearest = get_close_matches(name.replace("-", "_"), known, n=1)
    hint = f", did you mean --{nearest[0]}?" if nearest else "."
    return f"unknown flag --{name}{hint} `{prog} --help` lists all flags"


def _output_dir(given: Namespace) -> Path:
    model = given.model_name_or_path or given.config_name or "model"
    task_label, label = given.task_label or given.task_name, given.method_label or given.method
    return Path("runs") / run_place(task_label, base_name(model), label, f"seed-{given.seed}")

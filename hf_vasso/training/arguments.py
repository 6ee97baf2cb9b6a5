"""`TrainingArguments` with the numbers of sharpness-aware training."""

import json
from dataclasses import dataclass, field
from typing import Any

from transformers import Seq2SeqTrainingArguments, TrainingArguments

from hf_vasso.engine.parameters import compile_pattern
from hf_vasso.engine.rho import RHO_SCHEDULERS, WARMUP_SHARE, RhoSchedule
from hf_vasso.methods import METHODS, Method, get_method

__all__ = [
    "PERTURBATION_OPTIONS",
    "AnyTrainingArguments",
    "SharpnessArguments",
    "VassoSeq2SeqTrainingArguments",
    "VassoTrainingArguments",
]

PERTURBATION_OPTIONS = ("ascent_every", "ascent_fraction", "rho_warmup_steps", "rho_scheduler_type", "no_perturb")
"""What is refused for a method without a perturbation."""


@dataclass
class SharpnessArguments:
    """
    What a `SharpnessAwareMixin` reads from its arguments. The help of each field is its description.

    Raises:
        ValueError: For an unknown name, a number that the method does not use, or one out of its range.
    """

    method: str = field(default="vasso", metadata={"help": f"Sharpness-aware method: {', '.join(METHODS)}."})
    rho: float | None = field(
        default=None,
        metadata={"help": "Radius of the perturbation, in weight units, >= 0 (default: the method's own)."},
    )
    theta: float | None = field(
        default=None,
        metadata={"help": "Weight of the new gradient in VASSO's average, in (0, 1] (default: the method's own)."},
    )
    rho_warmup_steps: float | None = field(
        default=None,
        metadata={
            "help": "Steps over which rho grows linearly from 0, >= 0; below 1 a share of all steps (default: "
            f"{WARMUP_SHARE:g})."
        },
    )
    rho_scheduler_type: str | None = field(
        default=None,
        metadata={
            "help": f"How rho runs after its warm-up: {', '.join(RHO_SCHEDULERS)} (default: the method's own, mostly "
            "constant)."
        },
    )
    ascent_every: int | None = field(
        default=None,
        metadata={
            "help": "Steps from one ascent to the next, >= 1, for a method that ascends at every step or every k "
            "(default: the method's own)."
        },
    )
    ascent_fraction: float | None = field(
        default=None,
        metadata={
            "help": "Share of each process's examples of a step that the pass at w is made with, in (0, 1] (default: "
            "the method's own, mostly all)."
        },
    )
    no_perturb: str | None = field(
        default=None,
        metadata={
            "help": "Regular expression; parameters in whose name it is found are trained but never perturbed, "
            "such as 'embeddings|LayerNorm'."
        },
    )
    same_dropout: bool = field(
        default=True, metadata={"help": "Whether both passes of a step draw the same dropout masks."}
    )
    ascent_sync: bool = field(
        default=True,
        metadata={
            "help": "Whether the gradient at w of an ascent is averaged over processes. If not, each perturbs along "
            "its own, and an exchange of gradients per step is saved."
        },
    )
    method_args: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "JSON object with other numbers of the method, such as '{\"eta\": 0.01}'."},
    )

    def __post_init__(self) -> None:
        self.method_args = _as_object(self.method_args)
        compile_pattern(self.no_perturb or "")
        RhoSchedule(1, self.rho_warmup_steps, self.rho_scheduler_type or "constant")  # for its checks
        if not self.build_method().schedule.perturbs:
            self._refuse_unused_options()
        next_in_line = getattr(super(), "__post_init__", None)
        if next_in_line is not None:
            next_in_line()

    def __getstate__(self) -> dict[str, Any]:
        """Without the token: the Trainer pickles its arguments beside each model that it saves or pushes."""
        return {**self.__dict__, **({"hub_token": None} if "hub_token" in self.__dict__ else {})}

    def engine_options(self) -> dict[str, Any]:
        """What a `SharpnessAwareStep` takes from these arguments beside the method."""
        names = ("rho_warmup_steps", "rho_scheduler_type", "no_perturb", "same_dropout", "ascent_sync")
        return {name: getattr(self, name) for name in names}

    def build_method(self, method: str | Method | None = None) -> Method:
        """
        The method with the numbers of these arguments.

        Args:
            method: A preset's name or a `Method` that takes the place of the field `method`.

        Raises:
            ValueError: For an unknown name, a number that the method does not use, or numbers beside a `Method`.
        """
        names = ("rho", "theta", "ascent_every", "ascent_fraction")
        given = {name: getattr(self, name) for name in names}
        numbers = {name: number for name, number in given.items() if number is not None}
        other_numbers = self.method_args if isinstance(self.method_args, dict) else {}
        for name in numbers.keys() & other_numbers.keys():
            raise ValueError(
                f"{name} stands in the arguments and in method_args, got {numbers[name]} and "
                f"{other_numbers[name]}: give it once"
            )
        numbers |= other_numbers
        if not isinstance(method, Method):
            return get_method(method or self.method, **numbers)
        if numbers:
            raise ValueError(
                f"a Method carries its own numbers, got {', '.join(f'{k}={v}' for k, v in numbers.items())} "
                "beside it: set them in the Method"
            )
        return method

    def _refuse_unused_options(self) -> None:
        for name in PERTURBATION_OPTIONS:
            if getattr(self, name):
                raise ValueError(
                    f"method {self.method!r} perturbs nothing and does not use {name}, got {getattr(self, name)!r}: "
                    "leave it out, or choose another method"
                )


@dataclass
class VassoTrainingArguments(SharpnessArguments, TrainingArguments):
    """
    `TrainingArguments` and the fields of `SharpnessArguments`.

    Example:
        >>> VassoTrainingArguments("out", method="sam", rho=0.1, report_to="none").build_method().numbers
        {'rho': 0.1}
    """


@dataclass
class VassoSeq2SeqTrainingArguments(SharpnessArguments, Seq2SeqTrainingArguments):
    """`Seq2SeqTrainingArguments` and the fields of `SharpnessArguments`."""


AnyTrainingArguments = VassoTrainingArguments | VassoSeq2SeqTrainingArguments


def _as_object(method_args: dict[str, Any] | str | None) -> dict[str, Any] | None:
    if not isinstance(method_args, str):
        return method_args
    try:
        numbers = json.loads(method_args)
    except json.JSONDecodeError as error:
        raise ValueError(f"method_args must be a JSON object, got {method_args!r}: {error}") from error
    if not isinstance(numbers, dict):
        raise ValueError(f"method_args must be a JSON object such as '{{\"eta\": 0.01}}', got {method_args!r}")
    return numbers

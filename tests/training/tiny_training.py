"""Tiny models and data, and one way to train them: what the tests of the Trainer share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, Trainer

from hf_vasso import VassoTrainer, VassoTrainingArguments
from hf_vasso.training.arguments import SharpnessArguments

Examples = list[dict[str, Any]]

SPLIT = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}  # a step's 8 examples in micro-batches
EVERY_STEP = {"save_strategy": "steps", "save_steps": 1}

VOCABULARY = 32
LENGTH = 10  # tokens of a padded example
EXACT = 1e-12  # float64 sums in another order, over a few optimizer steps: measured 1e-14 to 1e-13
TRANSFORMERS_4 = transformers.__version__.startswith("4.")
# The Trainer sums the losses that it logs in fp32; transformers 4.57 also rounds them to 4 digits.
LOGGED = {"rel": 1e-6, "abs": 1.01e-4 if TRANSFORMERS_4 else 0.0}
PERTURBED = 1e-3  # a perturbation of the tests' size changes weights by more; none at all changes them by 0

# A preset of each schedule and each descent; the whole family is in the engine's own tests.
OF_EACH_KIND = (
    "sam",
    "vasso",
    "sagm",
    "gsam",
    "looksam",
    "aesam",
    "ss-sam",
    "esam",
    "msam",
    "vasso-re",
    "vasso-free",
    "vasso-quarter",
)


def bert(dropout: float = 0.0, **config: Any) -> BertForSequenceClassification:
    """A classifier of 2 layers in float64, the same weights at each call."""
    torch.manual_seed(0)
    return BertForSequenceClassification(
        BertConfig(
            vocab_size=VOCABULARY,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=LENGTH,
            hidden_dropout_prob=dropout,
            attention_probs_dropout_prob=dropout,
            **config,
        )
    ).double()


def sentences(count: int = 32) -> Examples:
    """Sequences of 4 to 10 tokens, padded, with one of two labels."""
    generator = torch.Generator().manual_seed(0)
    examples = []
    for _ in range(count):
        tokens = torch.randint(3, VOCABULARY, (LENGTH,), generator=generator)
        mask = (torch.arange(LENGTH) < torch.randint(4, LENGTH + 1, (), generator=generator)).long()
        label = torch.randint(2, (), generator=generator).item()
        examples.append({"input_ids": tokens * mask, "attention_mask": mask, "labels": label})
    return examples


def numbers(method: str) -> dict[str, Any]:
    """
    Arguments that choose a method with a perturbation large enough to be seen in the weights.

    Args:
        method: Its name, and what numbers of its own it is to have, as in "vasso-re p=0.5".
    """
    method, *own = method.split()
    method_args = {name: float(value) for name, value in (number.split("=") for number in own)}
    arguments = {"method": method} | ({"method_args": method_args} if own else {})
    if method in ("none", "saf", "mesa"):
        return arguments
    return arguments | {"rho": 2.0 if "asam" in method else 0.3}


@dataclass(frozen=True)
class Training:
    """What is left of a training: its trainer, the weights and the entries that its steps logged."""

    trainer: Trainer
    weights: dict[str, Tensor]
    logs: list[dict[str, float]]

    @property
    def losses(self) -> list[float]:
        return [entry["loss"] for entry in self.logs]


def build_trainer(
    output_dir: Path,
    model: nn.Module,
    data: Examples,
    *,
    trainer_class: type[Trainer] = VassoTrainer,
    arguments_class: type[VassoTrainingArguments] = VassoTrainingArguments,
    trainer_options: dict[str, Any] | None = None,
    **arguments: Any,
) -> Trainer:
    """A trainer for two epochs of four steps, unless the arguments say otherwise."""
    defaults = {
        "per_device_train_batch_size": 8,
        "num_train_epochs": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
    }
    if issubclass(arguments_class, SharpnessArguments):
        defaults["rho_warmup_steps"] = 0  # as loops by hand have it, and so that each of few steps is perturbed
    args = arguments_class(str(output_dir), **(defaults | arguments))
    return trainer_class(model=model, args=args, train_dataset=data, **(trainer_options or {}))


def run(trainer: Trainer, resume_from_checkpoint: str | None = None) -> Training:
    """Train to the end."""
    trainer.train(resume_from_checkpoint=resume_from_checkpoint)
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return Training(trainer, weights_of(trainer.model), logs)


def assert_steps_of_both_kinds(training: Training, unperturbed: Training) -> None:
    """By the passes: where a schedule ascends at some steps only, some of the training's did and others did not."""
    if training.trainer.method.schedule.ascents not in ("0", "1"):
        made, least = (each.trainer.sharpness_passes()["backward"] for each in (training, unperturbed))
        assert least < made < 2 * least


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def distance(left: dict[str, Tensor], right: dict[str, Tensor]) -> float:
    """The largest difference between two sets of weights."""
    assert left.keys() == right.keys()
    return max((left[name] - right[name]).abs().max().item() for name in left)

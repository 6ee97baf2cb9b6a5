"""A tiny training with a checkpoint after each step, and what damages those."""

import random
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import dropout

from hf_vasso import VassoTrainer, VassoTrainingArguments

FILES = (
    "model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
    "sharpness.pt",
    "training_args.bin",
    "manifest.json",
)


class Tiny(nn.Module):
    """A line through points, with dropout, so that the random numbers count."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(4, 1)

    def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        predicted = self.layer(dropout(inputs, 0.3, self.training)).squeeze(-1)
        return {"loss": (predicted - labels).square().mean(), "logits": predicted}


def points() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [{"inputs": torch.randn(4, generator=generator), "labels": torch.tensor(1.0)} for _ in range(16)]


def build(folder: Path, **arguments: Any) -> VassoTrainer:
    """A trainer of two epochs of two steps each, with a checkpoint after each step."""
    defaults = {
        "method": "vasso",
        "rho": 0.5,
        "rho_warmup_steps": 0,
        "num_train_epochs": 2,
        "per_device_train_batch_size": 8,
        "learning_rate": 0.1,
        "logging_steps": 1,
        "save_strategy": "steps",
        "save_steps": 1,
        "report_to": "none",
        "use_cpu": True,
        "disable_tqdm": True,
        "metric_for_best_model": "loss",
    }
    args = VassoTrainingArguments(str(folder), **(defaults | arguments))
    return VassoTrainer(Tiny(), args, train_dataset=points(), eval_dataset=points()[:4])


def weights(trainer: VassoTrainer) -> list[float]:
    return [value for tensor in trainer.model.state_dict().values() for value in tensor.flatten().tolist()]


def copy_of(straight: Path, folder: Path, steps: tuple[int, ...]) -> Path:
    for step in steps:
        shutil.copytree(straight / f"checkpoint-{step}", folder / f"checkpoint-{step}")
    return folder


def missing(file: Path, chance: random.Random, other: Path) -> None:
    file.unlink()


def truncated(file: Path, chance: random.Random, other: Path) -> None:
    file.write_bytes(file.read_bytes()[: chance.randrange(1, file.stat().st_size)])


def empty(file: Path, chance: random.Random, other: Path) -> None:
    file.write_bytes(b"")


def of_another_step(file: Path, chance: random.Random, other: Path) -> None:
    content = bytearray(other.read_bytes())
    if content == file.read_bytes():  # of the arguments, which are the same at each step
        content[chance.randrange(len(content))] ^= 255
    file.write_bytes(content)


def flipped(file: Path, chance: random.Random, other: Path) -> None:
    content = bytearray(file.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    file.write_bytes(content)


DAMAGES = (missing, truncated, empty, of_another_step, flipped)

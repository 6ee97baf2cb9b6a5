"""
Time of an optimizer step by method, against the floor of two passes and one optimizer step.

    python benchmarks/step_time.py --model_name_or_path FOLDER --methods none sam vasso --rounds 30

All contestants live in one process and take turns, so that a machine that slows down slows all of them. A step is what
the Trainer does: `training_step`, clipping, AdamW, clearing the gradients. "floor" is the stock Trainer's pass made
twice in such a step: what a sharpness-aware method costs that computes nothing of its own. Some methods make one pass
in one step and two in the next, so a round is a block of steps. Quoted are medians of the ratios of one round, with
their quartiles, and the passes that were made. `--against FOLDER` times the same methods of another checkout, too.
"""

import argparse
import importlib
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from tqdm import trange
from transformers import AutoConfig, AutoModelForSequenceClassification, Trainer, TrainingArguments, set_seed

from hf_vasso import VassoTrainer, VassoTrainingArguments
from hf_vasso.training.positions import POSITIONS

FLOOR = "floor"
AGAINST = "@against"


def of_checkout(folder: str) -> dict[str, Any]:
    """`VassoTrainer` and its arguments as another checkout has them; its modules live on without their names."""

    def ours() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] == "hf_vasso"]

    kept = {name: sys.modules.pop(name) for name in ours()}
    sys.path.insert(0, folder)
    try:
        package = importlib.import_module("hf_vasso")
        assert str(package.__file__).startswith(folder), f"{folder} holds no hf_vasso, found {package.__file__}"
        return {"trainer": package.VassoTrainer, "arguments": package.VassoTrainingArguments}
    finally:
        sys.path.remove(folder)
        for name in ours():
            del sys.modules[name]
        sys.modules.update(kept)


def build_model(source: str) -> torch.nn.Module:
    """A classifier from a folder or hub id; random weights of the MiniLM size for "minilm"."""
    set_seed(0)
    if source != "minilm":
        return AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    config = AutoConfig.for_model(
        "bert", hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536, num_labels=2
    )
    return AutoModelForSequenceClassification.from_config(config)


def build_step(
    contestant: str, arguments: argparse.Namespace, batch: dict[str, torch.Tensor], versions: dict[str, dict[str, Any]]
) -> tuple[Any, Any]:
    """One optimizer step of a contestant, and what counts its passes, as functions without arguments."""
    method, _, version = contestant.partition("@")
    common = {"output_dir": tempfile.mkdtemp(), "report_to": "none", "use_cpu": not torch.cuda.is_available()}
    trainer: Any
    if contestant == FLOOR:
        trainer = Trainer(build_model(arguments.model_name_or_path), TrainingArguments(**common))
    else:
        classes = versions[version]
        trainer = classes["trainer"](
            build_model(arguments.model_name_or_path), classes["arguments"](method=method, **common)
        )
    total = arguments.steps * (arguments.rounds + 1)
    trainer.create_optimizer_and_scheduler(num_training_steps=total)
    trainer.state.max_steps = total
    trainer.callback_handler.train_dataloader = [batch]  # an epoch is a step: SAF and MESA are at work from the second
    trainer.train_dataset = range(arguments.batch_size)
    extra_loss = trainer.method.extra_loss if contestant != FLOOR else None
    needs_positions = extra_loss is not None and extra_loss.needs_positions
    own = {**batch, POSITIONS: torch.arange(arguments.batch_size)} if needs_positions else batch
    model, optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.optimizer = optimizer
    trainer.current_gradient_accumulation_steps = 1

    def step() -> None:
        if contestant == FLOOR:
            trainer.training_step(model, own)
            model.zero_grad()
        trainer.training_step(model, own)
        trainer.accelerator.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        model.zero_grad()

    passes = trainer.sharpness_passes if contestant != FLOOR else dict
    return step, passes


def seconds(step: Callable[[], None], count: int) -> float:
    """Wall time of some steps, the device's work included."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(count):
        step()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", default="minilm", help="folder or hub id (default: MiniLM's size)")
    parser.add_argument("--methods", nargs="+", default=["none", "sam", "vasso"], help="presets to time")
    parser.add_argument("--batch_size", type=int, default=16, help="examples per step")
    parser.add_argument("--length", type=int, default=64, help="tokens per example")
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds of each contestant")
    parser.add_argument("--steps", type=int, default=1, help="steps of a round; 10 for methods whose steps differ")
    parser.add_argument("--against", help="another checkout of this package, whose methods take turns with these")
    arguments = parser.parse_args()
    torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
    batch = {
        "input_ids": torch.randint(1000, 20000, (arguments.batch_size, arguments.length)),
        "attention_mask": torch.ones(arguments.batch_size, arguments.length, dtype=torch.long),
        "labels": torch.randint(0, 2, (arguments.batch_size,)),
    }
    versions = {"": {"trainer": VassoTrainer, "arguments": VassoTrainingArguments}}
    contestants = [FLOOR, *arguments.methods]
    if arguments.against is not None:
        versions[AGAINST.removeprefix("@")] = of_checkout(arguments.against)
        contestants += [f"{name}{AGAINST}" for name in arguments.methods]
    built = {name: build_step(name, arguments, batch, versions) for name in contestants}
    for step, _ in [*built.values()] * 2:  # warm-up: allocations, the optimizer's state
        step()
    rounds = [
        {name: seconds(step, arguments.steps) for name, (step, _) in built.items()} for _ in trange(arguments.rounds)
    ]
    for name, (_, passes) in built.items():
        line = {"contestant": name, "n": arguments.rounds, "seconds": statistics.median(r[name] for r in rounds)}
        made = arguments.steps * arguments.rounds + 2
        line |= {f"{kind}_passes": round(count / made, 3) for kind, count in passes().items()}
        for base in (FLOOR, "none", f"{name}{AGAINST}"):
            if base in built:
                low, middle, high = statistics.quantiles([r[name] / r[base] for r in rounds], n=4)
                line[f"over_{base}"] = {"median": round(middle, 3), "quartiles": [round(low, 3), round(high, 3)]}
        print(json.dumps(line))


if __name__ == "__main__":
    main()

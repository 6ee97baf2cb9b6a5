"""
Time of saving a checkpoint with its manifest, against the stock Trainer.

    python benchmarks/save_time.py --model_name_or_path FOLDER --rounds 20

All contestants live in one process and take turns, in another order in each round. A round is a checkpoint and some
optimizer steps after it, as the Trainer's own loop makes both. "save" is the time for which the loop stands still;
"round" is that of the whole round, up to the moment when the checkpoint is sealed, so that it counts how much the
steps are slowed down by that. "_cpu" is the computing alone, of the loop's thread and of all threads, which other
programs disturb less. "none" is the method that writes what the stock Trainer writes and a state of a few
numbers, so that its ratio is the share of the manifest. A "@bare" contestant saves without one. Quoted are medians of
the ratios of one round, with their quartiles, and "added": what the loop waits for beside the Trainer's own save, as a
share of that same save, which no other program disturbs.
"""

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from step_time import build_model
from tqdm import trange
from transformers import Trainer, TrainingArguments

from hf_vasso import VassoTrainer, VassoTrainingArguments

STOCK = "stock"
BARE = "@bare"


_own_part: list[float] = []
_trainers_save = Trainer._save_checkpoint


def _timed_save(trainer: Trainer, model: Any, trial: Any) -> None:
    """The Trainer's own save, with its seconds kept."""
    start = time.perf_counter()
    _trainers_save(trainer, model, trial)
    _own_part.append(time.perf_counter() - start)


class Contestant:
    """A trainer whose optimizer has made a step, as its loop finds it when it saves."""

    def __init__(self, name: str, arguments: argparse.Namespace, batch: dict[str, torch.Tensor]) -> None:
        self.method, self.is_bare = name.removesuffix(BARE), name.endswith(BARE)
        common: dict[str, Any] = {
            "output_dir": tempfile.mkdtemp(dir=arguments.folder),
            "report_to": "none",
            "save_total_limit": 1,
            "logging_strategy": "no",
            "use_cpu": not torch.cuda.is_available(),
        }
        model = build_model(arguments.model_name_or_path)
        self.trainer: Any
        if self.method == STOCK:
            self.trainer = Trainer(model, TrainingArguments(**common))
        else:
            self.trainer = VassoTrainer(model, VassoTrainingArguments(method=self.method, **common))
        self.trainer.create_optimizer_and_scheduler(num_training_steps=1000)
        self.trainer.state.max_steps = 1000
        self.trainer.current_gradient_accumulation_steps = 1
        self.model, self.trainer.optimizer = self.trainer.accelerator.prepare(
            self.trainer.model, self.trainer.optimizer
        )
        self.batch = batch
        self.step()

    def step(self) -> None:
        """What the loop does between two checkpoints."""
        self.trainer.training_step(self.model, self.batch)
        self.trainer.optimizer.step()
        self.trainer.lr_scheduler.step()
        self.model.zero_grad()
        self.trainer.state.global_step += 1
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    def round(self, steps: int) -> dict[str, float]:
        """Seconds of the save and of a round, and how much of them was computed: by this thread, by all."""
        start, start_cpu, start_all = time.perf_counter(), time.thread_time(), time.process_time()
        if self.is_bare:
            Trainer._save_checkpoint(self.trainer, self.model, None)
        else:
            self.trainer._save_checkpoint(self.model, None)
            if self.method != STOCK:
                self.trainer._seal_saved()
        saved, saved_cpu = time.perf_counter(), time.thread_time()
        for _ in range(steps):
            self.step()
        if self.method != STOCK:
            self.trainer._wait_for_seal()
        return {
            "save": saved - start,
            "added": (saved - start) / _own_part[-1] - 1.0,
            "save_cpu": saved_cpu - start_cpu,
            "round": time.perf_counter() - start,
            "round_cpu": time.process_time() - start_all,
        }

    def close(self) -> None:
        shutil.rmtree(self.trainer.args.output_dir)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model_name_or_path", default="minilm", help="folder or hub id (default: MiniLM's size)")
    parser.add_argument("--methods", nargs="+", default=["none", "vasso"], help="presets to time")
    parser.add_argument("--batch_size", type=int, default=16, help="examples per step")
    parser.add_argument("--length", type=int, default=64, help="tokens per example")
    parser.add_argument("--rounds", type=int, default=20, help="counted rounds of each contestant")
    parser.add_argument("--steps", type=int, default=10, help="optimizer steps of a round")
    parser.add_argument(
        "--folder", type=Path, help="where the checkpoints are written (default: the temporary folder)"
    )
    arguments = parser.parse_args()
    patch.object(Trainer, "_save_checkpoint", _timed_save).start()
    torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
    batch = {
        "input_ids": torch.randint(1000, 20000, (arguments.batch_size, arguments.length)),
        "attention_mask": torch.ones(arguments.batch_size, arguments.length, dtype=torch.long),
        "labels": torch.randint(0, 2, (arguments.batch_size,)),
    }
    names = [STOCK, *(f"{method}{kind}" for method in arguments.methods for kind in ("", BARE))]
    built = {name: Contestant(name, arguments, batch) for name in names}
    for contestant in [*built.values()] * 2:  # warm-up: the second save is the first that deletes an older one
        contestant.round(arguments.steps)
    rounds = []
    for number in trange(arguments.rounds):
        order = random.Random(number).sample(names, len(names))
        rounds.append({name: built[name].round(arguments.steps) for name in order})
    for name, contestant in built.items():
        bases = [base for base in (STOCK, f"{name}{BARE}") if base in built and base != name]
        line: dict[str, Any] = {"contestant": name, "n": arguments.rounds}
        for time_of in ("save", "save_cpu", "round", "round_cpu"):
            line[f"{time_of}_seconds"] = round(statistics.median(each[name][time_of] for each in rounds), 4)
            for base in bases:
                ratios = [each[name][time_of] / each[base][time_of] for each in rounds]
                low, middle, high = statistics.quantiles(ratios, n=4)
                line[f"{time_of}_over_{base}"] = {
                    "median": round(middle, 3),
                    "quartiles": [round(low, 3), round(high, 3)],
                }
        low, middle, high = statistics.quantiles([each[name]["added"] for each in rounds], n=4)
        line["added"] = {"median": round(middle, 5), "quartiles": [round(low, 5), round(high, 5)]}
        print(json.dumps(line))
        contestant.close()


if __name__ == "__main__":
    main()

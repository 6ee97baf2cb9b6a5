"""
Tokens per second with batches of equally many tokens, by method, and of AdamW with batches of equally many pairs.

    python benchmarks/token_batches.py --data_dir FOLDER --task_name multi30k.de-en --rounds 20

All contestants live in one process and take turns, so that a machine that slows down slows all of them. A step is what
the Trainer does: `training_step`, clipping, AdamW, clearing the gradients; all methods take the same batches. A batch
of pairs has as many as a batch of tokens has on average, drawn at random. Quoted are the tokens of sources and
targets, without padding, that a second of steps trains on: the median of the rounds, the median ratio of AdamW's to it
in one round with its quartiles, and the share of padding.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import chain, islice, repeat
from typing import Any

import torch
from torch.utils.data import DataLoader
from tqdm import trange

from hf_vasso.tasks.translation.arguments import parse_translation_arguments
from hf_vasso.tasks.translation.run_translation import TranslationRun
from hf_vasso.tasks.translation.trainer import TranslationTrainer

Batch = dict[str, torch.Tensor]
BASE, PAIRS = "none", "none, batches of pairs"


def build_trainer(arguments: argparse.Namespace, method: str) -> TranslationTrainer:
    """A trainer of the recipe's kind, ready for steps."""
    words = ["--task_name", arguments.task_name, "--data_dir", arguments.data_dir, "--report_to", "none"]
    words += ["--config_name", arguments.config_name, "--max_tokens", str(arguments.max_tokens), "--method", method]
    run = TranslationRun(*parse_translation_arguments([*words, "--output_dir", tempfile.mkdtemp(), "--do_train"]))
    run.load(run.arguments, trains=True)
    trainer: Any = run.trainer
    trainer.create_optimizer_and_scheduler(num_training_steps=10**6)
    trainer.state.max_steps = 10**6
    trainer.model, trainer.optimizer = trainer.accelerator.prepare(trainer.model, trainer.optimizer)
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def batches(trainer: TranslationTrainer, of_pairs: bool) -> Iterator[Batch]:
    """Batches of a kind without end."""
    loader = trainer.get_train_dataloader()
    if of_pairs:
        size = len(trainer.train_dataset) // len(loader)  # pyright: ignore[reportArgumentType]
        loader = DataLoader(loader.dataset, batch_size=size, shuffle=True, collate_fn=trainer.data_collator)
    return chain.from_iterable(repeat(loader))


def tokens_per_second(trainer: Any, taken: Sequence[Batch]) -> float:
    """Of a step on each batch, the device's work included."""
    start = time.perf_counter()
    for batch in taken:
        trainer.training_step(trainer.model, batch)
        trainer.accelerator.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.model.zero_grad()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return own_tokens(taken) / (time.perf_counter() - start)


def own_tokens(taken: Sequence[Batch]) -> int:
    """Those of sources and targets that are no padding."""
    return sum(int(batch["attention_mask"].sum() + batch["labels"].ne(-100).sum()) for batch in taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task_name", default="multi30k.de-en")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--config_name", default="small")
    parser.add_argument("--max_tokens", type=int, default=1024)
    parser.add_argument("--methods", nargs="+", default=["sam", "vasso"], help="presets beside none")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5, help="of each contestant in a round")
    arguments = parser.parse_args()
    names = [BASE, PAIRS, *arguments.methods]
    trainers = {name: build_trainer(arguments, BASE if name == PAIRS else name) for name in names}
    sources = {of_pairs: batches(trainers[BASE], of_pairs) for of_pairs in (False, True)}
    rounds, taken = [], {name: [] for name in names}
    for number in trange(arguments.rounds + 1):
        drawn = {of_pairs: list(islice(source, arguments.steps)) for of_pairs, source in sources.items()}
        speeds = {name: tokens_per_second(trainers[name], drawn[name == PAIRS]) for name in names}
        if number > 0:  # the first one warms up
            rounds.append(speeds)
            for name in names:
                taken[name] += drawn[name == PAIRS]
    for name in names:
        padded = sum(batch["input_ids"].numel() + batch["labels"].numel() for batch in taken[name])
        low, median, high = statistics.quantiles([speeds[BASE] / speeds[name] for speeds in rounds], n=4)
        line = {
            "contestant": name,
            "n": len(rounds),
            "tokens_per_second": round(statistics.median(speeds[name] for speeds in rounds)),
            "none_over_it": {"median": round(median, 2), "quartiles": [round(low, 2), round(high, 2)]},
            "padding_share": round(1 - own_tokens(taken[name]) / padded, 3),
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()

"""
Tokens per second with batches of equally many tokens, against batches of equally many pairs.

    python benchmarks/token_batches.py --data_dir FOLDER --task_name multi30k.de-en --rounds 20

Both train the same model with AdamW in one process and take turns, so that a machine that slows down slows both. A
batch of pairs has as many as a batch of tokens has on average, drawn at random. Quoted are the tokens of sources and
targets, without padding, that a second of steps trains on: the medians of both, the median ratio of one round with its
quartiles, and the shares of padding.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import torch
from torch.utils.data import DataLoader

from hf_vasso.tasks.translation.arguments import parse_translation_arguments
from hf_vasso.tasks.translation.run_translation import TranslationRun
from hf_vasso.tasks.translation.trainer import TranslationTrainer

KINDS = ("tokens", "pairs")


def build_trainer(arguments: argparse.Namespace) -> TranslationTrainer:
    """A trainer of the recipe's kind, whose optimizer is made."""
    words = ["--task_name", arguments.task_name, "--data_dir", arguments.data_dir, "--report_to", "none"]
    words += ["--config_name", arguments.config_name, "--max_tokens", str(arguments.max_tokens), "--method", "none"]
    run = TranslationRun(*parse_translation_arguments([*words, "--output_dir", tempfile.mkdtemp(), "--do_train"]))
    run.load(run.arguments, trains=True)
    trainer = run.trainer
    trainer.create_optimizer_and_scheduler(num_training_steps=10**6)
    return trainer


def batches(trainer: TranslationTrainer, kind: str) -> Iterator[dict[str, torch.Tensor]]:
    """Batches of a kind without end."""
    loader = trainer.get_train_dataloader()
    if kind == "pairs":
        size = len(trainer.train_dataset) // len(loader)  # pyright: ignore[reportArgumentType]
        loader = DataLoader(loader.dataset, batch_size=size, shuffle=True, collate_fn=trainer.data_collator)
    return chain.from_iterable(repeat(loader))


def count_tokens(batch: dict[str, torch.Tensor]) -> tuple[int, int]:
    """The tokens of sources and targets, and these with the padding."""
    own = batch["attention_mask"].sum() + batch["labels"].ne(-100).sum()
    return int(own), batch["input_ids"].numel() + batch["labels"].numel()


def train_for(trainer: Any, source: Iterator[dict[str, torch.Tensor]], steps: int) -> tuple[float, int, int]:
    """Seconds, tokens, and tokens with padding of some steps."""
    taken = [next(source) for _ in range(steps)]
    trainer.model.train()
    start = time.perf_counter()
    for batch in taken:
        trainer.model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), 1.0)
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()
    seconds = time.perf_counter() - start
    own, padded = map(sum, zip(*map(count_tokens, taken), strict=True))
    return seconds, own, padded


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task_name", default="multi30k.de-en")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--config_name", default="small")
    parser.add_argument("--max_tokens", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5, help="of each kind in a round")
    arguments = parser.parse_args()
    trainer = build_trainer(arguments)
    sources = {kind: batches(trainer, kind) for kind in KINDS}
    rounds = [
        {kind: train_for(trainer, sources[kind], arguments.steps) for kind in KINDS}
        for _ in range(arguments.rounds + 1)
    ][1:]  # the first one warms up
    speeds = {kind: [own / seconds for seconds, own, _ in (turn[kind] for turn in rounds)] for kind in KINDS}
    for kind in KINDS:
        own, padded = (sum(turn[kind][place] for turn in rounds) for place in (1, 2))
        shown = {
            "tokens_per_second": round(statistics.median(speeds[kind])),
            "padding_share": round(1 - own / padded, 3),
        }
        print(json.dumps({"batches_of": kind, "n": arguments.rounds, **shown}))
    ratios = [ours / theirs for ours, theirs in zip(*speeds.values(), strict=True)]
    low, median, high = statistics.quantiles(ratios, n=4)
    print(
        json.dumps({"tokens_over_pairs": {"median": round(median, 2), "quartiles": [round(low, 2), round(high, 2)]}})
    )


if __name__ == "__main__":
    main()

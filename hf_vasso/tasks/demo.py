"""Compare AdamW, SAM and VASSO on a small synthetic task, without a network: what `hf-vasso demo` does."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import torch

from hf_vasso.results.record import Record, display_name
from hf_vasso.results.statistics import paired_difference
from hf_vasso.results.tables import text_table
from hf_vasso.tasks.arguments import parse_glue_arguments
from hf_vasso.tasks.errors import user_errors
from hf_vasso.tasks.run_glue import run_glue
from hf_vasso.tasks.small_bert import write_small_bert
from hf_vasso.tasks.synthetic import VOCABULARY, write_agreement

__all__ = ["DemoSize", "comparison", "main", "run_demo"]

_METHODS = ("none", "sam", "vasso")
_METRIC = "accuracy"


@dataclass(frozen=True)
class DemoSize:
    """
    How large the demonstration is.

    Sizes, noise and initial weights were chosen by trial, so that AdamW ends between 65 % and 95 % and that SAM leaves
    chance level: with the initial weights of a wide BERT it mostly does not. rho and theta are the methods' own.

    Args:
        seeds: Runs per method.
        train_examples: Training sentences.
        validation_examples: Validation sentences, whose labels are all right.
        label_noise: Share of training sentences with the wrong label, in [0, 0.5).
        epochs: Passes over the training sentences.
        hidden_size: Width of the model.
    """

    seeds: int = 3
    train_examples: int = 2000
    validation_examples: int = 1000
    label_noise: float = 0.15
    epochs: int = 8
    hidden_size: int = 64


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso demo`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UserError: The output folder holds something else, or the label noise is out of its range.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    size = DemoSize()
    parser = ArgumentParser(
        prog="hf-vasso demo",
        description="Compare AdamW, SAM and VASSO on a small synthetic task: 9 short runs, a few minutes on a CPU. "
        "Repeating the command continues it.",
    )
    parser.add_argument(
        "--output_dir", default="runs/demo", help="folder for data, model and runs (default: %(default)s)"
    )
    parser.add_argument(
        "--label_noise",
        type=float,
        default=size.label_noise,
        help="share of training sentences with the wrong label, in [0, 0.5) (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    records = run_demo(Path(given.output_dir), replace(size, label_noise=given.label_noise))
    print(comparison(records))
    return 0


def run_demo(output_dir: Path, size: DemoSize) -> list[Record]:
    """
    Make the task and the model, and run each method on each seed, as far as that is not done yet.

    Args:
        output_dir: It gets a folder `label-noise-<share>`, and that one `data`, `small-bert` and
            `agreement/small-bert/<method>/seed-<n>`.
        size: How large all that is.

    Returns:
        The records, method by method.

    Raises:
        UserError: The output folder holds something else, or the label noise is out of its range.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    # The matrices are so small that a second thread costs more than it brings; and sums have one order everywhere.
    torch.set_num_threads(1)
    output_dir = output_dir / f"label-noise-{size.label_noise:g}"  # its runs are not those of other data
    data_dir, model = output_dir / "data", output_dir / "small-bert"
    with user_errors():
        write_agreement(
            data_dir,
            train_examples=size.train_examples,
            validation_examples=size.validation_examples,
            label_noise=size.label_noise,
        )
    write_small_bert(model, VOCABULARY, size.hidden_size)
    records = []
    for method in _METHODS:
        for seed in range(size.seeds):
            folder = output_dir / "agreement" / model.name / method / f"seed-{seed}"
            with user_errors():
                glue, training = parse_glue_arguments(
                    f"--task_name agreement --method {method} --seed {seed} --num_train_epochs {size.epochs} "
                    "--per_device_train_batch_size 32 --per_device_eval_batch_size 250 --learning_rate 1e-3 "
                    "--max_seq_length 32 --logging_strategy no --save_strategy no --use_cpu --report_to none".split()
                    + ["--data_dir", str(data_dir), "--config_name", str(model), "--output_dir", str(folder)]
                )
            records.append(run_glue(glue, training))
            print(f"{_name(records[-1])}, seed {seed}: {_METRIC} {records[-1].metrics[_METRIC]:.4f}")
    return records


def comparison(records: Sequence[Record]) -> str:
    """
    Compare methods on equal seeds.

    Args:
        records: Runs of one task; those labelled "none" are what the others are compared with.

    Returns:
        A table and what it does and does not say.
    """
    by_name: dict[str, dict[int, Record]] = {}
    for record in records:
        by_name.setdefault(_name(record), {})[record.seed] = record
    base = next(iter(by_name))
    rows = [_row(name, runs, base, by_name[base]) for name, runs in by_name.items()]
    first = records[0]
    seeds = len(by_name[base])
    return (
        f"\n{first.task}: {_METRIC} on {first.eval_examples} validation sentences, in %, higher is better; "
        f"{first.train_examples} training sentences\n\n{text_table(rows)}\n\n"
        f"n = {seeds} seeds, with 95 % Student-t intervals of the difference on equal seeds. That is little: the\n"
        "intervals are wide and the task is synthetic. Its size was chosen so that AdamW is neither at chance nor\n"
        "perfect and that SAM learns too; rho and theta are the defaults. The table shows that the command works and\n"
        "what a step costs, not which method is better."
    )


def _row(name: str, runs: dict[int, Record], base: str, base_runs: dict[int, Record]) -> dict[str, str]:
    scores = {seed: 100 * run.metrics[_METRIC] for seed, run in runs.items()}
    base_scores = {seed: 100 * run.metrics[_METRIC] for seed, run in base_runs.items()}
    row = {
        "method": name,
        "mean": f"{fmean(scores.values()):.1f}",
        f"minus {base}": "",
        "95 % interval": "",
        "n": str(len(runs)),
        "s/step": f"{fmean(run.cost['seconds_per_step'] for run in runs.values()):.4f}",
    }
    if name != base:
        difference = paired_difference(scores, base_scores)
        row[f"minus {base}"] = f"{difference.mean:+.1f}"
        row["95 % interval"] = f"[{difference.low:+.1f}, {difference.high:+.1f}]"
        row["n"] = str(difference.count)
    return row


def _name(record: Record) -> str:
    return display_name(record.label, str(record.arguments.get("optim")))

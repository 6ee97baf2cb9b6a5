"""Compare AdamW, SAM and VASSO on a small synthetic task, without a network: what `hf-vasso demo` does."""

from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from joblib import cpu_count

from hf_vasso.results.collection import collect
from hf_vasso.results.comparison import compare
from hf_vasso.results.report import write_report
from hf_vasso.results.report.rows import contrast_rows, cost_rows, score_rows
from hf_vasso.results.tables import text_table
from hf_vasso.suite.run_suite import run_suite
from hf_vasso.suite.suite_file import SuiteFile
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement

__all__ = ["DemoSize", "main"]

_CAUTION = """\
That is little: the intervals are wide and the task is synthetic. Its size was chosen so that AdamW is neither at
chance nor perfect and that SAM learns too; rho and theta are the defaults. This shows that the commands work and what
a step costs, not which method is better."""


@dataclass(frozen=True)
class DemoSize:
    """
    How large the demonstration is.

    Sizes, noise and initial weights were chosen by trial, so that AdamW ends between 65 % and 95 % and that SAM leaves
    chance level: with the initial weights of a wide BERT and rho 0.05 it mostly does not. rho and theta are the
    methods' own.

    Args:
        seeds: Runs per method.
        train_examples: Training sentences.
        validation_examples: Validation sentences, whose labels are all right.
        label_noise: Share of training sentences with the wrong label, in [0, 1).
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
        The exit status: 0, or 1 when a run failed.

    Raises:
        UserError: The output folder holds something else, or the label noise is out of its range.
        SystemExit: A signal interrupted the training; the status is 130 or 143.
    """
    size = DemoSize()
    parser = ArgumentParser(
        prog="hf-vasso demo",
        description="Compare AdamW, SAM and VASSO on a small synthetic task: 9 short runs, a few minutes on a CPU, "
        "and a report. Repeating the command continues it.",
    )
    parser.add_argument(
        "--output_dir", default="runs/demo", help="folder for data, model, runs and report (default: %(default)s)"
    )
    parser.add_argument(
        "--label_noise",
        type=float,
        default=size.label_noise,
        help="share of training sentences with the wrong label, in [0, 1) (default: %(default)s)",
    )
    given = parser.parse_args(arguments)
    size = replace(size, label_noise=given.label_noise)
    folder = Path(given.output_dir, f"label-noise-{size.label_noise:g}")  # its runs are not those of other labels
    status = run_suite(_suite(folder, size), workers=cpu_count())
    if status == 0:
        print(_comparison(folder))
        print(f"\nreport: {write_report(folder, folder / 'report').resolve()}")
    return status


def _suite(folder: Path, size: DemoSize) -> SuiteFile:
    """Make the task and the model, and the suite that compares methods on them."""
    data_dir, model = folder / "data", folder / "small-bert"
    write_agreement(data_dir, train_examples=size.train_examples, validation_examples=size.validation_examples)
    write_small_bert(model, VOCABULARY, size.hidden_size)
    return SuiteFile(
        path=Path("hf-vasso demo"),
        name="demo",
        output_dir=folder,
        tasks={"agreement": {"task_name": "agreement"}},
        methods={name: {"method": name} for name in ("none", "sam", "vasso")},
        seeds=list(range(size.seeds)),
        contrasts=[["vasso", "sam"], ["vasso", "none"]],
        defaults={
            "config_name": model,
            "data_dir": data_dir,
            "label_noise": size.label_noise,
            "learning_rate": 1e-3,
            "logging_steps": 0.1,
            "max_seq_length": 32,
            "num_train_epochs": size.epochs,
            "per_device_train_batch_size": 32,
            "per_device_eval_batch_size": 250,
            "save_strategy": "no",
            "use_cpu": True,
        },
    )


def _comparison(folder: Path) -> str:
    """The tables of the report that matter most, for a terminal."""
    comparison = compare(collect(folder))
    comparison = replace(comparison, contrasts=[contrast for contrast in comparison.contrasts if contrast.headline])
    tables = (score_rows(comparison), contrast_rows(comparison), cost_rows(comparison))
    return "\n\n".join(["", *map(text_table, tables), _CAUTION])

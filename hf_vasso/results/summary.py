"""Show a run's record on a terminal."""

from pathlib import Path

from hf_vasso.results.record import RESULT_FILE, Record, describe_method
from hf_vasso.results.tables import text_table

__all__ = ["summary"]


def summary(record: Record, output_dir: str) -> str:
    """
    Show a record on a terminal.

    Args:
        record: A finished run.
        output_dir: Where it lies.

    Returns:
        A table of metrics between a line that names the run and its cost.
    """
    method = describe_method(record.label, record.method["numbers"], str(record.arguments.get("optim")))
    cost = record.cost
    rows = [
        {"metric": name, "value": f"{value:.4f}", "better": record.directions[name]}
        for name, value in record.metrics.items()
    ]
    return "\n".join(
        [
            f"\n{record.task}, {record.model}, {method}, seed {record.seed}, "
            f"{record.train_examples} training and {record.eval_examples} evaluation examples",
            *([text_table(rows)] if rows else []),
            f"{cost['steps']} steps in {cost['train_seconds']:.1f} s ({cost['seconds_per_step']:.4f} s per step), "
            f"{cost['forward_passes']} forward and {cost['backward_passes']} backward passes, "
            f"{cost['peak_memory_bytes'] / 2**20:.0f} MiB at most",
            f"record: {Path(output_dir, RESULT_FILE)}",
        ]
    )

"""Records in one line each, for tests of what is made of them."""

from pathlib import Path
from typing import Any

from hf_vasso.results.collection import Collection
from hf_vasso.results.record import Record, write_record
from hf_vasso.results.suite_plan import PlannedRun, SuitePlan

PASSES = {"none": 100, "sam": 200, "vasso": 200}


def make_record(label: str = "none", seed: int = 0, accuracy: float = 0.5, **changes: Any) -> Record:
    """A run of SST-2; `changes` are entries of the record, or `method_name` and `passes`."""
    method = changes.pop("method_name", label.partition("-")[0])
    passes = changes.pop("passes", PASSES.get(method, 200))
    entries: dict[str, Any] = {
        "task": "sst2",
        "task_label": "sst2",
        "model": "bert",
        "method": {"name": method, "numbers": {} if method == "none" else {"rho": 0.05}, "paper": None},
        "metrics": {"accuracy": accuracy},
        "eval_examples": 872,
        "train_examples": 1000,
        "data": {"source": "local files", "fingerprint": "0123456789abcdef"},
        "cost": {
            "train_seconds": passes / 10,
            "seconds_per_step": passes / 1000,
            "forward_passes": passes,
            "backward_passes": passes,
            "steps": 100,
            "peak_memory_bytes": passes * 2**20,
        },
        "arguments": {"optim": "adamw_torch", "learning_rate": 1e-3, "num_train_epochs": 3.0, "seed": seed},
        "environment": {"device": "cpu", "threads": 1, "packages": {"torch": "2.13.0"}, "commit": "0" * 40},
        "collapsed": False,
    } | changes
    lower = ("loss", "expected_calibration_error", "validation_loss", "validation_perplexity")
    directions = {name: "lower" if name.startswith(lower) else "higher" for name in entries["metrics"]}
    return Record(label=label, seed=seed, **{"directions": directions, **entries})


def make_runs(label: str, accuracies: list[float], **changes: Any) -> list[Record]:
    """A run per accuracy, with seeds from 0."""
    return [make_record(label, seed, accuracy, **changes) for seed, accuracy in enumerate(accuracies)]


def collection_of(*groups: list[Record], plans: list[SuitePlan] | None = None) -> Collection:
    """Checked records, as if they had been read from a folder."""
    records = [record for group in groups for record in group]
    return Collection(records=records, left_out=[], failures=[], plans=plans or [], missing=[])


def plan_of(contrasts: list[list[str]], *runs: tuple[str, str, int]) -> SuitePlan:
    """A suite of runs, each its task label, method label and seed."""
    planned = [PlannedRun(task, "bert", label, seed, f"{task}/bert/{label}/seed-{seed}") for task, label, seed in runs]
    return SuitePlan("suite", contrasts, planned, {})


def write(record: Record, runs_dir: Path, folder: str) -> Path:
    """Write a record below a folder; returns the path of its file."""
    write_record(record, runs_dir / folder)
    return runs_dir / folder / "result.json"

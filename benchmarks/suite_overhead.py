"""
What a run of a suite costs beside its training, in seconds.

    python benchmarks/suite_overhead.py --runs 20

Tiny runs of the agreement task, one after the other, each in a process of its own as `hf-vasso suite` makes it: from
the start of the process to its end, less the time inside training. That leaves the fork, the data, the model, the
evaluation and what is written. Quoted are the median, the quartiles and the extremes.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from hf_vasso.results.record import RESULT_FILE, read_record
from hf_vasso.suite.planning import Run, grid_runs
from hf_vasso.suite.processes import run_in_process
from hf_vasso.suite.suite_file import SuiteFile
from hf_vasso.suite.work import Job
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement


def tiny_suite(folder: Path, runs: int) -> SuiteFile:
    """A suite of one method on one small task."""
    write_agreement(folder / "data", train_examples=256, validation_examples=128)
    write_small_bert(folder / "small-bert", VOCABULARY, hidden_size=32)
    return SuiteFile(
        path=Path("suite_overhead"),
        name="overhead",
        output_dir=folder / "runs",
        tasks={"agreement": {"task_name": "agreement"}},
        methods={"sam": {"method": "sam"}},
        seeds=list(range(runs)),
        defaults={
            "config_name": folder / "small-bert",
            "data_dir": folder / "data",
            "max_seq_length": 32,
            "num_train_epochs": 1,
            "per_device_train_batch_size": 32,
            "save_strategy": "no",
            "use_cpu": True,
        },
    )


def seconds_beside_training(run: Run) -> float:
    """Wall clock of a run less that of its training."""
    job = Job(run.planned, run.folder, run.words, Path.cwd(), threads=1)
    start = time.perf_counter()
    _, outcome = run_in_process(job, place="benchmark")
    wall = time.perf_counter() - start
    assert outcome == "done", run.folder
    return wall - read_record(run.output_dir / RESULT_FILE).cost["train_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20, help="counted runs, at least 2 (default: %(default)s)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        warm_up, *runs = grid_runs(tiny_suite(Path(folder), arguments.runs + 1), {})
        seconds_beside_training(warm_up)  # it waits for the imports, once for all
        seconds = [seconds_beside_training(run) for run in runs]
    low, middle, high = statistics.quantiles(seconds, n=4)
    quoted = {"n": len(seconds), "median": middle, "quartiles": [low, high], "extremes": [min(seconds), max(seconds)]}
    print(json.dumps(quoted))


if __name__ == "__main__":
    main()

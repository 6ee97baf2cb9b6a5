"""A suite on a Ray cluster of two nodes, both on this machine."""

import os
import re
import signal
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import pytest

from hf_vasso.cli import main
from hf_vasso.results.failure import FAILURE_FILE, read_failure
from hf_vasso.results.record import read_record
from hf_vasso.results.suite_plan import PlannedRun
from hf_vasso.suite import cluster
from hf_vasso.suite.cluster import cluster_workers, runs_on_cluster
from hf_vasso.suite.work import Job

ray = pytest.importorskip("ray")


def node(alive: bool = True, **resources: float) -> dict:
    return {"Alive": alive, "Resources": resources}


@pytest.mark.parametrize(
    ("nodes", "threads", "room"),
    [
        ([node(CPU=3), node(CPU=3)], 2, 2),  # the odd CPUs of two nodes are no place
        ([node(CPU=4), node(CPU=2), node(CPU=8, alive=False)], 2, 3),
        ([node(CPU=8, GPU=2), node(CPU=8, GPU=1)], 1, 3),
        ([node(CPU=1, GPU=4)], 1, 1),
        ([node(CPU=8), node(CPU=8, GPU=2)], 1, 2),  # where there are cards, each run needs one
    ],
)
def test_room_is_counted_per_node(monkeypatch, nodes, threads, room):
    alive = [entry["Resources"] for entry in nodes if entry["Alive"]]
    total = {name: sum(entry.get(name, 0) for entry in alive) for name in {*chain(*alive)}}
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(ray, "cluster_resources", lambda: total)
    assert cluster_workers(threads) == room


def test_a_cluster_without_room(monkeypatch):
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "nodes", lambda: [node(CPU=2), node(CPU=2)])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4})
    with pytest.raises(
        ValueError, match=r"a run needs 3 CPUs \(threads_per_run\), and no node of the Ray cluster has"
    ):
        cluster_workers(3)


@pytest.fixture
def two_nodes():
    """The ids of two nodes with one CPU each, to which the suite connects."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False)
    yield {node["NodeID"] for node in ray.nodes()}
    ray.shutdown()
    cluster.shutdown()


def jobs_in(folder: Path) -> list[Job]:
    planned = [PlannedRun("sst2", "bert", "sam", seed, f"seed-{seed}") for seed in range(4)]
    return [Job(run, folder / run.folder, [], folder, threads=1) for run in planned]


def check_that_one_has_failed(outcomes: Sequence[tuple[Job, str]], reason: str) -> None:
    """The run with seed 1 has, for a reason, and the others are made."""
    by_seed = {job.planned.seed: outcome for job, outcome in outcomes}
    assert by_seed == {0: "done", 1: "failed", 2: "done", 3: "done"}
    (lost,) = [job for job, outcome in outcomes if outcome == "failed"]
    failure = read_failure(lost.folder / FAILURE_FILE)
    assert (failure.label, failure.seed) == ("sam", 1)
    assert failure.error.startswith(f"its Ray worker ended: {reason}")
    assert "\n" not in failure.error


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_ray_ends_is_the_failure_of_its_run(tmp_path, monkeypatch, workers):
    jobs, taken, in_flight = jobs_in(tmp_path), [], []

    def remote(**takes):
        taken.append(takes)
        return lambda _: SimpleNamespace(remote=jobs.index)

    def wait(ends: list[int]) -> tuple[list[int], list[int]]:
        in_flight.append(len(ends))
        return ends[-1:], ends[:-1]

    def get(end: int) -> tuple[Job, str]:
        if end == 1:
            raise ray.exceptions.OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory on")
        return jobs[end], "done"

    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2})
    for stand_in in (remote, wait, get):
        monkeypatch.setattr(ray, stand_in.__name__, stand_in)
    outcomes = list(runs_on_cluster(workers, threads=1)(jobs))
    check_that_one_has_failed(outcomes, "Task was killed due to the node running low on memory.")
    assert in_flight == {1: [1, 1, 1, 1], 2: [2, 2, 2, 1]}[workers]
    assert taken == [{"num_cpus": 1, "num_gpus": 0, "max_retries": 0}]


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")  # Ray's own
def test_a_worker_that_dies_is_the_failure_of_its_run(two_nodes, tmp_path, monkeypatch):
    def make(job: Job) -> tuple[Job, str]:
        if job.planned.seed == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return job, "done"

    monkeypatch.setattr(cluster, "_make_on_node", make)
    outcomes = list(runs_on_cluster(2, threads=1)(jobs_in(tmp_path)))
    check_that_one_has_failed(outcomes, "The worker died unexpectedly")


@pytest.mark.ray
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::FutureWarning")  # Ray's own
def test_runs_land_on_both_nodes(two_nodes, write_suite, tmp_path, capsys, monkeypatch):
    keys = {"methods": ["sam"], "seeds": [0, 1, 2, 3]}
    path = write_suite(**keys)
    assert main(["suite", str(path), "--backend", "ray", "--jobs", "3"]) == 2
    assert "the Ray cluster has room for 2 runs at a time, got --jobs 3; ask for fewer" in capsys.readouterr().err
    assert main(["suite", str(path), "--backend", "ray"]) == 0
    assert "small: 4 of 4 runs are finished" in capsys.readouterr().out
    logs = [log.read_text() for log in (tmp_path / "runs").rglob("log.txt")]
    assert {re.match("Ray node ([0-9a-f]+)", log)[1] for log in logs} == two_nodes

    alone = write_suite(methods=["sam"], seeds=[5], output_dir=str(tmp_path / "alone"))
    monkeypatch.setattr(cluster, "run_in_process", None)  # in this process, which is no worker of the cluster
    assert main(["suite", str(alone), "--backend", "ray", "--jobs", "1"]) == 0
    (log,) = (tmp_path / "alone").rglob("log.txt")
    assert log.read_text().startswith("Ray node ")
    assert capsys.readouterr().out.startswith("[1/1, ")

    assert main(["suite", str(write_suite(**keys, output_dir=str(tmp_path / "here")))]) == 0
    for seed in range(4):
        there, here = (
            read_record(tmp_path / place / f"agreement/small-bert/sam/seed-{seed}/result.json")
            for place in ("runs", "here")
        )
        assert there.metrics == here.metrics
        assert there.environment == here.environment

"""A suite on a Ray cluster of two nodes, both on this machine."""

import re
from itertools import chain

import pytest

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.suite import cluster
from hf_vasso.suite.cluster import cluster_workers

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

"""A suite on a Ray cluster of two nodes, both on this machine."""

import re

import pytest

from hf_vasso.cli import main
from hf_vasso.results.record import read_record

ray = pytest.importorskip("ray")


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
def test_runs_land_on_both_nodes(two_nodes, write_suite, tmp_path, capsys):
    keys = {"methods": ["sam"], "seeds": [0, 1, 2, 3]}
    path = write_suite(**keys)
    assert main(["suite", str(path), "--backend", "ray", "--jobs", "3"]) == 2
    assert "the Ray cluster has room for 2 runs at a time, got --jobs 3; ask for fewer" in capsys.readouterr().err
    assert main(["suite", str(path), "--backend", "ray"]) == 0
    assert "small: 4 of 4 runs are finished" in capsys.readouterr().out
    logs = [log.read_text() for log in (tmp_path / "runs").rglob("log.txt")]
    assert {re.match("Ray node ([0-9a-f]+)", log)[1] for log in logs} == two_nodes

    assert main(["suite", str(write_suite(**keys, output_dir=str(tmp_path / "here")))]) == 0
    for seed in range(4):
        there, here = (
            read_record(tmp_path / place / f"agreement/small-bert/sam/seed-{seed}/result.json")
            for place in ("runs", "here")
        )
        assert there.metrics == here.metrics
        assert there.environment == here.environment

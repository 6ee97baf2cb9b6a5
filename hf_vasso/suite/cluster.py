"""Make runs on a Ray cluster, each as a task of Ray's: where a suite outgrows one machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

from hf_vasso.suite.processes import MakeJobs, Outcome, run_in_process
from hf_vasso.suite.work import Job, keep_failure

__all__ = ["cluster_workers", "runs_on_cluster"]


def cluster_workers(threads: int) -> int:
    """
    Connect to the cluster that `RAY_ADDRESS` names or that this machine belongs to, or begin one here.

    Args:
        threads: The CPUs that a run needs.

    Returns:
        How many runs its nodes have room for: one per graphics card, without any as many as their CPUs allow.

    Raises:
        ValueError: Ray is not installed, or no node has room for a run.
    """
    try:
        import ray
    except ImportError as error:
        raise ValueError("--backend ray needs Ray; install it with `pip install 'hf_vasso[ray]'`") from error
    if not ray.is_initialized():
        ray.init(log_to_driver=False)
    takes = _takes(threads)
    workers = sum(_room(node["Resources"], takes) for node in ray.nodes() if node["Alive"])
    if workers < 1:
        card = " and a graphics card" if takes["num_gpus"] else ""
        raise ValueError(
            f"a run needs {threads} CPUs (threads_per_run){card}, and no node of the Ray cluster has them; take fewer "
            "threads"
        )
    return workers


def _takes(threads: int) -> dict[str, int]:
    """What a run takes of a node, in Ray's words. In a cluster with graphics cards each run gets one."""
    import ray

    return {"num_cpus": threads, "num_gpus": int("GPU" in ray.cluster_resources())}


def _room(resources: Mapping[str, float], takes: Mapping[str, int]) -> int:
    """How many runs a node has room for: no run spreads over nodes, and Ray waits for ever for room for one more."""
    room = int(resources.get("CPU", 0)) // takes["num_cpus"]
    return min(room, int(resources.get("GPU", 0))) if takes["num_gpus"] else room


def runs_on_cluster(workers: int, threads: int) -> MakeJobs:
    """
    Make runs on a cluster, several at a time. All its machines need this package and the files of the suite under the
    same paths. Ray keeps count of CPUs and graphics cards, and shows each run its own card.

    Args:
        workers: How many at a time.
        threads: The CPUs that a run needs.

    Returns:
        What makes runs and yields each with its outcome, in the order in which they end.
    """
    import ray

    # Where memory is short, Ray by itself would try again without end.
    takes: Any = {**_takes(threads), "max_retries": 0}
    make_one = ray.remote(**takes)(_make_on_node)

    def make_jobs(jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        waiting, running = iter(jobs), {}
        while True:
            running |= {make_one.remote(job): job for job in islice(waiting, workers - len(running))}
            if not running:
                return
            (ended,), _ = ray.wait(list(running))
            yield _outcome(ended, running.pop(ended))

    return make_jobs


def _outcome(ended: Any, job: Job) -> tuple[Job, Outcome]:
    """What became of a run. One that is lost with its worker or its machine has failed, and takes no other along."""
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    try:
        return ray.get(ended)
    except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
        with suppress(OSError):  # the disk may be full
            keep_failure(job, f"its Ray worker ended: {str(error).splitlines()[0]}")
        return job, "failed"


def _make_on_node(job: Job) -> tuple[Job, Outcome]:
    import ray

    return run_in_process(job, place=f"Ray node {ray.get_runtime_context().get_node_id()}")

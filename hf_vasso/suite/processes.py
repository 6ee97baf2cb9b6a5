"""Make runs side by side through joblib, each in a process of its own, so that one that dies takes no other along."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from types import FrameType
from typing import Any, Literal

import torch
from joblib import Parallel, delayed

from hf_vasso.results.failure import FAILURE_FILE, delete_failure
from hf_vasso.suite.work import LOG_FILE, Job, keep_failure, work

__all__ = [
    "MakeJobs",
    "Outcome",
    "graphics_cards",
    "run_in_process",
    "runs_on_this_machine",
    "start_server",
    "stop_on_signals",
]

Outcome = Literal["done", "failed", "interrupted", "not begun"]
MakeJobs = Callable[[Sequence[Job]], Iterable[tuple[Job, Outcome]]]

# The libraries below numpy and torch read these once, when they are loaded.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# All that a run imports, what libraries import only when it is used, and of the models the most common one.
_PRELOADED = ["hf_vasso.suite.work", "datasets.io.generator", "scipy.io", "transformers.models.bert.modeling_bert"]
_PRELOADED_ON_RAY = [*_PRELOADED, "ray"]  # whose main module each new process imports again

_running: set[BaseProcess] = set()
_lock = threading.Lock()
_stopping = threading.Event()


def graphics_cards() -> list[str]:
    """The graphics cards that this process may use, as `CUDA_VISIBLE_DEVICES` names them."""
    count = torch.cuda.device_count()
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(number) for number in range(count)]


def start_server(threads: int) -> None:
    """
    Start the process from which runs are forked: it has imported everything, which takes seconds, once for all.

    Args:
        threads: Threads with which each run computes on the CPU.
    """
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"  # to look for cards must not begin CUDA in the server
    forkserver.set_forkserver_preload(_PRELOADED_ON_RAY if "ray" in sys.modules else _PRELOADED)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # a Ctrl-C is for the suite alone
    forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def runs_on_this_machine(workers: int, cards: Sequence[str]) -> Iterator[MakeJobs]:
    """
    Make runs on this machine, several at a time.

    Args:
        workers: How many at a time.
        cards: Graphics cards. Each run gets one, so that with more workers than cards they are shared.

    Yields:
        What makes runs and yields each with its outcome, in the order in which they end.
    """
    free_cards: SimpleQueue[str | None] = SimpleQueue()
    for number in range(workers):
        free_cards.put(cards[number % len(cards)] if cards else None)

    def make_jobs(jobs: Sequence[Job]) -> Any:
        return parallel(delayed(_make_on_card)(job, free_cards) for job in jobs)

    # One dispatched job per worker, so that none is begun after a signal.
    with Parallel(workers, backend="threading", return_as="generator_unordered", pre_dispatch="n_jobs") as parallel:
        try:
            yield make_jobs
        finally:
            for process in list(_running):  # there are some only where something unforeseen ended the suite
                process.kill()


def _make_on_card(job: Job, free_cards: "SimpleQueue[str | None]") -> tuple[Job, Outcome]:
    card = free_cards.get()
    try:
        return run_in_process(job, card, place="this machine")
    finally:
        free_cards.put(card)


def run_in_process(job: Job, card: str | None = None, *, place: str) -> tuple[Job, Outcome]:
    """
    Make a run in a process of its own and wait for its end.

    Args:
        job: The run.
        card: The graphics card that it gets, None for what there is.
        place: Where this is, for the log.

    Returns:
        The run and its outcome. Of one that failed, `failure.json` in its folder says why.
    """
    if _stopping.is_set():
        return job, "not begun"
    start_server(job.threads)
    with suppress(OSError):  # whatever stands in the way of that lets the run fail too
        delete_failure(job.folder)
    # Two threads must not ask for the end of one process at once: the answer can be read only once.
    with _lock:
        process = multiprocessing.get_context("forkserver").Process(target=work, args=(job, card, place))
        process.start()
        _running.add(process)
    if _stopping.is_set():  # it came while the process was started
        process.terminate()
    wait([process.sentinel])
    with _lock:
        process.join()
        _running.discard(process)
    return job, _outcome(job, process.exitcode)


def _outcome(job: Job, status: int | None) -> Outcome:
    if status == 0:
        return "done"
    if status != 1 and _stopping.is_set():
        return "interrupted"
    if not (job.folder / FAILURE_FILE).exists():  # it could not say itself what went wrong
        with suppress(OSError):  # the disk may be full
            keep_failure(job, _describe_end(status))
    return "failed"


def _describe_end(status: int | None) -> str:
    if status == -signal.SIGKILL:
        return f"killed by signal 9, as the system does when memory is short; {LOG_FILE} ends where it was"
    if status is not None and status < 0:
        return f"killed by signal {-status} ({signal.Signals(-status).name}); see {LOG_FILE}"
    return f"its process ended with status {status}; see {LOG_FILE}"


@contextmanager
def stop_on_signals() -> Iterator[list[int]]:
    """
    On the first Ctrl-C or SIGTERM, have the running runs write their checkpoints and begin no more.

    A second one ends this process at once, and all runs with it.

    Yields:
        A list that gets the signal's number.
    """
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        for taken in before:
            signal.signal(taken, signal.SIG_DFL)
        os.write(
            sys.__stderr__.fileno() if sys.__stderr__ else 2, b"\nending the running steps; once more stops at once\n"
        )
        _stopping.set()
        for process in list(_running):
            process.terminate()

    _stopping.clear()
    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

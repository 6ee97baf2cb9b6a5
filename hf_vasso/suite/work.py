"""One run of a suite in a process of its own: its output, its threads, its end, and what is kept when it fails."""

import fcntl
import gc
import os
import shlex
import shutil
import signal
import sys
import threading
import traceback
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.suite_plan import PlannedRun
from hf_vasso.suite.anonymous import anonymous, log_to
from hf_vasso.suite.trials import TRIAL_FILE, trial_result, write_trial
from hf_vasso.tasks.commands import task_run
from hf_vasso.tasks.errors import UserError, user_errors

__all__ = ["LOG_FILE", "Job", "delete_checkpoints", "keep_failure", "work"]

LOG_FILE = "log.txt"


@dataclass(frozen=True)
class Job:
    """
    What a process needs to know to make a run.

    Args:
        planned: What identifies the run.
        folder: Where its log lies, and `failure.json` if it fails; an absolute path.
        words: Its command line after `hf-vasso`.
        directory: The folder to which relative paths in it refer.
        threads: Threads with which it computes on the CPU.
        tries: Of a trial, flag to the value that it tries; None for a run of the grid.
    """

    planned: PlannedRun
    folder: Path
    words: list[str]
    directory: Path
    threads: int
    tries: dict[str, Any] | None = None


def work(job: Job, card: str | None, place: str) -> None:
    """
    Make a run, as the only thing that this process does.

    The process exits with 1 after a failure, which is written to the run's folder, and with 130 or 143 after a signal.

    Args:
        job: The run.
        card: What `CUDA_VISIBLE_DEVICES` is to be; None leaves it.
        place: Where this is, for the log.
    """
    gc.freeze()  # what was imported before the fork is not searched for garbage again and again
    os.setsid()  # so that it can be ended with all that it starts
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.chdir(job.directory)
    _write_output_to(job.folder / LOG_FILE)
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    cards = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    print(f"{place}, CUDA_VISIBLE_DEVICES={cards}: hf-vasso {shlex.join(job.words)}")
    torch.set_num_threads(job.threads)
    try:
        _make(job)
    except UserError as error:
        print(f"hf-vasso: {error}", file=sys.stderr)
        keep_failure(job, str(error))
    except Exception as error:
        traceback.print_exc()
        keep_failure(job, traceback.format_exception_only(error)[-1].strip(), traceback.format_exc())
    else:
        return
    sys.exit(1)


def keep_failure(job: Job, error: str, trace: str = "") -> None:
    """
    Write the `failure.json` of a run.

    Args:
        job: The run.
        error: What went wrong, in words.
        trace: The traceback, if there is one.
    """
    planned = job.planned
    names = (planned.task_label, planned.model, planned.label, planned.seed)
    failure = Failure(*names, anonymous(error), anonymous(trace))
    write_failure(failure, job.folder)


def delete_checkpoints(output_dir: Path) -> None:
    """Delete the checkpoints of a finished run: its model is saved, and those of hundreds of runs fill a disk."""
    for checkpoint in output_dir.glob("checkpoint-*"):
        shutil.rmtree(checkpoint)


def _make(job: Job) -> None:
    if (job.folder / TRIAL_FILE).exists():  # another suite, for which this one waited, has made it
        return
    with user_errors():
        run = task_run(job.words)
    record = run.make()
    output_dir = run.folder.path
    if job.tries is None:
        delete_checkpoints(output_dir)
    else:
        write_trial(trial_result(record, job.tries), job.folder)
        shutil.rmtree(output_dir)


def _end_with_parent() -> None:
    """End this process and all that it started with the suite, however that ended."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def _write_output_to(path: Path) -> None:
    """Append what this process prints to a file, which is also the lock of its folder as long as the process lives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = open(path, "a", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)  # waits for the same run of another suite
    log_to(file)

"""One run of a suite in a process of its own: its output, its threads, its end, and what is kept when it fails."""

import gc
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.suite_plan import PlannedRun
from hf_vasso.suite.anonymous import anonymous, log_to
from hf_vasso.suite.trials import trial_result, write_trial
from hf_vasso.tasks.commands import task_run
from hf_vasso.tasks.errors import UserError, disk_errors, user_errors
from hf_vasso.tasks.folder_lock import LOCK_FILE
from hf_vasso.tasks.run_folder import RunFolder

__all__ = ["LOG_FILE", "Job", "delete_checkpoints", "delete_run", "delete_trial_run", "is_log", "keep_failure", "work"]

LOG_FILE = "log.txt"

_FIRST_LINE = re.compile(rb".*hf-vasso (glue|translate) ")
_MAX_PLACE = 2000
# A run that was just killed may not have ended yet. Longer than that works only what somebody else has begun.
_PATIENCE_SECONDS = 30.0


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
    try:
        with disk_errors(job.folder):
            _write_output_to(job.folder / LOG_FILE)
    except UserError as error:
        with suppress(OSError):
            keep_failure(job, str(error))
        sys.exit(1)
    if card is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = card
    cards = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    print(f"{place}, CUDA_VISIBLE_DEVICES={cards}: hf-vasso {shlex.join(job.words)}")
    torch.set_num_threads(job.threads)
    try:
        _make(job)
    except UserError as error:
        with suppress(OSError):  # the disk may be full
            keep_failure(job, str(error))
            print(f"hf-vasso: {error}", file=sys.stderr)
    except Exception as error:
        with suppress(OSError):
            keep_failure(job, traceback.format_exception_only(error)[-1].strip(), traceback.format_exc())
            traceback.print_exc()
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
    RunFolder(str(output_dir), {}).delete_checkpoints()


def delete_run(output_dir: Path) -> None:
    """
    Delete what a run wrote.

    Args:
        output_dir: Its folder, which need not exist.

    Raises:
        ValueError: Another command works in it.
    """
    folder = RunFolder(str(output_dir), {})
    if folder.has_begun:
        with folder.hold():
            folder.delete()


def delete_trial_run(output_dir: Path) -> None:
    """
    Delete what the run of a trial wrote, and its folder where nothing else is in it.

    Args:
        output_dir: Its folder, which need not exist.

    Raises:
        ValueError: Another command works in it.
    """
    delete_run(output_dir)
    if output_dir.is_dir() and set(os.listdir(output_dir)) <= {LOCK_FILE}:
        (output_dir / LOCK_FILE).unlink(missing_ok=True)
        output_dir.rmdir()


def is_log(path: Path) -> bool:
    """Whether a file is the log of a run as `work` begins it; a process may have been killed before it did so."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        start = file.read(_MAX_PLACE)
    return not start or _FIRST_LINE.match(start) is not None


def _make(job: Job) -> None:
    with user_errors():
        run = task_run(job.words)
    record = run.make(_PATIENCE_SECONDS)
    with disk_errors(job.folder), user_errors():
        if job.tries is None:
            delete_checkpoints(run.folder.path)
        else:
            write_trial(trial_result(record, job.tries), job.folder)
            delete_trial_run(run.folder.path)


def _end_with_parent() -> None:
    """End this process and all that it started with the suite, however that ended."""
    parent = parent_process()
    assert parent is not None
    parent.join()
    os.killpg(0, signal.SIGKILL)


def _write_output_to(path: Path) -> None:
    """Append what this process prints to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(path) and not is_log(path):
        raise UserError(f"{path} is no log of a run, and this one would write its own there; move it away")
    file = open(path, "a", encoding="utf-8")
    log_to(file)

"""What a suite has written, and so may delete: what its runs list as theirs, and its own files by what is in them."""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from hf_vasso.results.failure import delete_failure
from hf_vasso.results.reading import RecordError
from hf_vasso.results.suite_plan import SUITE_FILE, read_suite_plan
from hf_vasso.suite.choice_file import SELECTION_FILE, read_choices
from hf_vasso.suite.planning import TRIAL_RUN_FOLDER, TRIALS_FOLDER, Run
from hf_vasso.suite.suite_file import SuiteFile
from hf_vasso.suite.trials import TRIAL_FILE
from hf_vasso.suite.work import LOG_FILE, delete_run, delete_trial_run, is_log

__all__ = ["check_folder", "delete_suite"]

_FILES = {SUITE_FILE: read_suite_plan, SELECTION_FILE: lambda path: read_choices(path.parent)}


def check_folder(suite: SuiteFile, runs: Sequence[Run]) -> None:
    """
    Refuse an output folder with files of another origin under names that the suite would write.

    Args:
        suite: The suite's file.
        runs: Its grid.

    Raises:
        ValueError: There is one. A broken one is the suite's where the log of one of its runs is there.
    """
    for name, read in _FILES.items():
        path = suite.output_dir / name
        if not os.path.lexists(path):
            continue
        try:
            read(path)
        except RecordError as error:
            if not any(is_log(run.folder / LOG_FILE) for run in runs) and not _trials(suite):
                raise ValueError(
                    f"{error}; no run of this suite is in its folder, so that it may be another's: move it away, or "
                    "give the suite another output_dir"
                ) from error


def delete_suite(suite: SuiteFile, runs: Sequence[Run]) -> None:
    """
    Delete what a suite wrote, trials and runs.

    Args:
        suite: The suite's file, whose folder `check_folder` has passed.
        runs: Its grid.

    Raises:
        ValueError: Another command works in the folder of a run.
    """
    for run in runs:
        if is_log(run.folder / LOG_FILE):  # a run without one was made by another command
            delete_run(run.output_dir)
            _delete_around(run.folder)
    for folder in _trials(suite):
        delete_trial_run(folder / TRIAL_RUN_FOLDER)
        (folder / TRIAL_FILE).unlink(missing_ok=True)
        _delete_around(folder)
        _delete_empty(folder, suite.output_dir)
    for name in (SELECTION_FILE, SUITE_FILE):
        (suite.output_dir / name).unlink(missing_ok=True)


def _trials(suite: SuiteFile) -> list[Path]:
    """The folders of trials that were begun."""
    return [log.parent for log in (suite.output_dir / TRIALS_FOLDER).rglob(LOG_FILE) if is_log(log)]


def _delete_around(folder: Path) -> None:
    """Delete what the suite wrote about a run, the log, by which it is known, at last."""
    delete_failure(folder)
    (folder / LOG_FILE).unlink()


def _delete_empty(folder: Path, top: Path) -> None:
    with suppress(OSError):  # something is in it
        while folder != top:
            folder.rmdir()
            folder = folder.parent

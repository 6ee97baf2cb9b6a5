"""A suite that is killed as a file gets its name: no run outlives it, and repeated it ends with the same numbers."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hf_vasso.results.record import read_record

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 240.0

SUITE = {
    "seeds": [0, 1],
    "select": {"stages": [{"rho": [0.1, 0.2]}], "holdout_samples": 16},
    "defaults": {"num_train_epochs": 20, "save_steps": 10},
}

# Read by every Python below a test's suite when it starts: kills the suite as the first file of a kind gets its name.
KILLING_RENAME = """
import multiprocessing, os, signal

rename = os.replace

def rename_and_kill(source, target, **options):
    mark = os.environ["MARK"]
    first = str(target).endswith(os.environ["NAME"]) and not os.path.exists(mark)
    if first:
        open(mark, "w").close()
    if first and os.environ["MOMENT"] == "before":
        os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
    rename(source, target, **options)
    if first and os.environ["MOMENT"] == "after":
        os.kill(multiprocessing.parent_process().pid, signal.SIGKILL)
        signal.pause()  # ends with the suite

os.replace = rename_and_kill
"""


def start(path: Path, **variables: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hf_vasso", "suite", str(path), "--jobs", "2"]
    with open(path.parent / "shown.txt", "wb") as shown:
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **variables}, stdout=shown, stderr=shown)


def finish(path: Path) -> dict[str, object]:
    """Repeat the command to its end and return all that a report would print of it."""
    assert start(path).wait(PATIENCE_SECONDS) == 0, (path.parent / "shown.txt").read_text()
    runs = path.parent / "runs"
    records = {file.parent.relative_to(runs).as_posix(): read_record(file) for file in runs.rglob("result.json")}
    assert len(records) == 4
    assert not list(runs.rglob("failure.json"))
    return {
        "selection": json.loads((runs / "selection.json").read_text()),
        **{name: (record.metrics, record.history, record.cost["steps"]) for name, record in records.items()},
    }


def processes_of(folder: Path) -> list[int]:
    """The processes that have a file below a folder open, as each run has its log."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            opened = [os.readlink(link) for link in (process / "fd").iterdir()]
        except OSError:  # it has ended meanwhile
            continue
        if any(name.startswith(str(folder)) for name in opened):
            found.append(int(process.name))
    return found


def until(condition, words: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, words
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, write_suite_in) -> dict[str, object]:
    return finish(write_suite_in(tmp_path_factory.mktemp("undisturbed"), **SUITE))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, moment", [("seed-0/result.json", "before"), ("seed-0/result.json", "after"), ("trial.json", "after")]
)
def test_killed_around_a_rename(write_suite_in, tmp_path, undisturbed, name, moment):
    path = write_suite_in(tmp_path, **SUITE)
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(KILLING_RENAME)
    mark = tmp_path / "mark"
    suite = start(path, PYTHONPATH=str(tmp_path / "hook"), MARK=str(mark), NAME=name, MOMENT=moment)
    assert suite.wait(PATIENCE_SECONDS) == -signal.SIGKILL
    assert mark.exists()
    until(lambda: not processes_of(tmp_path), "a run outlived its suite")
    assert len(list((tmp_path / "runs" / "agreement").rglob("result.json"))) <= 2
    assert finish(path) == undisturbed

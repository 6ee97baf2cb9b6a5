"""Attacks with several processes: the same folder at the same time, killed or not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file
from tiny_runs import start_command, write_materials

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.tasks.folder_lock import LOCK_FILE, hold_folder

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 240.0

# Writes a line before and a line after it holds the folder, again and again.
HOLDING = """
import os, sys, time
from pathlib import Path
from hf_vasso.tasks.folder_lock import hold_folder

folder, log = Path(sys.argv[1]), os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
while True:
    try:
        with hold_folder(folder):
            os.write(log, f"{os.getpid()} holds\\n".encode())
            time.sleep(0.002)
            os.write(log, f"{os.getpid()} lets go\\n".encode())
    except ValueError as error:
        assert "is in use by" in str(error)
"""


@pytest.mark.slow
def test_no_two_processes_hold_a_folder(attacks, tmp_path):
    """Three of them at a time, one of which is killed at a random moment and begun anew."""
    attack, draw = attacks(20), random.Random(0)
    folder, log = tmp_path / "folder", tmp_path / "log"

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", HOLDING, str(folder), str(log)], cwd=ROOT)

    processes = [begin() for _ in range(3)]
    killed = set()
    try:
        while len(killed) < attack.attempts:
            time.sleep(draw.random() / 2)
            number = draw.randrange(3)
            assert processes[number].poll() is None
            processes[number].kill()
            processes[number].wait()
            killed.add(processes[number].pid)
            processes[number] = begin()
    finally:
        for process in processes:
            process.kill()
            process.wait()
    holder, wrong = None, 0
    for line in log.read_text().splitlines():
        process, _, does = line.partition(" ")
        if does == "lets go":
            wrong += holder != process
            holder = None
        else:
            wrong += holder is not None and int(holder) not in killed
            holder = process
    assert len(log.read_text().splitlines()) > 100
    for _ in killed:
        attack.count("wrong" if wrong else "survived")
    attack.check()


@pytest.fixture(scope="module")
def words(tmp_path_factory) -> list[str]:
    words = write_materials(tmp_path_factory.mktemp("materials"))
    words[words.index("--max_steps") + 1] = "30"
    words[words.index("--save_steps") + 1] = "10"
    return words


@pytest.fixture(scope="module")
def undisturbed(words, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert main([*words, "--output_dir", str(folder)]) == 0
    return folder


def same_run(folder: Path, other: Path) -> bool:
    first, second = (load_file(each / "model.safetensors") for each in (folder, other))
    metrics = [read_record(each / "result.json").metrics for each in (folder, other)]
    return metrics[0] == metrics[1] and all((tensor == second[name]).all() for name, tensor in first.items())


def ended(process) -> int:
    process.join(PATIENCE_SECONDS)
    assert process.exitcode is not None
    return process.exitcode


@pytest.mark.slow
def test_the_same_command_twice_at_a_time(attacks, words, undisturbed, tmp_path):
    """One of the two may be killed. Each ends well, or is refused by a line that names the other."""
    attack = attacks(4)
    for number in range(attack.attempts):
        draw, folder = random.Random(number), tmp_path / str(number)
        command = [*words, "--output_dir", f"{folder}/run"]
        folder.mkdir()
        pair = [start_command([*command, *draw.choice([[], ["--fresh"]])], folder / "0")]
        time.sleep(draw.random() * 2)
        pair.append(start_command([*command, *draw.choice([[], ["--fresh"]])], folder / "1"))
        if draw.random() < 0.5:
            time.sleep(draw.random() * 3)
            pair[0].kill()
        statuses = [ended(process) for process in pair]
        said = [(folder / name).read_text() for name in "01"]
        clean = all(
            status in (0, -signal.SIGKILL) or (status == 2 and f"hf-vasso: {folder}/run is in use by " in text)
            for status, text in zip(statuses, said, strict=True)
        )
        again = ended(start_command(command, folder / "2"))
        survived = clean and again == 0 and same_run(folder / "run", undisturbed)
        attack.count("survived" if survived and "Traceback" not in "".join(said) else "wrong")
    attack.check()


@pytest.mark.slow
def test_two_suites_with_one_output_folder(attacks, words, tmp_path):
    """The second is refused, also if it wants to start over, and deletes nothing."""
    attack = attacks(2)
    flags = dict(zip([word.removeprefix("--") for word in words[1::2]], words[2::2], strict=True))
    for number in range(attack.attempts):
        draw, folder = random.Random(number), tmp_path / str(number)
        folder.mkdir()
        content = {
            "name": "pair",
            "output_dir": str(folder / "runs"),
            "tasks": [flags["task_name"]],
            "methods": ["none", "sam"],
            "seeds": [0],
            "defaults": {name: value for name, value in flags.items() if name != "task_name"} | {"use_cpu": True},
        }
        for name in ("first", "second"):
            seeds = {"seeds": [0, 1]} if name == "second" else {}
            (folder / f"{name}.yaml").write_text(yaml.safe_dump({**content, **seeds}))
        first = start_command(["suite", str(folder / "first.yaml")], folder / "0")
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (folder / "runs" / "suite.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(draw.random() * 2)
        second = start_command(["suite", str(folder / "second.yaml"), "--fresh"], folder / "1")
        refused = ended(second) == 2 and "runs is in use by process " in (folder / "1").read_text()
        finished = ended(first) == 0 and "2 of 2 runs are finished" in (folder / "0").read_text()
        attack.count("survived" if refused and finished else "wrong")
    attack.check()


# --- the cases behind the attacks ---


def test_the_holder_is_named_and_forgotten(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    with hold_folder(folder):
        (folder / "run.json").touch()
        with pytest.raises(ValueError) as refused, hold_folder(folder):
            pass
    words = rf"{folder} is in use by process {os.getpid()} on {os.uname().nodename} since 20"
    assert str(refused.value).startswith(words)
    assert str(refused.value).endswith("; wait for its end or stop it, or choose another --output_dir")
    assert (folder / LOCK_FILE).read_bytes() == b""  # no host and no process in what is kept or pushed
    with hold_folder(folder):
        pass


@pytest.mark.timeout(30)
def test_a_place_where_no_folder_can_be_made_is_told(tmp_path):
    with pytest.raises(OSError), hold_folder(Path("/proc/none/run")):
        pass


def test_what_comes_to_nothing_leaves_nothing(tmp_path):
    with hold_folder(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).exists()
    assert not list(tmp_path.iterdir())
    (tmp_path / "notes.txt").write_text("mine")
    with hold_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


FORKING = """
import os, sys, time
from pathlib import Path
from hf_vasso.tasks.folder_lock import hold_folder

with hold_folder(Path(sys.argv[1])):
    ready, wrote = os.pipe()
    if os.fork() == 0:
        os.write(wrote, b"x")
        time.sleep(30)
    os.read(ready, 1)
    print("ready", flush=True)
    time.sleep(30)
"""


def test_a_child_does_not_keep_the_folder(tmp_path):
    """As the processes that load data, which live on for a while when the training is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(ValueError, match=f"is in use by process {process.pid} on "), hold_folder(tmp_path):
        pass
    process.kill()
    process.wait()
    with hold_folder(tmp_path):
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.stdout.close()

"""The live view: lines with the time left, and a bar on a terminal."""

import io
import sys

import pytest

from hf_vasso.suite import progress
from hf_vasso.suite.progress import Progress


@pytest.fixture
def clock(monkeypatch):
    """The seconds that have passed."""
    seconds = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_the_time_left_is_that_of_the_passes_left(clock, capsys):
    view = Progress(runs=3, passes=400, workers=1)
    clock[0] = 30.0
    view.finished("first", passes=100)
    clock[0] = 60.0
    view.finished("second", passes=200)
    view.say("beside")
    view.finished("third", passes=100)
    view.close()
    assert capsys.readouterr().out.splitlines() == [
        "[1/3, 01:30 left] first",
        "[2/3, 00:20 left] second",
        "beside",
        "[3/3, 00:00 left] third",
    ]


def test_runs_beside_the_one_that_ended_are_half_done(clock, capsys):
    view = Progress(runs=3, passes=300, workers=3)
    clock[0] = 30.0
    view.finished("first", passes=100)  # 100 made, two halves beside: 200 in 30 s
    clock[0] = 40.0
    view.finished("second", passes=100)  # 200 made, one half beside: 250 in 40 s
    view.close()
    assert [line.split("]")[0] for line in capsys.readouterr().out.splitlines()] == [
        "[1/3, 00:15 left",
        "[2/3, 00:08 left",
    ]


def test_a_terminal_has_a_bar(clock, monkeypatch, capsys):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    view = Progress(runs=2, passes=200, workers=1)
    clock[0] = 30.0
    view.finished("first", passes=100)
    view.close()
    assert "first" in capsys.readouterr().out.splitlines()
    assert "1/2 runs |" in terminal.getvalue()
    assert "00:30 left" in terminal.getvalue()

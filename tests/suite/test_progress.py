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
    view = Progress(runs=3, passes=400)
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


def test_a_terminal_has_a_bar(clock, monkeypatch, capsys):
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    view = Progress(runs=2, passes=200)
    clock[0] = 30.0
    view.finished("first", passes=100)
    view.close()
    assert "first" in capsys.readouterr().out.splitlines()
    assert "1/2 runs |" in terminal.getvalue()
    assert "00:30 left" in terminal.getvalue()

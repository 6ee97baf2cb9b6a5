"""The command line as a user meets it: help, mistakes, the list of methods."""

import json

import pytest

from hf_vasso.cli import main
from hf_vasso.methods import METHODS


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(capsys, words):
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: hf-vasso COMMAND")
    assert all(f"  {command} " in shown for command in ("demo", "glue", "methods"))


def test_a_mistyped_command(capsys):
    assert main(["glu"]) == 2
    error = capsys.readouterr().err
    assert error == "hf-vasso: unknown command 'glu', did you mean 'glue'? Known: demo, glue, methods\n"


def test_only_the_first_process_speaks(capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert main(["glu"]) == 2
    assert capsys.readouterr().err == ""


def test_ctrl_c_outside_training(monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_vasso.cli.import_module", interrupt)
    assert main(["glue"]) == 130


def test_methods(capsys):
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert (
        "vasso  (rho 0.05, theta 0.4)\n    VASSO: SAM along a moving average of the gradients.\n    https://" in shown
    )
    assert "none  (no numbers)" in shown


def test_methods_as_json(capsys):
    assert main(["methods", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert [method["name"] for method in listing] == list(METHODS)
    vasso = next(method for method in listing if method["name"] == "vasso")
    assert vasso["numbers"] == {"rho": 0.05, "theta": 0.4}
    assert vasso["paper"].startswith("https://arxiv.org/")
    assert all(method["description"].endswith(".") for method in listing)

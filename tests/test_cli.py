"""The command line as a user meets it: help, mistakes, the list of methods."""

import json
import re
import subprocess
import sys

import pytest

from hf_vasso import __version__
from hf_vasso.cli import main
from hf_vasso.methods import METHODS
from hf_vasso.methods.listing import list_methods


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(capsys, words):
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: hf-vasso COMMAND")
    assert all(f"  {command} " in shown for command in ("demo", "glue", "methods"))


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"hf-vasso {__version__}\n"


def test_a_mistyped_command(capsys):
    assert main(["glu"]) == 2
    error = capsys.readouterr().err
    known = "demo, glue, methods, report, suite, submit, translate"
    assert error == f"hf-vasso: unknown command 'glu', did you mean 'glue'? Known: {known}\n"


def test_other_processes_wait_for_the_first_to_speak_and_then_say_who_they_are(capsys, monkeypatch):
    waited = []
    monkeypatch.setattr("hf_vasso.cli.time.sleep", waited.append)
    monkeypatch.setenv("RANK", "1")
    assert main(["glu"]) == 2
    assert capsys.readouterr().err.startswith("hf-vasso: rank 1: unknown command 'glu'")
    assert waited == [5.0]


def test_ctrl_c_outside_training(monkeypatch):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_vasso.cli.import_module", interrupt)
    assert main(["glue"]) == 130


def test_methods(capsys):
    assert main(["methods"]) == 0
    shown = capsys.readouterr().out
    assert (
        "vasso  (rho 0.01, theta 0.4)\n    VASSO: SAM along a moving average of the gradients.\n    Cost: two passes"
        in shown
    )
    assert "Parts: MovingAverage(theta=0.4), Ball(), EveryStep()\n    https://arxiv.org/abs/2509.02433" in shown
    assert "none  (no numbers)" in shown
    assert "\n\nA step perturbs the parameters in the optimizer's " in shown


def test_methods_for_a_reader_that_has_gone():
    words = [sys.executable, "-m", "hf_vasso", "methods"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 141)


def test_methods_as_json(capsys):
    assert main(["methods", "--json"]) == 0
    listing = json.loads(capsys.readouterr().out)
    assert [method["name"] for method in listing] == list(METHODS)
    vasso = next(method for method in listing if method["name"] == "vasso")
    assert vasso["numbers"] == {"rho": 0.01, "theta": 0.4}
    assert vasso["paper"].startswith("https://arxiv.org/")
    assert all(method["description"].endswith(".") for method in listing)


@pytest.mark.parametrize("method", list_methods(), ids=lambda method: method["name"])
def test_every_method_states_its_cost(method):
    passes = re.match("Cost: (.*?) pass(?:es)? per step", method["cost"])
    copies = re.search(r"(\w+) extra cop(?:y|ies) of the trainable weights", method["cost"])
    assert passes is not None and method["cost"].endswith(".")
    words = {"one": "1", "two": "2", "1 + 1/4": "1 + ascent_fraction"}
    assert words.get(passes[1], passes[1]) == method["passes"]
    assert ["no", "one", "two", "three", "four"].index(copies[1] if copies else "no") == method["extra_copies"]
    assert "\n" not in method["cost"]

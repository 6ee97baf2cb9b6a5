"""What README and CONTRIBUTING promise: Python that runs, commands that parse, the table of methods."""

import re
import shlex
import sys
import textwrap
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import BertConfig, BertForSequenceClassification

from hf_vasso import SharpnessAwareStep
from hf_vasso.cli import main
from hf_vasso.methods import METHODS

sys.path.insert(0, str(Path(__file__).parents[1] / "docs"))
import write_tuning  # noqa: E402
from write_methods import CARDS, PAGES, ROOT, with_methods  # noqa: E402

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
COMMANDS = re.findall(r"^    ((?:hf-vasso|accelerate) .*)$", README, re.MULTILINE)


@pytest.fixture(scope="module")
def namespace():
    """What a reader has at hand: a model, data, an optimizer and the micro-batches of some steps."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, num_labels=2
    )
    model = BertForSequenceClassification(config)
    data = [{"input_ids": torch.arange(i, i + 4), "labels": torch.tensor(i % 2)} for i in range(8)]
    batch = {"input_ids": torch.arange(8).reshape(2, 4), "labels": torch.tensor([0, 1])}
    return {
        "model": model,
        "train": data,
        "dev": data,
        "optimizer": torch.optim.AdamW(model.parameters()),
        "steps": [[batch, batch]] * 2,
    }


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_blocks_run_one_after_the_other(number, namespace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = [parameter.detach().clone() for parameter in namespace["model"].parameters()]
    exec(PYTHON[number], namespace)
    trained = any(not torch.equal(p, b) for p, b in zip(namespace["model"].parameters(), before, strict=True))
    assert trained == (".train()" in PYTHON[number] or "engine.step" in PYTHON[number])


def test_nothing_is_left_to_fill_in():
    assert not re.search(r"\b[A-Z]+_TABLE\b|TODO|TBD", README)


def test_there_are_blocks_and_commands():
    assert len(PYTHON) == 3 and len(COMMANDS) >= 4


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = shlex.split(command)
    if words[0] == "accelerate":  # what is launched is the script with the flags of `hf-vasso glue`
        script = next(word for word in words if word.endswith(".py"))
        config = words[words.index("--config_file") + 1]
        assert (Path(__file__).parents[1] / script).is_file() and (Path(__file__).parents[1] / config).is_file()
        words = ["hf-vasso", "glue", *words[words.index(script) + 1 :]]
    extra = ["--dry_run", "--use_cpu"] if words[1] == "glue" else ["--help"]
    try:
        status = main([*words[1:], *extra])
    except SystemExit as stop:  # argparse after printing the help
        status = stop.code
    assert status == 0
    assert capsys.readouterr().out


def test_the_example_in_contributing_is_a_method():
    block = re.search(r"^   ```python\n(.*?)^   ```", CONTRIBUTING, re.MULTILINE | re.DOTALL)
    assert block is not None
    namespace = {"__name__": "signsam"}
    exec(textwrap.dedent(block.group(1)), namespace)
    w = torch.nn.Parameter(torch.tensor([3.0, -4.0]))
    engine = SharpnessAwareStep(
        namespace["signsam"](rho=2**0.5), [("w", w)], torch.optim.SGD([w], lr=1.0), total_steps=1, rho_warmup_steps=0
    )

    class HalfSquare:
        def backward(self, batch, sync):
            loss = w.square().sum() / 2
            loss.backward()
            return loss.detach()

    engine.step([None], HalfSquare())
    assert w.grad.tolist() == pytest.approx([4.0, -5.0])  # w + eps with eps = (1, -1)


@pytest.mark.parametrize("page", PAGES)
def test_the_tables_and_cards_are_those_of_the_methods(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    assert with_methods(page, text) == text, "run python docs/write_methods.py"
    assert all(f"`{name}`" in text for name in METHODS)
    assert "Raises:" not in text
    assert ("A step perturbs the parameters in the optimizer's " in text) == (page == CARDS)


def test_the_method_of_ones_own_in_the_docs_is_one():
    block = re.search(r"^```python\n(.*?)^```", (ROOT / "docs/methods.md").read_text(), re.MULTILINE | re.DOTALL)
    assert block is not None
    namespace: dict = {}
    exec(block.group(1), namespace)
    assert namespace["method"].numbers == {"rho": 0.01, "theta": 0.4, "k": 2, "alpha": 0.4}


def test_the_tables_of_tuning_are_those_of_its_trials():
    page = write_tuning.PAGE.read_text(encoding="utf-8")
    trials = pd.read_csv(write_tuning.TRIALS)
    assert write_tuning.with_tables(page, trials) == page, "run `python docs/write_tuning.py`"
    assert write_tuning.with_tables(page, trials.assign(score=trials.score + 0.01)) != page
    assert len(trials) >= 2 * 2 * (
        1 + 2 * 2 * 5
    )  # two tasks, two seeds; none, and two methods with and without warm-up

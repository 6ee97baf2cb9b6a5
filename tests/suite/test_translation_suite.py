"""A suite over a corpus: two methods on two seeds, numbers chosen on held-out pairs, and its plan."""

import json
import re
import textwrap
from pathlib import Path

import pytest
import yaml

from hf_vasso.cli import main
from hf_vasso.results.record import read_record
from hf_vasso.results.statistics import seeds_needed
from hf_vasso.suite.planning import Cell, grid_runs, trial_run
from hf_vasso.suite.suite_file import read_suite_file

METHODS = {"none": None, "sam": {"rho": 0.1}}


@pytest.fixture
def write_suite(corpus, tmp_path):
    """Writes the file of a suite over the corpus, with some keys replaced."""

    def write(**keys) -> Path:
        task = {"source_lang": "de", "target_lang": "en", "data_dir": str(corpus)}
        defaults = {"config_name": "tiny", "max_tokens": 100, "vocab_size": 60, "num_beams": 2, "use_cpu": True}
        content = {
            "name": "numerals",
            "output_dir": str(tmp_path / "runs"),
            "tasks": {"numbers": task},
            "methods": METHODS,
            "seeds": [0, 1],
            "defaults": {**defaults, "num_train_epochs": 1, **keys.pop("defaults", {})},
            **keys,
        }
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


def test_a_suite_with_numbers_chosen_on_held_out_pairs(write_suite, tmp_path, capsys):
    select = {"stages": {"learning_rate": [0.001, 0.01]}, "holdout_samples": 8}
    path = write_suite(select=select, methods={"none": None, "sam": {"rho": 0.1}})
    assert main(["suite", str(path)]) == 0
    runs = tmp_path / "runs"
    records = {record.parent.relative_to(runs).as_posix(): read_record(record) for record in runs.rglob("result.json")}
    assert records.keys() == {f"numbers/tiny/{method}/seed-{seed}" for method in METHODS for seed in (0, 1)}
    choices = json.loads((runs / "selection.json").read_text())["tasks"]["numbers"]
    for folder, record in records.items():
        assert (record.train_examples, record.eval_examples) == (40, 6)  # all pairs, and the test part
        assert record.arguments["learning_rate"] == choices[record.label]["chosen"]["learning_rate"]
        assert (runs / folder / "generated_predictions.txt").read_text().count("\n") == 6
    trials = [json.loads(trial.read_text()) for trial in (runs / ".select").rglob("trial.json")]
    assert len(trials) == 4
    for trial in trials:
        assert (trial["metric"], trial["direction"]) == ("validation_bleu", "higher")
        assert trial["loss"] > 0 and trial["arguments"]["holdout_samples"] == 8

    assert main(["report", str(runs), "--out", str(tmp_path / "report")]) == 0
    rows = (tmp_path / "report" / "tables" / "sentences.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 and rows[1].startswith("numbers,sacreBLEU,sam minus AdamW,0,6,")
    assert records["numbers/tiny/sam/seed-0"].signatures["bleu"] in (tmp_path / "report" / "report.html").read_text()

    capsys.readouterr()
    assert main(["suite", str(path)]) == 0  # nothing is made again
    assert capsys.readouterr().out.startswith("numerals: 8 of 8 trials and runs were finished before\n")
    (runs / "numbers" / "tiny" / "sam" / "seed-1" / "references.txt").unlink()
    assert main(["suite", str(path), "--dry_run"]) == 0
    assert "1 of 8 are to be made" in capsys.readouterr().out


def test_the_plan(write_suite):
    suite = read_suite_file(write_suite(select={"stages": {"rho": [0.1, 0.2]}, "holdout_samples": 8}))
    runs = grid_runs(suite, {})
    steps = runs[0].steps
    assert steps > 1 and [run.passes for run in runs] == [steps, 2 * steps] * 2
    assert all(run.task.training.do_predict for run in runs)
    trial = trial_run(suite, Cell("numbers", "sam"), 1000, {"rho": 0.2})
    assert not trial.task.training.do_predict and 0 < trial.steps < steps


def test_the_suite_of_the_docs(tmp_path, monkeypatch):
    page = (Path(__file__).parents[2] / "docs" / "translation.md").read_text()
    monkeypatch.setenv("HF_VASSO_DATA", str(tmp_path))
    path = tmp_path / "suite.yaml"
    path.write_text(textwrap.dedent(re.findall(r"(?:^    .*\n)+", page, re.MULTILINE)[-1]))
    suite = read_suite_file(path)
    runs = grid_runs(suite, {})
    assert len(runs) == 4 * 7 and {run.passes for run in runs} == {10000, 20000}  # known without the data
    assert seeds_needed(len(suite.contrasts)) <= len(suite.seeds)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"tasks": {"numbers": {"data_dir": "numbers"}}}, "unknown task_name 'numbers'.*source_lang"),
        ({"tasks": ["multi30k.de-en"]}, "method none and the defaults: only data on the hub can tell how many steps"),
        ({"defaults": {"max_seq_length": 9}}, "unknown flag --max_seq_length"),
    ],
)
def test_mistakes(write_suite, keys, words):
    with pytest.raises(ValueError, match=words):
        grid_runs(read_suite_file(write_suite(**keys)), {})

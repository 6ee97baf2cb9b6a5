"""The demonstration, shrunk."""

import re
import time
from statistics import fmean

import pytest

from hf_vasso import cli
from hf_vasso.results.record import read_record
from hf_vasso.suite import demo
from hf_vasso.suite.demo import DemoSize

SMALL = DemoSize(seeds=2, train_examples=40, validation_examples=20, epochs=1, hidden_size=8)


def beginning_of_table(shown: str) -> int:
    found = re.search("^method +agreement accuracy", shown, re.MULTILINE)
    assert found is not None
    return found.start()


def test_demo_runs_once_compares_and_reports(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(demo, "DemoSize", lambda: SMALL)
    words = ["--output_dir", str(tmp_path), "--label_noise", "0.25"]
    assert demo.main(words) == 0
    folder = tmp_path / "label-noise-0.25"
    records = {path.parent.relative_to(folder).as_posix(): path for path in folder.rglob("result.json")}
    assert records.keys() == {
        f"agreement/small-bert/{method}/seed-{seed}" for method in ("none", "sam", "vasso") for seed in (0, 1)
    }
    assert all(read_record(path).arguments["label_noise"] == 0.25 for path in records.values())
    written = {path: path.stat().st_mtime_ns for path in records.values()}

    shown = capsys.readouterr().out
    begin = beginning_of_table(shown)
    for words_of_table in ("AdamW ", "vasso minus sam ", "relative to the base", "too few seeds", "That is little"):
        assert words_of_table in shown[begin:]
    page = folder / "report" / "report.html"
    assert shown.endswith(f"report: {page}\n")
    assert "vasso minus sam" in page.read_text()

    assert demo.main(words) == 0
    again = capsys.readouterr().out
    assert again[beginning_of_table(again) :] == shown[begin:]
    assert {path: path.stat().st_mtime_ns for path in records.values()} == written


def test_a_label_noise_out_of_its_range(tmp_path, capsys):
    assert cli.main(["demo", "--output_dir", str(tmp_path), "--label_noise", "1"]) == 2
    assert "label_noise must be in [0, 1), got 1.0" in capsys.readouterr().err


@pytest.mark.slow
def test_the_real_demo_is_learnable_not_saturated_and_short(tmp_path):
    start = time.monotonic()
    assert demo.main(["--output_dir", str(tmp_path)]) == 0
    assert time.monotonic() - start < 240
    records = [read_record(path) for path in tmp_path.rglob("none/seed-*/result.json")]
    assert len(records) == 3
    assert 0.65 < fmean(record.metrics["accuracy"] for record in records) < 0.95

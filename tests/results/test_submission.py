"""The leaderboard's zip: what stands in it, and what is refused."""

import gzip
import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from hf_vasso.results import submission
from hf_vasso.results.submission import LEADERBOARD_FILES, Predictions, SubmissionError, write_submission
from hf_vasso.tasks.glue.table import TASKS

# `wc -l *.tsv` of a submission, as the README of the repository ColeFang/CERT shows it.
LINES = {
    "AX.tsv": 1105,
    "CoLA.tsv": 1064,
    "MNLI-mm.tsv": 9848,
    "MNLI-m.tsv": 9797,
    "MRPC.tsv": 1726,
    "QNLI.tsv": 5464,
    "QQP.tsv": 390966,
    "RTE.tsv": 3001,
    "SST-2.tsv": 1822,
    "STS-B.tsv": 1380,
    "WNLI.tsv": 147,
}
# What the server reads for two predictions, the last label first.
READ_AS = {
    "CoLA.tsv": ("1", "0"),
    "SST-2.tsv": ("1", "0"),
    "MRPC.tsv": ("1", "0"),
    "STS-B.tsv": ("5.000", "0.125"),
    "QQP.tsv": ("1", "0"),
    "MNLI-m.tsv": ("contradiction", "neutral"),
    "MNLI-mm.tsv": ("contradiction", "neutral"),
    "QNLI.tsv": ("not_entailment", "entailment"),
    "RTE.tsv": ("not_entailment", "entailment"),
    "WNLI.tsv": ("1", "0"),
    "AX.tsv": ("contradiction", "neutral"),
}


def names(task: str) -> tuple[str, ...]:
    return TASKS[task].label_names


def write_predictions(path: Path, answers: list[str]) -> None:
    lines = [f"{index}\t{answer}\n" for index, answer in enumerate(answers)]
    path.write_text("index\tprediction\n" + "".join(lines))


@pytest.fixture
def predictions(tmp_path) -> dict:
    """Two predictions for each file."""
    made = {}
    for file in LEADERBOARD_FILES:
        path = tmp_path / f"{file.task}-{file.split}.tsv"
        write_predictions(path, list(names(file.task)[:-3:-1]) or ["5.000", "0.125"])
        made[file] = Predictions(path, names(file.task), size=2)
    return made


def edit(predictions: dict, name: str, text: str) -> None:
    next(entry.path for file, entry in predictions.items() if file.name == name).write_text(text)


def test_eleven_files_as_the_server_reads_them(predictions, tmp_path):
    write_submission(predictions, tmp_path / "new" / "glue.zip")
    with ZipFile(tmp_path / "new" / "glue.zip") as archive:
        assert archive.testzip() is None
        read = {name: archive.read(name).decode() for name in archive.namelist()}
    assert read == {name: f"index\tprediction\n0\t{first}\n1\t{second}\n" for name, (first, second) in READ_AS.items()}
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["glue.zip"]


def test_the_same_predictions_give_the_same_bytes(predictions, tmp_path, monkeypatch):
    write_submission(predictions, tmp_path / "first.zip")
    monkeypatch.setattr("time.time", lambda: 2e9)
    monkeypatch.setattr("time.localtime", lambda *_: (2033, 5, 18, 3, 33, 20, 2, 138, 0))
    write_submission(dict(reversed(predictions.items())), tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_sizes_of_the_task_table_are_those_of_submissions():
    assert {file.name: TASKS[file.task].split_sizes[file.split] + 1 for file in LEADERBOARD_FILES} == LINES


@pytest.mark.realdata
@pytest.mark.parametrize("task", ["cola", "sst2", "mrpc", "stsb", "rte", "wnli"])
def test_sizes_and_order_of_the_real_test_sets(real_data, task):
    with gzip.open(real_data / "glue" / task / "test.jsonl.gz", "rt") as lines:
        indices = [json.loads(line)["idx"] for line in lines]
    (name,) = [file.name for file in LEADERBOARD_FILES if file.task == task]
    assert indices == list(range(LINES[name] - 1))


def test_every_missing_file_and_wrong_line_is_named(predictions, tmp_path):
    missing = [file for file in predictions if file.name in ("RTE.tsv", "AX.tsv")]
    del predictions[missing[0]]
    predictions[missing[1]].path.unlink()
    edit(predictions, "CoLA.tsv", "index\tprediction\n0\tacceptable\n2\tacceptable\n")
    edit(predictions, "SST-2.tsv", "0\tpositive\n1\tnegative\n")
    edit(predictions, "MRPC.tsv", "index\tprediction\n0\tequivalent\n")
    edit(predictions, "STS-B.tsv", "index\tprediction\n0\t5.125\n1\tnan\n")
    edit(predictions, "QQP.tsv", "index\tprediction\n0\t1\n1\tduplicate\textra\n2\tduplicate\n")
    edit(predictions, "WNLI.tsv", "")
    with pytest.raises(SubmissionError) as error:
        write_submission(predictions, tmp_path / "glue.zip")
    source = {file.name: entry.path for file, entry in predictions.items()}
    assert str(error.value).splitlines() == [
        "the leaderboard would not take these predictions:",
        f"CoLA.tsv, from {source['CoLA.tsv']}, line 3: the index must be 1, got '2'",
        f"SST-2.tsv, from {source['SST-2.tsv']}, line 1: the header must be 'index\\tprediction', got '0\\tpositive'",
        f"SST-2.tsv, from {source['SST-2.tsv']}, line 3 is missing",
        f"SST-2.tsv, from {source['SST-2.tsv']}, line 2: the index must be 0, got '1'",
        f"MRPC.tsv, from {source['MRPC.tsv']}, line 3 is missing",
        f"STS-B.tsv, from {source['STS-B.tsv']}, line 2: the prediction must be a number from 0 to 5, got '5.125'",
        f"STS-B.tsv, from {source['STS-B.tsv']}, line 3: the prediction must be a number from 0 to 5, got 'nan'",
        f"QQP.tsv, from {source['QQP.tsv']}, line 4 is too much: the test set has 2 examples",
        f"QQP.tsv, from {source['QQP.tsv']}, line 2: the prediction must be not_duplicate or duplicate, got '1'",
        f"QQP.tsv, from {source['QQP.tsv']}, line 3: the prediction must be not_duplicate or duplicate, got "
        "'duplicate\\textra'",
        "RTE.tsv: there are no predictions for split test of task rte",
        f"WNLI.tsv, from {source['WNLI.tsv']}, line 1: the header must be 'index\\tprediction', got ''",
        f"WNLI.tsv, from {source['WNLI.tsv']}, lines 2 to 3 are missing",
        "AX.tsv: there are no predictions for split test of task ax",
    ]
    assert not (tmp_path / "glue.zip").exists()


def test_a_shifted_file_names_its_first_lines_and_counts_the_rest(predictions, tmp_path):
    edit(predictions, "QQP.tsv", "index\tprediction\n" + "".join(f"{index + 1}\tduplicate\n" for index in range(40)))
    (file,) = [file for file in predictions if file.name == "QQP.tsv"]
    predictions[file] = Predictions(predictions[file].path, predictions[file].label_names, size=40)
    with pytest.raises(SubmissionError, match="and 30 lines more") as error:
        write_submission(predictions, tmp_path / "glue.zip")
    assert len(str(error.value).splitlines()) == 12


def test_an_interrupted_write_leaves_the_old_zip_and_nothing_else(predictions, tmp_path, monkeypatch):
    out = tmp_path / "zips" / "glue.zip"
    write_submission(predictions, out)
    before = out.read_bytes()

    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(submission.ZipFile, "writestr", full_disk)
    with pytest.raises(OSError, match="no space"):
        write_submission(predictions, out)
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["glue.zip"]

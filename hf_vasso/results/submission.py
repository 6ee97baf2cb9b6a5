"""
The zip file that GLUE's leaderboard takes: eleven files of predictions, checked line by line before it is written.

The format is that of https://gluebenchmark.com/faq (question 1) and of the benchmark's own toolkit, nyu-mll/jiant:
`jiant/scripts/benchmarks/benchmarks.py` at 8b139964 names the files and their header, and the `LABELS` of
`jiant/tasks/lib/<task>.py` at 7b7881be are what stands in them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from hf_vasso.results.files import write_bytes

__all__ = ["LEADERBOARD_FILES", "LeaderboardFile", "Predictions", "SubmissionError", "write_submission"]

_HEADER = "index\tprediction"
_HIGHEST_SIMILARITY = 5.0
_PROBLEMS_SHOWN = 10  # per file: one line too many at the top of QQP's makes 390,965 wrong ones


class SubmissionError(ValueError):
    """Predictions that cannot be submitted: the message names each file and line that is missing or wrong."""


@dataclass(frozen=True)
class LeaderboardFile:
    """
    One of the files that the leaderboard takes.

    Args:
        name: Its name in the zip.
        task: The task's name.
        split: The test split that it is about.
        by_name: Whether the server reads the names of the task's labels there, and not their numbers.
    """

    name: str
    task: str
    split: str = "test"
    by_name: bool = False


LEADERBOARD_FILES = (
    LeaderboardFile("CoLA.tsv", "cola"),
    LeaderboardFile("SST-2.tsv", "sst2"),
    LeaderboardFile("MRPC.tsv", "mrpc"),
    LeaderboardFile("STS-B.tsv", "stsb"),
    LeaderboardFile("QQP.tsv", "qqp"),
    LeaderboardFile("MNLI-m.tsv", "mnli", "test_matched", by_name=True),
    LeaderboardFile("MNLI-mm.tsv", "mnli", "test_mismatched", by_name=True),
    LeaderboardFile("QNLI.tsv", "qnli", by_name=True),
    LeaderboardFile("RTE.tsv", "rte", by_name=True),
    LeaderboardFile("WNLI.tsv", "wnli"),
    LeaderboardFile("AX.tsv", "ax", by_name=True),
)
"""All files of a submission, in the order of the leaderboard's columns."""


@dataclass(frozen=True)
class Predictions:
    """
    What a run predicted on a test split.

    Args:
        path: The file that the run wrote: a header, then per example its index and the name of its label, or a
            similarity between 0 and 5.
        label_names: The name of label 0, 1, ...; empty for a similarity.
        size: The official number of examples.
    """

    path: Path
    label_names: Sequence[str]
    size: int


def write_submission(predictions: dict[LeaderboardFile, Predictions], out: Path) -> None:
    """
    Check predictions and zip them, atomically. Equal predictions give equal bytes.

    Args:
        predictions: For each of `LEADERBOARD_FILES` what was predicted.
        out: The zip file to write or replace.

    Raises:
        SubmissionError: A file or a line is missing or wrong. Nothing is written then.
    """
    texts, problems = {}, []
    for file in LEADERBOARD_FILES:
        if file not in predictions or not predictions[file].path.is_file():
            problems.append(f"{file.name}: there are no predictions for split {file.split} of task {file.task}")
            continue
        header, *lines = _lines(predictions[file].path)
        answers = [_answer(line.partition("\t")[2], predictions[file].label_names, file.by_name) for line in lines]
        texts[file.name] = _HEADER + "\n" + "".join(f"{index}\t{answer}\n" for index, answer in enumerate(answers))
        wrong = _problems(header, lines, answers, predictions[file])
        problems += [f"{file.name}, from {predictions[file].path}, {problem}" for problem in _first(wrong)]
    if problems:
        raise SubmissionError("\n".join(["the leaderboard would not take these predictions:", *problems]))
    write_bytes(out, _zipped(texts))


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines() or [""]


def _answer(prediction: str, label_names: Sequence[str], by_name: bool) -> str | None:
    """A prediction as the server reads it, None where it cannot be one."""
    if not label_names:
        return prediction if _is_similarity(prediction) else None
    if prediction not in label_names:
        return None
    return prediction if by_name else str(label_names.index(prediction))


def _is_similarity(text: str) -> bool:
    try:
        return 0.0 <= float(text) <= _HIGHEST_SIMILARITY
    except ValueError:
        return False


def _problems(
    header: str, lines: Sequence[str], answers: Sequence[str | None], predictions: Predictions
) -> Iterator[str]:
    """What is wrong with a file, one sentence per line."""
    if header != _HEADER:
        yield f"line 1: the header must be {_HEADER!r}, got {header!r}"
    if len(lines) < predictions.size:
        yield f"{_range(len(lines), predictions.size)} missing"
    if len(lines) > predictions.size:
        yield f"{_range(predictions.size, len(lines))} too much: the test set has {predictions.size} examples"
    expected = " or ".join(predictions.label_names) or f"a number from 0 to {_HIGHEST_SIMILARITY:g}"
    for index, (line, answer) in enumerate(zip(lines, answers, strict=True)):
        number, _, prediction = line.partition("\t")
        if number != str(index):
            yield f"line {index + 2}: the index must be {index}, got {number!r}"
        elif answer is None:
            yield f"line {index + 2}: the prediction must be {expected}, got {prediction!r}"


def _range(start: int, stop: int) -> str:
    """The lines of the predictions from `start` to before `stop`, below the header and counted from 1."""
    return f"line {stop + 1} is" if stop - start == 1 else f"lines {start + 2} to {stop + 1} are"


def _first(problems: Iterator[str]) -> list[str]:
    """The first problems, and how many more there are."""
    first, more = list(islice(problems, _PROBLEMS_SHOWN)), sum(1 for _ in problems)
    return [*first, *([f"and {more} lines more"] if more else [])]


def _zipped(texts: dict[str, str]) -> bytes:
    content = BytesIO()
    with ZipFile(content, "w", ZIP_DEFLATED) as archive:
        for name, text in texts.items():
            entry = ZipInfo(name)  # its time is the format's first day, whenever it is written
            entry.compress_type, entry.external_attr, entry.create_system = ZIP_DEFLATED, 0o644 << 16, 3
            archive.writestr(entry, text)
    return content.getvalue()

"""Data files, mutated: what is read is what another reader finds there, or the file and the line are named."""

import csv
import gzip
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_vasso.tasks.data_files import find_file
from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.glue import data as glue_data
from hf_vasso.tasks.glue.data import load_task
from hf_vasso.tasks.glue.table import get_task
from hf_vasso.tasks.translation import sentence_pairs
from hf_vasso.tasks.translation.corpora import Corpus
from hf_vasso.tasks.translation.sentence_pairs import PLACE, load_pairs

in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

# Texts, labels and numbers as they come and as they should not; each is a piece of JSON.
TEXTS = st.text(max_size=8).map(json.dumps) | st.sampled_from(
    [r'"\ud800"', r'"\u0000"', '"\ufeffa"', '"a\tb"', '"a\\nb"']
)
NUMBERS = st.sampled_from(
    ["0", "1", "-1", "2", "4.5", "5.5", "1e39", "1e400", "1" + "0" * 400, "9" * 5000, "2147483648", "-2147483649"]
    + [
        "NaN",
        "Infinity",
        "-0.0",
        "1.0",
        "0.5",
        "true",
        "null",
        '"1"',
        '"1_0"',
        '"\u0661"',
        '"entailment"',
        '" 1"',
        '""',
    ]
)
DEEP = st.sampled_from(["[" * 200 + "]" * 200, "[" * 99_999, '{"a":' * 20_000 + "1" + "}" * 20_000])
VALUES = st.one_of(TEXTS, NUMBERS, DEEP)
COLUMNS = {"rte": ["sentence1", "sentence2", "label", "idx"], "stsb": ["sentence1", "sentence2", "label", "idx"]}


def escaped(name: str) -> list[str]:
    """The same key in JSON, spelled otherwise."""
    return [f"\\u{ord(name[0]):04x}{name[1:]}"] if name else []


@st.composite
def json_lines(draw, columns: list[str]) -> str:
    """Lines of objects: most are right, in some a key is wrong, missing or there twice."""
    lines = []
    for number in range(draw(st.integers(1, 4))):
        entries = [(name, '"a text"' if "sentence" in name or len(name) == 2 else "1") for name in columns]
        entries = [(name, str(number) if name == "idx" else value) for name, value in entries]
        for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
            kind, place = draw(st.sampled_from(["value", "twice", "drop", "name"])), draw(st.integers(0, 3))
            name, value = entries[place % len(entries)]
            if kind == "value":
                entries[place % len(entries)] = (name, draw(VALUES))
            elif kind == "twice":
                entries.append((draw(st.sampled_from([name, *escaped(name)])), draw(VALUES)))
            elif kind == "drop" and len(entries) > 1:
                entries.remove((name, value))
            else:
                entries.append((draw(st.sampled_from(["more", "Label", ""])), draw(VALUES)))
        lines.append("{" + ", ".join(f'"{name}": {value}' for name, value in entries) + "}")
    return "".join(f"{line}\n" for line in lines)


@st.composite
def csv_cells(draw, columns: list[str]) -> str:
    """A table: most of it is right, some cells, rows and columns are not."""
    header = list(columns)
    if draw(st.sampled_from([False, False, False, True])):
        header = draw(st.lists(st.sampled_from([*columns, "more", ""]), min_size=1, max_size=6))
    rows = [header]
    for number in range(draw(st.integers(1, 4))):
        cells = ["a, text" if "sentence" in name or len(name) == 2 else "1" for name in header]
        cells = [str(number) if name == "idx" else cell for name, cell in zip(header, cells, strict=True)]
        for _ in range(draw(st.sampled_from([0, 0, 1]))):
            cells[draw(st.integers(0, len(cells) - 1))] = draw(
                st.text(max_size=6) | NUMBERS.map(lambda n: n.strip('"'))
            )
        rows.append(cells[: draw(st.sampled_from([99, 99, 99, 1]))])
    file = io.StringIO()
    csv.writer(file, lineterminator=draw(st.sampled_from(["\n", "\r\n"]))).writerows(rows)
    return file.getvalue()


@st.composite
def damaged(draw, texts: st.SearchStrategy[str]) -> bytes:
    """The bytes of a text: most as they are, some with a mark before them, flipped or cut."""
    raw = bytearray(draw(texts).encode(errors="surrogatepass"))
    kind = draw(st.sampled_from(["whole", "whole", "whole", "mark", "flip", "cut", "insert"]))
    place = draw(st.integers(0, max(0, len(raw) - 1)))
    if kind == "mark":
        raw[:0] = draw(st.sampled_from([b"\xef\xbb\xbf", b"\xff\xfe", b"\x00"]))
    elif kind == "flip" and raw:
        raw[place] = draw(st.integers(0, 255))
    elif kind == "cut":
        del raw[place:]
    elif kind == "insert":
        raw[place:place] = draw(st.sampled_from([b"\x00", b"\r", b"\n", b'"', b",", b"\xff", b"\xed\xa0\x80"]))
    return bytes(raw)


# --- another reader ---


def other_rows(path: Path, content: bytes) -> Iterator[dict[str, Any]]:
    """The rows of a file, read by the whole and not line by line; what is not plain is an error."""
    text = content.decode("utf-8").removeprefix("\ufeff")
    if path.suffix == ".csv":
        table = pandas.read_csv(
            io.StringIO(text), dtype=str, header=None, keep_default_na=False, skip_blank_lines=True, engine="python"
        )
        header, *rows = table.to_numpy().tolist()
        assert len(set(header)) == len(header)
        yield from (dict(zip(header, row, strict=True)) for row in rows)
        return
    for line in text.removesuffix("\n").split("\n"):
        yield json.loads(line, object_pairs_hook=no_twins)


def no_twins(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(entries) == len({name for name, _ in entries})
    return dict(entries)


def number_of(value: Any) -> float:
    assert not isinstance(value, bool) and re.fullmatch(r"\s*[-+]?[\d.]+([eE][-+]?\d+)?\s*", str(value), re.ASCII)
    return float(value)


def expected_example(task: str, row: dict[str, Any], position: int) -> dict[str, Any]:
    """What a row means, by rules written down a second time."""
    label = row["label"]
    if task == "stsb":
        label = number_of(label)
        assert 0 <= label <= 5
        label = float(np.float32(label))
    elif label in ("entailment", "not_entailment"):
        label = ["entailment", "not_entailment"].index(label)
    else:
        assert type(label) in (int, str)
        label = {"0": 0, "1": 1}[str(label)]
    idx = number_of(row.get("idx", position))
    assert idx == math.floor(idx) and abs(idx) < 2**31
    texts = {name: row[name] for name in ("sentence1", "sentence2")}
    assert all(isinstance(text, str) and text.encode() is not None for text in texts.values())
    return {**texts, "label": label, "idx": int(idx)}


# --- the attacks ---


@pytest.fixture
def uncached(monkeypatch) -> None:
    """Parse without the cache of `datasets`, which takes a tenth of a second for a file; other tests are about it."""

    def parse(examples, features, split, paths) -> datasets.Dataset:
        found = list(examples(paths=tuple(paths), state=None))
        return datasets.Dataset.from_list(found, features=features)

    monkeypatch.setattr(glue_data, "cached", parse)
    monkeypatch.setattr(sentence_pairs, "cached", parse)


def named(error: DataError, paths: list[Path]) -> None:
    """Fail unless a message names one of the files and, where it is not empty, the line."""
    message = str(error)
    assert "\n" not in message and len(message) < 1200
    assert any(str(path) in message for path in paths)
    assert re.search(r", line \d+: | line \d+ and | is empty; |there are no pairs|UTF-16", message), message


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "csv"])
@pytest.mark.parametrize("task", COLUMNS)
@pytest.mark.usefixtures("uncached")
@in_one_folder
@given(data=st.data())
def test_examples_are_those_of_another_reader_or_their_line_is_named(tmp_path, task, suffix, data):
    layout = csv_cells if suffix == "csv" else json_lines
    content = data.draw(damaged(layout(COLUMNS[task])))
    path = tmp_path / task / f"train.{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(content, 1) if suffix.endswith("gz") else content)
    try:
        read = load_task(get_task(task), str(tmp_path), ["train"]).splits["train"].to_list()
    except DataError as error:
        named(error, [path])
        return
    expected = [expected_example(task, row, n) for n, row in enumerate(other_rows(path, content))]
    assert read == expected


@in_one_folder
@given(content=st.binary(max_size=200), cut=st.integers(0, 40))
def test_a_gzip_file_that_is_damaged_is_named(tmp_path, content, cut):
    folder = tmp_path / "rte"
    folder.mkdir(exist_ok=True)
    row = b'{"sentence1": "a", "sentence2": "b", "label": 1}\n'
    (folder / "train.jsonl.gz").write_bytes(gzip.compress(row * 3)[:cut] + content)
    path = find_file(folder, "train")
    with pytest.raises(DataError) as caught:
        list(glue_data._examples(get_task("rte"), "train", [path], None))
    named(caught.value, [path])


CORPUS = Corpus("pairs.de-en", ("de", "en"), {})
LINES = st.lists(st.text(st.characters(exclude_characters="\r\n"), max_size=8), max_size=4).map(
    lambda lines: "".join(f"{line}\n" for line in lines)
)


@pytest.mark.usefixtures("uncached")
@in_one_folder
@given(contents=st.tuples(damaged(LINES), damaged(LINES)))
def test_aligned_pairs_are_those_of_another_reader_or_the_file_is_named(tmp_path, contents):
    paths = [tmp_path / f"train.{language}" for language in ("de", "en")]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    try:
        pairs = load_pairs(CORPUS, str(tmp_path), ["train"]).splits["train"]
    except DataError as error:
        named(error, paths)
        return
    for path, content in zip(paths, contents, strict=True):
        text = content.decode(errors="replace").removeprefix("\ufeff")
        assert pairs[path.suffix[1:]][:] == [line.rstrip("\r") for line in text.removesuffix("\n").split("\n")]
    assert pairs[PLACE][:] == [f"line {number}" for number in range(1, len(pairs) + 1)]


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
@pytest.mark.usefixtures("uncached")
@in_one_folder
@given(data=st.data())
def test_pairs_in_one_file_are_those_of_another_reader_or_their_line_is_named(tmp_path, suffix, data):
    layout = csv_cells if suffix == "csv" else json_lines
    content = data.draw(damaged(layout(["de", "en"])))
    path = tmp_path / f"train.{suffix}"
    path.write_bytes(content)
    try:
        pairs = load_pairs(CORPUS, str(tmp_path), ["train"]).splits["train"]
    except DataError as error:
        named(error, [path])
        return
    rows = list(other_rows(path, content))
    assert pairs.select_columns(["de", "en"]).to_list() == [{name: row[name] for name in ("de", "en")} for row in rows]

"""Find and read the files of a data folder, row by row, with the place of each row for messages."""

import csv
import gzip
import hashlib
import json
import reprlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
from datasets.exceptions import DatasetGenerationError

from hf_vasso.results.reading import said_once
from hf_vasso.tasks.errors import DataError

__all__ = ["BYTE_ORDER_MARK", "CACHE_FORMAT", "SUFFIXES", "cached", "find_file", "place", "place_in_file", "rows"]

CACHE_FORMAT = 2
"""Raised when data come out of the same files otherwise than before: the cache of `datasets` does not see code."""

BYTE_ORDER_MARK = "\ufeff"
"""What some programs put before the first line of a text; anywhere else it is a character of the text."""

_LONGEST_REASON = 300
_LONGEST_CELL = 2**31 - 1  # characters, the largest number that is one on every system

_NumberedRow = tuple[int, dict[str, Any] | None]


def find_file(folder: Path, split: str) -> Path:
    """
    The one file of a split.

    Raises:
        DataError: There is none, or more than one.
    """
    looked_for = [folder / (split + suffix) for suffix in SUFFIXES]
    found = [path for path in looked_for if path.is_file()]
    if len(found) > 1:
        raise DataError(f"{folder} has {_names(found)} for one split; keep the one that is meant")
    if not found:
        existing = sorted(folder.iterdir()) if folder.is_dir() else []
        raise DataError(
            f"{folder} has no data for split {split}: looked for {_names(looked_for)}, "
            f"{f'found only {_names(existing)}' if existing else 'but the folder is missing or empty'}; "
            "name the file after the split, or name another --data_dir"
        )
    return found[0]


def _names(paths: Sequence[Path]) -> str:
    return ", ".join(path.name + ("/" if path.is_dir() else "") for path in paths)


def cached(
    examples: Callable[..., Iterator[dict[str, Any]]], features: datasets.Features, split: str, paths: Sequence[Path]
) -> datasets.Dataset:
    """
    Parse files, or take them from the cache of `datasets` where their contents are the same as before.

    Args:
        examples: Makes the examples of `paths=` and `state=`, which is another one where a file is; it can be pickled.
        features: Their columns.
        split: Their split.
        paths: The files.

    Raises:
        DataError: That of `examples`, or a file may not be read.
    """
    state = (CACHE_FORMAT, *map(_content_hash, paths))
    try:
        return datasets.Dataset.from_generator(
            examples,
            gen_kwargs={"paths": tuple(path.absolute() for path in paths), "state": state},
            features=features,
            split=datasets.NamedSplit(split),
        )
    except DatasetGenerationError as error:
        if isinstance(error.__cause__, DataError):
            raise error.__cause__ from None
        raise


def _content_hash(path: Path) -> str:
    """Of the bytes, not of size and time, which a copy or a correction may leave as they were: a gigabyte a second."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); mend that or fetch it again") from error


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """
    Each row of a file with the number of its (last) line, whatever the format.

    Raises:
        DataError: The file is broken, or has another format than its name says.
    """
    number = 0
    try:
        for number, row in _READERS["".join(path.suffixes)](path):
            if row is not None:
                yield number, row
    except (OSError, EOFError, ValueError, csv.Error, zlib.error, pyarrow.ArrowException) as error:
        reason = " ".join(str(error).split())[:_LONGEST_REASON]
        raise DataError(f"{place(path, number + 1)}: {reason}; mend the file or fetch it again") from error


def place(path: Path, number: int) -> str:
    """A row in words."""
    return f"{path}, {place_in_file(path, number)}"


def place_in_file(path: Path, number: int) -> str:
    """The same without the file."""
    return f"{'row' if path.suffix == '.parquet' else 'line'} {number}"


def _json_rows(path: Path) -> Iterator[_NumberedRow]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            yield number, _json_row(_decoded(line, number).rstrip())


def _json_row(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line, object_pairs_hook=said_once)
        if "\\u" in line:
            json.dumps(row, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise ValueError(f"broken JSON at column {error.colno} ({error.msg})") from error
    except UnicodeEncodeError as error:
        raise ValueError("half a surrogate pair (\\ud800 to \\udfff) is no character") from error
    except RecursionError as error:
        raise ValueError("objects and lists stand in each other too deep to be read") from error
    if not isinstance(row, dict):
        raise ValueError(f"each line must be a JSON object, got {reprlib.repr(row)}")
    return row


def _decoded(line: bytes, number: int) -> str:
    """A line, which is reported by its own number where a byte of it is wrong."""
    text = line.decode()
    return text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text


def _csv_rows(path: Path) -> Iterator[_NumberedRow]:
    """The rows, and None for the header and for empty lines."""
    header = None
    with path.open("rb") as lines:
        reader = csv.reader((_decoded(line, number) for number, line in enumerate(lines, start=1)), strict=True)
        while (cells := _next_cells(reader)) is not None:
            row = None
            if cells and header is None:
                header = cells
                _refuse_twins(header)
            elif cells and header is not None:
                if len(cells) != len(header):
                    raise ValueError("the row has more or fewer cells than the header; quote texts that hold commas")
                row = dict(zip(header, cells, strict=True))
            yield reader.line_num, row


def _refuse_twins(columns: Sequence[str]) -> None:
    twins = [column for column, count in Counter(columns).items() if count > 1]
    if twins:
        raise ValueError(f"the column {reprlib.repr(twins[0])} stands there twice; only one can be meant")


def _next_cells(reader: Any) -> list[str] | None:
    """Those of one row, however long: the limit is the whole process', so it is lifted for this row alone."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path) -> Iterator[_NumberedRow]:
    with pyarrow.parquet.ParquetFile(path) as file:
        _refuse_twins(file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches():
            for row in batch.to_pylist():
                number += 1
                yield number, row


_READERS: dict[str, Callable[[Path], Iterator[_NumberedRow]]] = {
    ".jsonl": _json_rows,
    ".jsonl.gz": _json_rows,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}

SUFFIXES = tuple(_READERS)
"""The formats that are read."""

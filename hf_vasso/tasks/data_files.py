"""Find and read the files of a data folder, row by row, with the place of each row for messages."""

import csv
import gzip
import json
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet
from datasets.exceptions import DatasetGenerationError

from hf_vasso.tasks.errors import DataError

__all__ = ["CACHE_FORMAT", "SUFFIXES", "cached", "find_file", "place", "place_in_file", "rows"]

CACHE_FORMAT = 1
"""Raised when data come out of the same files otherwise than before: the cache of `datasets` does not see code."""

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
    return ", ".join(path.name for path in paths)


def cached(
    examples: Callable[..., Iterator[dict[str, Any]]], features: datasets.Features, split: str, paths: Sequence[Path]
) -> datasets.Dataset:
    """
    Parse files, or take them from the cache of `datasets` where they are the same as before.

    Args:
        examples: Makes the examples of `paths=` and `state=`, which is another one where a file is; it can be pickled.
        features: Their columns.
        split: Their split.
        paths: The files.

    Raises:
        DataError: That of `examples`.
    """
    state = (CACHE_FORMAT, *((path.stat().st_size, path.stat().st_mtime_ns) for path in paths))
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
    except (OSError, EOFError, ValueError, csv.Error, zlib.error) as error:
        raise DataError(f"{place(path, number + 1)}: {error}; mend the file or fetch it again") from error


def place(path: Path, number: int) -> str:
    """A row in words."""
    return f"{path}, {place_in_file(path, number)}"


def place_in_file(path: Path, number: int) -> str:
    """The same without the file."""
    return f"{'row' if path.suffix == '.parquet' else 'line'} {number}"


def _json_rows(path: Path) -> Iterator[_NumberedRow]:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                row = json.loads(line.rstrip())
            except json.JSONDecodeError as error:
                raise ValueError(f"broken JSON at column {error.colno} ({error.msg})") from error
            if not isinstance(row, dict):
                raise ValueError(f"each line must be a JSON object, got {row!r}")
            yield number, row


def _csv_rows(path: Path) -> Iterator[_NumberedRow]:
    """The rows, and None for the header and for empty lines."""
    header = None
    with path.open("rb") as lines:
        # Decoded line by line, so that a wrong byte is reported with its own line; utf-8-sig drops Excel's mark.
        reader = csv.reader((line.decode("utf-8-sig") for line in lines), strict=True)
        while (cells := _next_cells(reader)) is not None:
            row = None
            if cells and header is None:
                header = cells
            elif cells and header is not None:
                if len(cells) != len(header):
                    raise ValueError("the row has more or fewer cells than the header; quote texts that hold commas")
                row = dict(zip(header, cells, strict=True))
            yield reader.line_num, row


def _next_cells(reader: Any) -> list[str] | None:
    """Those of one row, however long: the limit is the whole process', so it is lifted for this row alone."""
    limit = csv.field_size_limit(_LONGEST_CELL)
    try:
        return next(reader, None)
    finally:
        csv.field_size_limit(limit)


def _parquet_rows(path: Path) -> Iterator[_NumberedRow]:
    with pyarrow.parquet.ParquetFile(path) as file:
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

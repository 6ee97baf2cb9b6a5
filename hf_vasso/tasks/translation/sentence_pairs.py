"""Load the sentence pairs of a corpus, from the hub or from files, and find those that cannot be used."""

import codecs
import gzip
import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from pathlib import Path
from typing import Any

import datasets

from hf_vasso.tasks.data_files import BYTE_ORDER_MARK, SUFFIXES, cached, place, place_in_file, rows
from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.hub import load_from_hub
from hf_vasso.tasks.translation.cached_map import cached_map
from hf_vasso.tasks.translation.corpora import Corpus

__all__ = ["PLACE", "PairData", "describe_faults", "load_pairs", "unusable", "without"]

PLACE = "place"
"""The column with the line or row of a pair in its file."""

_UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
_UNDECODABLE_FAULT = "bytes that are not UTF-8, or characters that were lost before (U+FFFD)"
_MOST_SHOWN = 5


@dataclass(frozen=True)
class PairData:
    """
    The pairs of a corpus.

    Args:
        splits: Split name to pairs: `PLACE` and a column of text for each language, in the order of the files.
        source: The hub id, or "local files".
        fingerprints: Split name to what is equal for equal texts, wherever they came from.
    """

    splits: datasets.DatasetDict
    source: str
    fingerprints: dict[str, str]


def load_pairs(corpus: Corpus, data_dir: str | None, splits: Sequence[str]) -> PairData:
    """
    Load the pairs of a corpus.

    Args:
        corpus: The corpus.
        data_dir: A folder with a pair of line-aligned files for each split, such as `train.de` and `train.en` (or
            `.gz`), or one file with both languages (.jsonl, .jsonl.gz, .csv, .parquet), in which they are columns or
            stand in a column `translation`. None loads from the hub. It may hold a folder for each corpus.
        splits: The splits to load: of "train", "validation" and "test".

    Raises:
        DataError: A split or a language is missing, files are not aligned or broken, or no data can be reached.
    """
    source = str(corpus.hub_id) if data_dir is None else "local files"
    if not splits:
        return PairData(datasets.DatasetDict(), source, {})
    loaded = _from_hub(corpus, splits) if data_dir is None else _from_files(corpus, Path(data_dir), splits)
    return PairData(loaded, source, {str(name): _fingerprint(corpus, pairs) for name, pairs in loaded.items()})


def unusable(pairs: datasets.Dataset, languages: Sequence[str]) -> dict[str, list[int]]:
    """
    Find the pairs that say nothing.

    Args:
        pairs: A split.
        languages: Its columns of text.

    Returns:
        What is wrong to the numbers of such pairs, counted from 1.
    """
    faults: dict[str, list[int]] = {"an empty side": [], _UNDECODABLE_FAULT: []}
    for number, texts in enumerate(zip(*(pairs[language][:] for language in languages), strict=True), 1):
        if not all(text.strip() for text in texts):
            faults["an empty side"].append(number)
        elif any(_UNDECODABLE in text for text in texts):
            faults[_UNDECODABLE_FAULT].append(number)
    return {fault: numbers for fault, numbers in faults.items() if numbers}


def describe_faults(split: str, faults: Mapping[str, Sequence[int]], pairs: datasets.Dataset) -> str:
    """
    Say which pairs of a split have faults.

    Args:
        split: Its name.
        faults: What is wrong to the numbers of pairs, counted from 1.
        pairs: Those that are still there, with their places.

    Example:
        >>> pairs = datasets.Dataset.from_dict({PLACE: ["line 1", "line 2", "line 3", "line 9"]})
        >>> describe_faults("train", {"an empty side": [3, 4]}, pairs)
        'train: of 4 pairs 2 have an empty side (line 3, line 9)'
    """
    places = pairs[PLACE][:]
    kinds = [
        f"{len(numbers)} have {fault} ({_listed([places[number - 1] for number in numbers])})"
        for fault, numbers in faults.items()
    ]
    return f"{split}: of {len(places)} pairs {', '.join(kinds)}"


def without(pairs: datasets.Dataset, faults: Mapping[str, Sequence[int]]) -> datasets.Dataset:
    """The pairs that have no fault."""
    dropped = {number for numbers in faults.values() for number in numbers}
    return pairs.select([row for row in range(len(pairs)) if row + 1 not in dropped]) if dropped else pairs


def _listed(places: Sequence[str]) -> str:
    more = len(places) - _MOST_SHOWN
    return ", ".join(places[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _fingerprint(corpus: Corpus, pairs: datasets.Dataset) -> str:
    digest = hashlib.sha256()
    for batch in pairs.select_columns(list(corpus.languages)).iter(batch_size=1000):
        digest.update(json.dumps(batch, sort_keys=True).encode())
    return digest.hexdigest()[:16]


# The hub


def _from_hub(corpus: Corpus, splits: Sequence[str]) -> datasets.DatasetDict:
    first, second = corpus.languages
    remedy = f"pass --data_dir with a folder that holds train.{first} and train.{second}, and so on"
    if corpus.hub_id is None:
        raise DataError(f"corpus {corpus.name} is not on the hub; {remedy}")
    loaded = load_from_hub(
        corpus.hub_id,
        corpus.hub_config,
        splits,
        what=f"corpus {corpus.name}",
        remedy=remedy,
        revision=corpus.hub_revision,
    )
    loaded = loaded.flatten()
    columns = loaded[splits[0]].column_names
    loaded = loaded.rename_columns({column: column.removeprefix("translation.") for column in columns})
    missing = set(corpus.languages) - set(loaded[splits[0]].column_names)
    if missing:
        raise DataError(
            f"{corpus.hub_id} has no texts in {', '.join(sorted(missing))}; its columns are {', '.join(columns)}"
        )
    texts = loaded.select_columns(list(corpus.languages))
    options = {"batched": True, "with_indices": True, "desc": "Numbering pairs"}
    return datasets.DatasetDict(
        {split: cached_map(pairs, _numbered, key=_numbered, **options) for split, pairs in texts.items()}
    )


def _numbered(texts: Mapping[str, Sequence[str | None]], rows: Sequence[int]) -> dict[str, list[str]]:
    """The same with places, and with empty texts where there are none."""
    filled = {language: [text or "" for text in of_language] for language, of_language in texts.items()}
    return {PLACE: [f"row {row + 1}" for row in rows], **filled}


# Files


def _from_files(corpus: Corpus, data_dir: Path, splits: Sequence[str]) -> datasets.DatasetDict:
    if not data_dir.is_dir():
        raise DataError(f"there is no folder {data_dir}; name the one with the corpus by --data_dir")
    folder = data_dir / corpus.name if (data_dir / corpus.name).is_dir() else data_dir
    features = datasets.Features(dict.fromkeys((PLACE, *corpus.languages), datasets.Value("string")))
    found = {split: _find(corpus, folder, split) for split in splits}
    return datasets.DatasetDict(
        {split: cached(partial(_pairs, corpus.languages), features, split, paths) for split, paths in found.items()}
    )


def _find(corpus: Corpus, folder: Path, split: str) -> tuple[Path, ...]:
    """The file with both languages, or the two line-aligned ones."""
    names = corpus.split_files[split]
    whole = [(folder / (name + suffix),) for name in names for suffix in SUFFIXES]
    aligned = [
        tuple(folder / f"{name}.{language}{suffix}" for language in corpus.languages)
        for name in names
        for suffix in ("", ".gz")
    ]
    found = [paths for paths in (*aligned, *whole) if any(path.is_file() for path in paths)]
    if len(found) != 1:
        looked_for = ", ".join(" and ".join(path.name for path in paths) for paths in (*aligned, *whole))
        files = [path.name for paths in found for path in paths if path.is_file()]
        if files:
            raise DataError(f"{folder} has {' and '.join(files)} for split {split}; keep one of: {looked_for}")
        instead = "; --do_train --do_eval does without it" if split == "test" else ""
        raise DataError(f"{folder} has no data for split {split}; give one of: {looked_for}{instead}")
    for path in found[0]:
        if not path.is_file():
            raise DataError(f"{path} is missing; a split needs both languages, line by line")
    return found[0]


def _pairs(languages: Sequence[str], paths: Sequence[Path], state: Any) -> Iterator[dict[str, str]]:
    found = _aligned(languages, paths) if len(paths) == 2 else _rows(languages, paths[0])
    empty = True
    for pair in found:
        empty = False
        yield pair
    if empty:
        raise DataError(f"{' and '.join(map(str, paths))}: there are no pairs")


def _aligned(languages: Sequence[str], paths: Sequence[Path]) -> Iterator[dict[str, str]]:
    for number, lines in enumerate(zip_longest(*map(_lines, paths)), start=1):
        if None in lines:
            short, long = (paths[0], paths[1]) if lines[0] is None else (paths[1], paths[0])
            raise DataError(
                f"{short} ends after line {number - 1} and {long} does not: lines of one number are a pair, so one "
                "is missing somewhere above"
            )
        yield {PLACE: place_in_file(paths[0], number), **dict(zip(languages, lines, strict=True))}


def _lines(path: Path) -> Iterator[str]:
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                if number == 1 and line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                    raise DataError(f"{path} is UTF-16; convert it, for example with iconv -f UTF-16 -t UTF-8")
                text = line.decode(errors="replace").rstrip("\r\n")
                yield text.removeprefix(BYTE_ORDER_MARK) if number == 1 else text
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{place(path, number + 1)}: {error}; mend the file or fetch it again") from error


def _rows(languages: Iterable[str], path: Path) -> Iterator[dict[str, str]]:
    for number, row in rows(path):
        texts = row.get("translation", row)
        for language in languages:
            if not isinstance(texts, Mapping) or not isinstance(texts.get(language), str):
                raise DataError(
                    f"{place(path, number)}: no text for language {language}; a row has a column for each "
                    'language, or a column "translation" with both'
                )
        yield {PLACE: place_in_file(path, number), **{language: texts[language] for language in languages}}

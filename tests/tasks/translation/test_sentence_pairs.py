"""Sentence pairs from files of all kinds and from the hub; what is wrong with them is said with the line."""

import csv
import gzip
import hashlib
import json
import os

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from hf_vasso.tasks import hub
from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.translation.corpora import CORPORA, Corpus, get_corpus
from hf_vasso.tasks.translation.sentence_pairs import PLACE, describe_faults, load_pairs, unusable, without

CORPUS = Corpus("mine", ("de", "en"), {})
PAIRS = [("ein Hund", "a dog"), ("größer\u2028als", "larger than"), ("", "empty"), ("drei", "three")]
ROWS = [{"de": german, "en": english} for german, english in PAIRS]


def texts_of(pairs):
    return pairs.select_columns(["de", "en"]).to_list()


def aligned(folder, suffix=""):
    for column, language in enumerate(("de", "en")):
        text = "".join(pair[column] + "\n" for pair in PAIRS).encode()
        path = folder / f"train.{language}{suffix}"
        path.write_bytes(gzip.compress(text) if suffix else text)


def json_lines(folder, nested):
    rows = [{"translation": row} for row in ROWS] if nested else ROWS
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def parquet(folder):
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"translation": row} for row in ROWS]), folder / "train.parquet"
    )


def cells(folder):
    rows = [["de", "en"], *PAIRS]
    with (folder / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


LAYOUTS = {
    "aligned": aligned,
    "aligned.gz": lambda folder: aligned(folder, ".gz"),
    "jsonl": lambda folder: json_lines(folder, nested=False),
    "jsonl with a column": lambda folder: json_lines(folder, nested=True),
    "csv": cells,
    "parquet": parquet,
}


@pytest.mark.parametrize("in_own_folder", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_every_layout_gives_the_same_pairs(layout, in_own_folder, tmp_path):
    folder = tmp_path / "mine" if in_own_folder else tmp_path
    folder.mkdir(exist_ok=True)
    layout(folder)
    loaded = load_pairs(CORPUS, str(tmp_path), ["train"])
    assert texts_of(loaded.splits["train"]) == ROWS
    columns = {language: [row[language] for row in ROWS] for language in ("de", "en")}
    digest = hashlib.sha256(json.dumps(columns, sort_keys=True).encode()).hexdigest()
    assert (loaded.source, loaded.fingerprints) == ("local files", {"train": digest[:16]})


def test_names_of_splits(tmp_path):
    for name in ("valid", "test2016"):
        for language in ("de", "en"):
            (tmp_path / f"{name}.{language}").write_text(f"{name}\n")
    splits = load_pairs(get_corpus("multi30k.de-en"), str(tmp_path), ["validation", "test"]).splits
    assert {name: pairs["de"][:] for name, pairs in splits.items()} == {"validation": ["valid"], "test": ["test2016"]}


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "has no data for split train; give one of: train.de and train.en, train.de.gz"),
        ({"train.de": b"a\n"}, "train.en is missing; a split needs both languages"),
        ({"train.de": b"a\nb\n", "train.en": b"a\n"}, "train.en ends after line 1 and .*train.de does not"),
        ({"train.de": b"a\n", "train.en": b"a\nb\n"}, "train.de ends after line 1 and .*train.en does not"),
        ({"train.de": b"", "train.en": b""}, "there are no pairs"),
        ({"train.de.gz": b"", "train.en": b""}, "has train.en and train.de.gz for split train; keep one of"),
        ({"train.de": "ä\n".encode("utf-16"), "train.en": b"a\n"}, "train.de is UTF-16; convert it, for example with"),
        ({"train.de": b"a\n", "train.en": b"a\n", "train.jsonl": b"{}\n"}, "has .* for split train; keep one of"),
        ({"train.de.gz": gzip.compress(b"a\nb\n")[:-9], "train.en.gz": gzip.compress(b"a\nb\n")}, "train.de.gz, line"),
        ({"train.jsonl": b'{"de": "a", "en": "b"}\n{"de": "a"}\n'}, "train.jsonl, line 2: no text for language en"),
        ({"train.jsonl": b'{"translation": "a"}\n'}, "train.jsonl, line 1: no text for language de"),
        ({"train.jsonl": b'{"de": "a", "en": "b", "de": "c"}\n'}, "train.jsonl, line 1: the key 'de' stands"),
        ({"train.jsonl": b'{"translation": {"de": "a", "en": "\\ud83d"}}\n'}, "train.jsonl, line 1: half a surrogate"),
        ({"train.jsonl": b'{"de": "a", "en": ' + b"[" * 99_999}, "train.jsonl, line 1: objects and lists stand"),
        ({"train.csv": b"de,en,de\na,b,c\n"}, "train.csv, line 1: the column 'de' stands there twice"),
    ],
)  # fmt: skip
def test_broken_files(files, words, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        load_pairs(CORPUS, str(tmp_path), ["train"])


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_a_file_that_changes_with_equal_size_and_time_is_read_again(suffix, tmp_path):
    for text in (b"eins\n", b"zwei\n"):
        for language in ("de", "en"):
            path = tmp_path / f"train.{language}{suffix}"
            path.write_bytes(gzip.compress(text, mtime=0) if suffix else text)
            os.utime(path, ns=(0, 0))
        pairs = load_pairs(CORPUS, str(tmp_path), ["train"]).splits["train"]
        assert texts_of(pairs) == [dict.fromkeys(("de", "en"), text.decode().strip())]


def test_faults_have_their_lines(tmp_path):
    (tmp_path / "train.de").write_bytes(b"\xef\xbb\xbfeins\n \nstra\xdfe\nvier\r\n")
    (tmp_path / "train.en").write_bytes(b"one\ntwo\nstreet\nfour\n")
    pairs = load_pairs(CORPUS, str(tmp_path), ["train"]).splits["train"]
    faults = unusable(pairs, ["de", "en"])
    lost = "bytes that are not UTF-8, or characters that were lost before (U+FFFD)"
    assert faults == {"an empty side": [2], lost: [3]}
    assert describe_faults("train", faults, pairs) == (
        f"train: of 4 pairs 1 have an empty side (line 2), 1 have {lost} (line 3)"
    )
    assert texts_of(without(pairs, faults)) == [{"de": "eins", "en": "one"}, {"de": "vier", "en": "four"}]


@pytest.mark.parametrize(
    ("layout", "places"),
    [
        (aligned, ["line 1", "line 2", "line 3", "line 4"]),
        (lambda folder: json_lines(folder, nested=True), ["line 1", "line 2", "line 3", "line 4"]),
        (cells, ["line 2", "line 3", "line 4", "line 5"]),  # below the header
        (parquet, ["row 1", "row 2", "row 3", "row 4"]),
    ],
    ids=["aligned", "jsonl", "csv", "parquet"],
)
def test_places_are_those_of_the_file(layout, places, tmp_path):
    layout(tmp_path)
    pairs = load_pairs(CORPUS, str(tmp_path), ["train"]).splits["train"]
    assert pairs[PLACE][:] == places
    described = describe_faults("train", unusable(pairs, ["de", "en"]), pairs)
    assert described == f"train: of 4 pairs 1 have an empty side ({places[2]})"


def test_a_quoted_text_may_have_lines(tmp_path):
    (tmp_path / "train.csv").write_text('de,en\n"eins\nzwei","one\ntwo"\n,three\n')
    pairs = load_pairs(CORPUS, str(tmp_path), ["train"]).splits["train"]
    assert pairs[PLACE][:] == ["line 4", "line 5"]


def test_a_pair_is_counted_with_one_fault():
    pairs = datasets.Dataset.from_list([{"de": "", "en": "\ufffd"}])
    assert unusable(pairs, ["de", "en"]) == {"an empty side": [1]}


def test_many_lines_are_counted():
    pairs = datasets.Dataset.from_dict({PLACE: [f"line {number}" for number in range(1, 10)]})
    assert describe_faults("train", {"an empty side": list(range(1, 9))}, pairs).endswith(
        "(line 1, line 2, line 3, line 4, line 5 and 3 more)"
    )


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("revision", [None, "refs/convert/parquet"])
def test_from_the_hub(revision, nested, tmp_path, monkeypatch):
    """The folder stands for the hub: the data set as its owner has laid it out, or as the hub has converted it."""
    monkeypatch.setattr(hub, "snapshot_download", lambda hub_id, **_: hub_id)
    for config in ("de-en", "fr-en") if revision else ("",):
        for split in ("train", "validation"):
            row = {language: f"{split} {language}" for language in ("de", "en")}
            file = tmp_path / "hub" / config / (f"{split}/0000.parquet" if revision else f"{split}.parquet")
            file.parent.mkdir(parents=True, exist_ok=True)
            rows = [{"id": "1", **({"translation": row} if nested else row)}]
            pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), file)
    place = {"hub_id": str(tmp_path / "hub"), "hub_config": "de-en" if revision else None, "hub_revision": revision}
    loaded = load_pairs(Corpus("mine", ("de", "en"), {}, **place), None, ["train", "validation"])
    found = {split: texts_of(pairs) for split, pairs in loaded.splits.items()}
    assert found == {split: [{"de": f"{split} de", "en": f"{split} en"}] for split in ("train", "validation")}
    with pytest.raises(DataError, match="no texts in fr; its columns are "):
        load_pairs(Corpus("other", ("de", "fr"), {}, **place), None, ["train"])


@pytest.mark.parametrize("nested", [False, True])
def test_null_texts_of_the_hub_are_empty(nested, tmp_path):
    rows = [{"de": "a", "en": "b"}, {"de": None, "en": "b"}, {"de": "a", "en": None}]
    (tmp_path / "hub").mkdir()
    table = pyarrow.Table.from_pylist([{"translation": row} for row in rows] if nested else rows)
    pyarrow.parquet.write_table(table, tmp_path / "hub" / "train.parquet")
    pairs = load_pairs(Corpus("mine", ("de", "en"), {}, str(tmp_path / "hub")), None, ["train"]).splits["train"]
    assert pairs.to_dict() == {PLACE: ["row 1", "row 2", "row 3"], "de": ["a", "", "a"], "en": ["b", "b", ""]}
    assert unusable(pairs, ["de", "en"]) == {"an empty side": [2, 3]}


def test_without_a_test_part(tmp_path):
    with pytest.raises(DataError, match="has no data for split test; give one of: test.de .*; --do_train --do_eval d"):
        load_pairs(CORPUS, str(tmp_path), ["test"])


def test_without_the_folder(tmp_path):
    with pytest.raises(DataError, match="there is no folder .*missing; name the one with the corpus by --data_dir"):
        load_pairs(CORPUS, str(tmp_path / "missing"), ["train"])


def test_without_a_hub():
    with pytest.raises(DataError, match="corpus multi30k.de-en has no data: .* or pass --data_dir with .* train.de"):
        load_pairs(get_corpus("multi30k.de-en"), None, ["train"])
    with pytest.raises(DataError, match="^corpus mine is not on the hub; pass --data_dir"):
        load_pairs(CORPUS, None, ["train"])


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["multi30k.de-en", "iwslt14.de-en"])
def test_real_corpora_have_the_official_sizes(real_data, name):
    corpus = CORPORA[name]
    splits = [split for split in corpus.split_sizes if split != "train" or name != "iwslt14.de-en"]  # it has none here
    loaded = load_pairs(corpus, str(real_data / "translation"), splits)
    assert {split: len(loaded.splits[split]) for split in splits} == {
        name: corpus.split_sizes[name] for name in splits
    }
    assert {split: unusable(loaded.splits[split], corpus.languages) for split in splits} == dict.fromkeys(splits, {})


def test_an_unknown_corpus():
    with pytest.raises(ValueError, match="unknown corpus 'multi30k', did you mean 'multi30k.de-en'"):
        get_corpus("multi30k")

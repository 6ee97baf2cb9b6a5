"""Tasks from files of every format and from the hub, and the words of every error."""

import csv
import gzip
import json
import os
import socket
import time

import datasets
import huggingface_hub
import pyarrow
import pyarrow.parquet
import pytest

from hf_vasso.tasks import hub
from hf_vasso.tasks.errors import DataError
from hf_vasso.tasks.glue.data import joint_fingerprint, load_task, task_features
from hf_vasso.tasks.glue.table import HUB_ID, get_task

RTE = get_task("rte")
STSB = get_task("stsb")
ROWS = [
    {"sentence1": "A man sleeps.", "sentence2": "A man is awake.", "label": 1, "idx": 7},
    {"sentence1": 'He said "no",\nthen left.', "sentence2": "Er ging – früh.", "label": 0, "idx": 8},
]

HIDDEN = [{**row, "label": -1, "idx": idx} for idx, row in enumerate(ROWS)]  # a test split

# Pinned, because result files of different versions are compared by it.
FINGERPRINT = "08484ca9222ff789"


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_jsonl_gz(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode()))


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_parquet(path, rows):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)


WRITERS = {"jsonl": write_jsonl, "jsonl.gz": write_jsonl_gz, "csv": write_csv, "parquet": write_parquet}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rte").mkdir()
    return tmp_path / "rte"


def load(folder, task=RTE, split="train"):
    return load_task(task, str(folder.parent), [split])


def error(folder, task=RTE, split="train"):
    with pytest.raises(DataError) as caught:
        load(folder, task, split)
    return str(caught.value)


# What is read


@pytest.mark.parametrize("suffix", WRITERS)
def test_every_format_gives_the_same_examples(folder, suffix):
    WRITERS[suffix](folder / f"train.{suffix}", ROWS)
    loaded = load(folder)
    assert loaded.splits["train"].to_list() == ROWS
    assert loaded.splits["train"].features == task_features(RTE)
    assert loaded.splits["train"].features["label"].names == ["entailment", "not_entailment"]
    assert loaded.source == "local files"
    assert loaded.fingerprints == {"train": FINGERPRINT}


@pytest.mark.parametrize("suffix", WRITERS)
def test_label_names_missing_idx_and_other_columns(folder, suffix):
    rows = [{**row, "label": RTE.label_names[row["label"]], "source": "RTE3"} for row in ROWS]
    WRITERS[suffix](folder / f"train.{suffix}", [{k: v for k, v in row.items() if k != "idx"} for row in rows])
    loaded = load(folder)
    assert loaded.splits["train"].to_list() == [{**row, "idx": number} for number, row in enumerate(ROWS)]
    assert loaded.fingerprints == {"train": FINGERPRINT}


def test_fingerprint_follows_texts_and_labels(folder):
    found = set()
    for change in ({}, {"label": 0}, {"sentence1": "another"}):
        write_jsonl(folder / "train.jsonl", [{**ROWS[0], **change}, ROWS[1]])
        found.add(load(folder).fingerprints["train"])
    assert len(found) == 3


def test_joint_fingerprint_follows_what_is_trained_and_judged_on():
    both = {"train": "a", "validation": "b"}
    found = [joint_fingerprint(RTE, fingerprints) for fingerprints in (both, {"train": "b", "validation": "a"})]
    assert found[0] != found[1]
    assert joint_fingerprint(RTE, {"validation": "b", "train": "a", "test": "c"}) == found[0]
    assert joint_fingerprint(RTE, {"test": "c"}) != joint_fingerprint(RTE, {"test": "d"})


def test_csv_from_a_spreadsheet(folder):
    (folder / "train.csv").write_bytes("\ufeffsentence1,sentence2,label\r\na,b,1\r\n".encode())
    assert load(folder).splits["train"].to_list() == [{"sentence1": "a", "sentence2": "b", "label": 1, "idx": 0}]


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_long_texts(folder, suffix):
    """Python's csv reads fields of at most 131,072 characters, unless the whole process is told otherwise."""
    limit = csv.field_size_limit()
    text = "long \n" * 50_000
    WRITERS[suffix](folder / f"train.{suffix}", [ROWS[0], {**ROWS[1], "sentence1": text}])
    assert load(folder).splits["train"]["sentence1"][:] == [ROWS[0]["sentence1"], text]
    assert csv.field_size_limit() == limit


def test_lines_after_long_and_empty_ones_keep_their_numbers(folder):
    text = "long \n" * 50_000
    (folder / "train.csv").write_text(f'sentence1,sentence2,label\na,"{text}",1\n\na,b,maybe\n')
    assert error(folder).startswith(f"{folder}/train.csv, line 50004: unknown label 'maybe'")
    (folder / "train.csv").write_text("sentence1,sentence2,label\na,b\n")
    assert error(folder).startswith(f"{folder}/train.csv, line 2: the row has more or fewer cells")
    (folder / "train.csv").write_text(f'sentence1,sentence2,label\na,"{text}",1\n\na,b\n')
    assert error(folder).startswith(f"{folder}/train.csv, line 50004: the row has more or fewer cells")


UNLABELLED = [{**row, "label": None} for row in HIDDEN], [{"sentence1": "a", "sentence2": "b"}] * 2


@pytest.mark.parametrize("suffix", WRITERS)
@pytest.mark.parametrize("rows", UNLABELLED, ids=["null", "no column"])
def test_a_test_split_needs_no_labels(folder, tmp_path, suffix, rows):
    WRITERS[suffix](folder / f"test.{suffix}", rows)
    WRITERS[suffix](folder / f"train.{suffix}", rows)
    found = load(folder, split="test")
    assert found.splits["test"]["label"][:] == [-1, -1]
    assert "label" in error(folder)  # of the training part
    (folder / f"test.{suffix}").unlink()
    write_jsonl(folder / "test.jsonl", [{**row, "label": -1} for row in rows])
    assert load(folder, split="test").fingerprints == found.fingerprints
    (tmp_path / "stsb").mkdir()
    WRITERS[suffix](tmp_path / "stsb" / f"test.{suffix}", rows)
    assert load_task(get_task("stsb"), str(tmp_path), ["test"]).splits["test"]["label"][:] == [-1.0, -1.0]


def test_hidden_labels_stand_in_test_splits_only(folder):
    write_jsonl(folder / "test.jsonl", HIDDEN)
    write_jsonl(folder / "train.jsonl", HIDDEN)
    assert load(folder, split="test").splits["test"]["label"][:] == [-1, -1]
    assert "line 1: unknown label -1" in error(folder)


@pytest.mark.parametrize(("suffix", "label"), [("jsonl", 3.8), ("jsonl", 4), ("csv", "2.5")])
def test_regression_labels_are_numbers(tmp_path, suffix, label):
    (tmp_path / "stsb").mkdir()
    WRITERS[suffix](tmp_path / "stsb" / f"train.{suffix}", [{**ROWS[0], "label": label}])
    examples = load_task(STSB, str(tmp_path), ["train"]).splits["train"]
    assert examples["label"][0] == pytest.approx(float(label), abs=1e-6)
    assert examples.features["label"].dtype == "float32"


def test_all_splits_are_loaded_when_none_is_named(folder):
    for split in RTE.splits:
        write_jsonl(folder / f"{split}.jsonl", HIDDEN if split == "test" else ROWS)
    assert set(load_task(RTE, str(folder.parent)).splits) == {"train", "validation", "test"}


# What is refused


@pytest.mark.parametrize(
    "idx", ["2147483648", "-99999999999999999999", "1" * 5000, "7.5", "true", '"1_0"', "1e400", '""']
)
def test_idx_is_a_whole_number_that_fits(folder, idx):
    (folder / "train.jsonl").write_text(f'{{"sentence1": "a", "sentence2": "b", "label": 1, "idx": {idx}}}\n')
    message = error(folder)
    assert message.startswith(f"{folder}/train.jsonl, line 1: ")
    assert "column 'idx' must hold integers" in message or "Exceeds the limit (4300 digits)" in message
    assert len(message) < 400


@pytest.mark.parametrize(
    "label", ["1e39", "1" + "0" * 400, '"1e39"', "5.01", "-1", "-0.1", "true", '"1_0"', "1e400", "[[1]]"]
)
def test_a_similarity_is_from_0_to_5(tmp_path, label):
    (tmp_path / "stsb").mkdir()
    path = tmp_path / "stsb" / "train.jsonl"
    path.write_text(f'{json.dumps(ROWS[0])}\n{{"sentence1": "a", "sentence2": "b", "label": {label}}}\n')
    message = error(tmp_path / "stsb", task=STSB)
    assert message.startswith(f"{path}, line 2: the label of task stsb must be ")
    assert len(message) < 400


def test_a_column_that_stands_there_twice(folder):
    (folder / "train.csv").write_text("sentence1,sentence2,label,sentence2\na,b,1,c\n")
    assert error(folder) == (
        f"{folder}/train.csv, line 1: the column 'sentence2' stands there twice; only one can be meant; mend the file "
        "or fetch it again"
    )
    table = pyarrow.table([["a"], ["b"], ["c"], [1]], names=["sentence1", "sentence2", "sentence2", "label"])
    (folder / "train.csv").unlink()
    pyarrow.parquet.write_table(table, folder / "train.parquet")
    assert "train.parquet, row 1: the column 'sentence2' stands there twice" in error(folder)


@pytest.mark.parametrize("key", ["label", "\\u006cabel"])
def test_a_json_key_that_stands_there_twice(folder, key):
    text = f'{json.dumps(ROWS[0])}\n{{"sentence1": "a", "sentence2": "b", "label": 1, "{key}": 0}}\n'
    (folder / "train.jsonl").write_text(text)
    assert "train.jsonl, line 2: the key 'label' stands there twice" in error(folder)


@pytest.mark.parametrize(
    "more", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, '{"a": ' * 90_000 + "1" + "}" * 90_000]
)
def test_json_that_is_too_deep(folder, more):
    (folder / "train.jsonl").write_text(f'{json.dumps(ROWS[0])}\n{{"more": {more}}}\n')
    assert "train.jsonl, line 2: objects and lists stand in each other too deep" in error(folder)


@pytest.mark.parametrize("text", [rb"\ud800", rb"\udfff\ud800", b"\xed\xa0\x80"])
def test_half_a_surrogate_pair(folder, text):
    row = b'{"sentence1": "a%s", "sentence2": "b", "label": 1}\n'
    (folder / "train.jsonl").write_bytes(row % b"" + row % text)
    message = error(folder)
    assert message.startswith(f"{folder}/train.jsonl, line 2: ")
    assert "half a surrogate pair" in message or "codec can't decode" in message


def test_a_byte_order_mark_is_one_only_before_the_first_line(folder):
    mark = "\ufeff"
    (folder / "train.csv").write_text(f"{mark}sentence1,sentence2,label\n{mark}a,b\x00,1\n")
    assert load(folder).splits["train"].to_list() == [
        {"sentence1": f"{mark}a", "sentence2": "b\x00", "label": 1, "idx": 0}
    ]


@pytest.mark.parametrize("suffix", WRITERS)
def test_missing_column(folder, suffix):
    WRITERS[suffix](folder / f"train.{suffix}", [{"sentence1": "a", "text": "b", "label": 1}])
    place = {"csv": "line 2", "parquet": "row 1"}.get(suffix, "line 1")
    assert error(folder) == (
        f"{folder}/train.{suffix}, {place}: column 'sentence2' of task rte is missing; "
        "the row has sentence1, text, label"
    )


@pytest.mark.parametrize("label", [2, -1, "maybe", "2", 1.0, True, None, [1]])
def test_unknown_label(folder, label):
    write_jsonl(folder / "train.jsonl", [ROWS[0], {**ROWS[1], "label": label}])
    assert error(folder) == (
        f"{folder}/train.jsonl, line 2: unknown label {label!r}; give 0 (entailment), 1 (not_entailment), "
        "as number or name, and -1 (hidden) only in a test split"
    )


@pytest.mark.parametrize("label", [float("nan"), float("inf"), "high", None])
def test_label_that_is_no_number(tmp_path, label):
    (tmp_path / "stsb").mkdir()
    write_jsonl(tmp_path / "stsb" / "train.jsonl", [{**ROWS[0], "label": label}])
    message = error(tmp_path / "stsb", task=STSB)
    assert message.endswith(f"train.jsonl, line 1: the label of task stsb must be a finite number, got {label!r}")


def test_text_and_idx_of_the_wrong_type(folder):
    write_jsonl(folder / "train.jsonl", [{**ROWS[0], "sentence2": None}])
    assert error(folder).endswith("line 1: column 'sentence2' must hold text, got None")
    write_jsonl(folder / "train.jsonl", [{**ROWS[0], "idx": "first"}])
    assert "line 1: column 'idx' must hold integers, got 'first'; leave it out" in error(folder)


@pytest.mark.parametrize("suffix", WRITERS)
def test_examples_of_a_test_split_stand_in_the_order_of_idx(folder, suffix):
    """Predictions are numbered in the order of the file, and the leaderboard reads the numbers as idx."""
    WRITERS[suffix](folder / f"test.{suffix}", [{**row, "idx": idx} for row, idx in zip(HIDDEN, (0, 2), strict=True)])
    place = {"csv": "line 4", "parquet": "row 2"}.get(suffix, "line 2")  # a text of it has two lines
    assert error(folder, split="test") == (
        f"{folder}/test.{suffix}, {place}: idx must be 1 here, as predictions are numbered in the order of a test "
        "split, got 2; sort the file by idx, beginning with 0, and leave nothing out"
    )


def test_ax_is_numbered_too(tmp_path):
    (tmp_path / "ax").mkdir()
    row = {"premise": "a", "hypothesis": "b", "label": -1}
    write_jsonl(tmp_path / "ax" / "test.jsonl", [{**row, "idx": idx} for idx in (2, 0, 1)])
    message = error(tmp_path / "ax", task=get_task("ax"), split="test")
    assert "test.jsonl, line 1: idx must be 0 here" in message
    write_jsonl(tmp_path / "ax" / "test.jsonl", [row] * 3)
    assert load(tmp_path / "ax", get_task("ax"), "test").splits["test"]["idx"][:] == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "csv"])
def test_empty_file(folder, suffix):
    (folder / f"train.{suffix}").touch()
    assert error(folder) == f"{folder}/train.{suffix} is empty; it must hold the train examples of task rte"


def test_csv_with_only_a_header(folder):
    (folder / "train.csv").write_text("sentence1,sentence2,label\n")
    assert error(folder).startswith(f"{folder}/train.csv is empty")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"sentence1": "a" "b"}', "broken JSON at column 19 (Expecting ',' delimiter)"),
        ("", "broken JSON at column 1 (Expecting value)"),
        ('["a", "b", 1]', "each line must be a JSON object, got ['a', 'b', 1]"),
    ],
)
def test_broken_json(folder, line, words):
    (folder / "train.jsonl").write_text(f"{json.dumps(ROWS[0])}\n{line}\n{json.dumps(ROWS[1])}\n")
    assert error(folder) == f"{folder}/train.jsonl, line 2: {words}; mend the file or fetch it again"


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_bytes_that_are_not_utf8(folder, suffix):
    WRITERS[suffix](folder / f"train.{suffix}", [{**ROWS[0], "sentence1": f"text {i}"} for i in range(5)])
    path = folder / f"train.{suffix}"
    path.write_bytes(path.read_bytes().replace(b"text 2", b"text \xff"))
    line = 4 if suffix == "csv" else 3
    assert f"train.{suffix}, line {line}: 'utf-8' codec can't decode byte 0xff" in error(folder)


def test_truncated_gzip(folder):
    rows = [{**ROWS[0], "sentence1": f"{number**9}"} for number in range(5000)]
    write_jsonl_gz(folder / "train.jsonl.gz", rows)
    whole = (folder / "train.jsonl.gz").read_bytes()
    (folder / "train.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    message = error(folder)
    place, fact = message.split(": ", 1)
    assert 1 < int(place.removeprefix(f"{folder}/train.jsonl.gz, line ")) < 5000
    assert fact == "Compressed file ended before the end-of-stream marker was reached; mend the file or fetch it again"


def test_file_that_is_not_gzip_and_file_that_is_not_parquet(folder):
    write_jsonl(folder / "train.jsonl.gz", ROWS)
    assert "train.jsonl.gz, line 1: Not a gzipped file" in error(folder)
    (folder / "train.jsonl.gz").rename(folder / "train.parquet")
    assert "train.parquet, row 1: Parquet magic bytes not found" in error(folder)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a, b,c,1", "the row has more or fewer cells than the header; quote texts that hold commas"),
        ("a,1", "the row has more or fewer cells than the header; quote texts that hold commas"),
        ('"a,b,1', "unexpected end of data"),
    ],
)
def test_broken_csv(folder, line, words):
    (folder / "train.csv").write_text(f"sentence1,sentence2,label\na,b,1\n{line}\n")
    assert error(folder).startswith(f"{folder}/train.csv, line 3: {words}")


def test_two_files_for_one_split(folder):
    write_jsonl(folder / "train.jsonl", ROWS)
    write_csv(folder / "train.csv", ROWS)
    assert error(folder) == f"{folder} has train.jsonl, train.csv for one split; keep the one that is meant"


def test_missing_split(folder):
    write_jsonl(folder / "dev.jsonl", ROWS)
    assert error(folder, split="validation") == (
        f"{folder} has no data for split validation: looked for validation.jsonl, validation.jsonl.gz, "
        "validation.csv, validation.parquet, found only dev.jsonl; "
        "name the file after the split, or name another --data_dir"
    )


def test_missing_folder(tmp_path):
    assert "train.parquet, but the folder is missing or empty; name the file" in error(tmp_path / "rte")


def test_unknown_split(folder):
    message = error(folder, split="dev")
    assert message == "unknown split of task rte 'dev'. Known: train, validation, test"


# The hub


@pytest.fixture
def online(monkeypatch):
    """Undo HF_HUB_OFFLINE inside this process."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    return monkeypatch


REMEDIES = (
    r"task rte has no data: nyu-mll/glue cannot be loaded from the hub \({}\)\. Either make http\S+ reachable "
    r"\(HF_HUB_OFFLINE=1 uses only what was downloaded before\), or pass --data_dir with a folder that holds "
    r"rte/train, rte/validation, rte/test, each as one file \(.jsonl, .jsonl.gz, .csv, .parquet\)$"
)

NOT_CACHED = "from the cache: ConnectionError: Couldn't reach .*"


def test_offline_names_both_remedies_at_once():
    start = time.monotonic()
    with pytest.raises(DataError, match=REMEDIES.format(r"ConnectionError: Couldn't reach .*")):
        load_task(RTE)
    assert time.monotonic() - start < 2


def test_hub_that_refuses_is_asked_once(online):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    online.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{port}")
    start = time.monotonic()
    with pytest.raises(DataError, match=REMEDIES.format(f"Connect.*; {NOT_CACHED}")):
        load_task(RTE)
    assert time.monotonic() - start < 5


def test_silent_hub_is_not_awaited(online):
    online.setattr(hub, "_PATIENCE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        online.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        start = time.monotonic()
        with pytest.raises(
            DataError, match=REMEDIES.format(f"(no answer within 0.5 s|.*[Tt]imed? ?out.*); {NOT_CACHED}")
        ):
            load_task(RTE)
    assert time.monotonic() - start < 3


def test_patience_bounds_a_lookup_that_never_ends(online):
    online.setattr(hub, "_PATIENCE_SECONDS", 0.1)
    online.setattr(huggingface_hub.HfApi, "dataset_info", lambda *_, **__: time.sleep(2))
    with pytest.raises(DataError, match=REMEDIES.format(f"TimeoutError: no answer within 0.1 s; {NOT_CACHED}")):
        load_task(RTE)


@pytest.mark.parametrize("offline", [False, True])
def test_hub_data_keep_the_asked_splits(online, offline):
    online.setattr(datasets.config, "HF_HUB_OFFLINE", offline)
    asked = []
    online.setattr(huggingface_hub.HfApi, "dataset_info", lambda _, hub_id, timeout: asked.append((hub_id, timeout)))
    examples = datasets.Dataset.from_list(ROWS, features=task_features(RTE))
    whole = datasets.DatasetDict(dict.fromkeys(RTE.splits, examples))
    online.setattr(datasets, "load_dataset", lambda *names, **_: whole if names == (HUB_ID, "rte") else None)
    loaded = load_task(RTE, splits=["train"])
    assert asked == ([] if offline else [(HUB_ID, 5.0)])
    assert loaded.splits["train"].to_list() == ROWS
    assert (list(loaded.splits), loaded.source, loaded.fingerprints) == (["train"], HUB_ID, {"train": FINGERPRINT})


def test_task_that_is_not_on_the_hub():
    with pytest.raises(DataError, match="^task agreement is not on the hub; pass --data_dir with a folder that holds"):
        load_task(get_task("agreement"))


# Real files


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["cola", "sst2", "mrpc", "stsb", "rte", "wnli"])
def test_real_tasks_have_the_official_number_of_rows(real_data, name):
    task = get_task(name)
    loaded = load_task(task, str(real_data / "glue"))
    assert {split: len(examples) for split, examples in loaded.splits.items()} == task.split_sizes
    assert str(real_data) not in loaded.source


# --- the cache ---


def test_a_file_is_parsed_once_as_long_as_it_stays_the_same(tmp_path, monkeypatch):
    path = tmp_path / "rte" / "train.jsonl"
    path.parent.mkdir()
    path.write_text('{"sentence1": "a", "sentence2": "b", "label": 1}\n')
    assert load_task(RTE, str(tmp_path), ["train"]).splits["train"]["label"][:] == [1]
    with monkeypatch.context() as patch:
        patch.setattr("hf_vasso.tasks.glue.data._example", None)  # cannot parse any more
        assert load_task(RTE, str(tmp_path), ["train"]).splits["train"]["label"][:] == [1]
    path.write_text('{"sentence1": "a", "sentence2": "b", "label": 0}\n')
    os.utime(path, ns=(0, 0))
    assert load_task(RTE, str(tmp_path), ["train"]).splits["train"]["label"][:] == [0]


def test_a_file_that_changes_with_equal_size_and_time_is_parsed_again(tmp_path):
    path = tmp_path / "rte" / "train.jsonl"
    path.parent.mkdir()
    for label in (1, 0):
        path.write_text(f'{{"sentence1": "a", "sentence2": "b", "label": {label}}}\n')
        os.utime(path, ns=(0, 0))
        assert load_task(RTE, str(tmp_path), ["train"]).splits["train"]["label"][:] == [label]


def test_a_file_with_another_time_alone_is_not_parsed_again(tmp_path, monkeypatch):
    path = tmp_path / "rte" / "train.jsonl"
    path.parent.mkdir()
    path.write_text('{"sentence1": "a", "sentence2": "b", "label": 1}\n')
    load_task(RTE, str(tmp_path), ["train"])
    os.utime(path, ns=(0, 0))
    monkeypatch.setattr("hf_vasso.tasks.glue.data._example", None)
    assert load_task(RTE, str(tmp_path), ["train"]).splits["train"]["label"][:] == [1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(folder):
    write_jsonl(folder / "train.jsonl", ROWS)
    (folder / "train.jsonl").chmod(0)
    assert "train.jsonl cannot be read (Permission denied)" in error(folder)


def test_a_folder_of_the_name_of_a_file(folder):
    (folder / "train.csv").mkdir()
    assert "found only train.csv/; name the file after the split" in error(folder)

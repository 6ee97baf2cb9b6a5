"""What is found below a folder, and each way in which a file is left out."""

import json
import os
from dataclasses import replace

import pytest
from made_records import make_record, plan_of, write

from hf_vasso.results.collection import collect
from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.suite_plan import write_suite_plan


def reasons(collection) -> dict[str, str]:
    return {file.path: file.reason for file in collection.left_out}


def test_records_are_found_wherever_they_are(tmp_path):
    records = [make_record("none", 0), make_record("sam", 0), make_record("sam", 1)]
    for folder, record in zip(("sst2/bert/none/seed-0", "a", "."), records, strict=True):
        write(record, tmp_path, folder)
    collection = collect(tmp_path)
    assert sorted(collection.records, key=lambda run: (run.label, run.seed)) == records
    assert collection.left_out == collection.failures == collection.plans == collection.missing == []


def test_no_folder(tmp_path):
    with pytest.raises(ValueError, match="nowhere is no folder; name the folder that holds the runs"):
        collect(tmp_path / "nowhere")
    assert collect(tmp_path).records == []


def test_broken_files_are_named_by_their_relative_path(tmp_path):
    good = make_record("sam", 1)
    write(good, tmp_path, "good")
    texts = {
        "half": (tmp_path / "good/result.json").read_text()[:200],
        "foreign": '{"accuracy": 0.9}',
        "older": json.dumps({**json.loads((tmp_path / "good/result.json").read_text()), "schema": 1}),
        "large": " " * (8 * 2**20 + 1),
        "wrong": (tmp_path / "good/result.json")
        .read_text()
        .replace('"train_examples": 1000', '"train_examples": "x"'),
    }
    for folder, text in texts.items():
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "result.json").write_text(text)
    write(make_record("sam", 2, metrics={}), tmp_path, "not-evaluated")
    collection = collect(tmp_path)
    assert collection.records == [good]
    found = reasons(collection)
    assert list(found) == sorted(f"{folder}/result.json" for folder in (*texts, "not-evaluated"))
    for folder, words in {
        "half": "not a JSON file",
        "foreign": "this version reads schema 2, got None",
        "older": "this version reads schema 2, got 1",
        "large": "larger than 8 MiB",
        "wrong": "train_examples must be of type int, got 'x'",
        "not-evaluated": "the run was not evaluated; repeat its command with --do_eval",
    }.items():
        assert words in found[f"{folder}/result.json"]
    assert str(tmp_path) not in str(found)


def test_trials_and_checkpoints_are_no_records(tmp_path):
    write(make_record("sam", 1), tmp_path, ".select/sst2/bert/sam/1")
    (tmp_path / "trial.json").write_text("{}")
    (tmp_path / "checkpoint-10").mkdir()
    (tmp_path / "checkpoint-10" / "trainer_state.json").write_text("{}")
    (tmp_path / "result.json").mkdir()
    assert collect(tmp_path) == replace(collect(tmp_path / "checkpoint-10"), runs_dir=tmp_path)


def test_links_that_lead_out_are_named_and_not_followed(tmp_path):
    runs, elsewhere = tmp_path / "runs", tmp_path / "elsewhere"
    outside = write(make_record("sam", 1), elsewhere, "run")
    write(make_record("sam", 2), runs, "inside")
    (runs / "file").mkdir()
    (runs / "file" / "result.json").symlink_to(outside)
    (runs / "folder").symlink_to(elsewhere)
    (runs / "circle").symlink_to(runs)
    (runs / "broken").mkdir()
    (runs / "broken" / "result.json").symlink_to("result.json")
    collection = collect(runs)
    assert [record.seed for record in collection.records] == [2]
    found = reasons(collection)
    assert list(found) == ["broken/result.json", "file/result.json", "folder"]
    assert "cannot be read (Too many levels of symbolic links)" in found["broken/result.json"]
    assert all("leads out of the folder" in found[path] for path in ("file/result.json", "folder"))
    (tmp_path / "link").symlink_to(runs)  # the folder itself may be a link
    assert [record.seed for record in collect(tmp_path / "link").records] == [2]


def test_a_path_that_cannot_be_shown_is_spelled_out(tmp_path):
    folder = tmp_path / os.fsdecode(b"a\xff\nb")
    folder.mkdir()
    (folder / "result.json").write_text("{")
    assert list(reasons(collect(tmp_path))) == ["a\\udcff\\nb/result.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may search every folder")
def test_a_folder_that_may_not_be_searched(tmp_path):
    (tmp_path / "locked").mkdir(mode=0)
    with pytest.raises(ValueError, match=r"locked cannot be searched \(Permission denied\)"):
        collect(tmp_path)


def test_of_equal_records_the_first_is_used(tmp_path):
    record = make_record("sam", 1, metrics={"accuracy": float("nan")})
    for folder in ("b", "a", "c"):
        write(record, tmp_path, folder)
    collection = collect(tmp_path)
    assert len(collection.records) == 1
    reason = "the same run as a/result.json, which is used; delete one of them"
    assert reasons(collection) == dict.fromkeys(("b/result.json", "c/result.json"), reason)


def test_of_one_seed_with_two_results_none_is_used(tmp_path):
    write(make_record("sam", 1, 0.5), tmp_path, "a")
    write(make_record("sam", 1, 0.6), tmp_path, "b")
    write(make_record("sam", 2, 0.6), tmp_path, "c")
    collection = collect(tmp_path)
    assert [record.seed for record in collection.records] == [2]
    reason = "the run with seed 1 has different metrics in a/result.json, b/result.json; delete the wrong ones"
    assert reasons(collection) == dict.fromkeys(("a/result.json", "b/result.json"), reason)


def test_a_number_that_is_written_otherwise_is_the_same_number(tmp_path):
    for seed, epochs in enumerate(("3", "3.0", "3e0")):
        path = write(make_record("sam", seed), tmp_path, str(seed))
        path.write_text(path.read_text().replace('"num_train_epochs": 3.0', f'"num_train_epochs": {epochs}'))
    assert len(collect(tmp_path).records) == 3


def test_the_paths_of_many_copies_are_counted(tmp_path):
    for number in range(12):
        write(make_record("sam", 1, number / 100), tmp_path, f"{number:02}")
    found = reasons(collect(tmp_path))
    assert len(found) == 12
    assert (
        "in 00/result.json, 01/result.json, 02/result.json, 03/result.json, 04/result.json and 7 more"
        in found["11/result.json"]
    )


@pytest.mark.parametrize("accuracy", [77.5, 1e99, -3.0])
def test_what_cannot_be_an_accuracy_is_in_no_mean(tmp_path, accuracy):
    write(make_record("sam", 0), tmp_path, "a")
    write(make_record("sam", 1, accuracy), tmp_path, "b")
    path = write(make_record("sam", 2), tmp_path, "c")
    path.write_text(path.read_text().replace('"commit": ', '"commits": '))
    collection = collect(tmp_path)
    assert [record.seed for record in collection.records] == [0]
    found = reasons(collection)
    assert f"accuracy is from 0 to 1, got {accuracy}" in found["b/result.json"]
    assert 'environment must be an object of "device", "packages"' in found["c/result.json"]


def test_runs_with_other_flags_are_no_repetitions(tmp_path):
    record = make_record("sam", 0)
    write(record, tmp_path, "a")
    other = make_record("sam", 1)
    write(replace(other, arguments={**other.arguments, "learning_rate": 2e-3}), tmp_path, "b")
    write(make_record("none", 0), tmp_path, "c")
    collection = collect(tmp_path)
    assert [run.label for run in collection.records] == ["none"]
    assert list(reasons(collection)) == ["a/result.json", "b/result.json"]
    assert reasons(collection)["a/result.json"] == (
        "the runs of sst2, bert, sam contradict each other in learning_rate (0.001 and 0.002); give one sort a label "
        "of its own (--method_label) or delete it"
    )


def test_runs_with_other_numbers_of_the_method_are_no_repetitions(tmp_path):
    write(make_record("sam", 0), tmp_path, "a")
    method = {"name": "sam", "numbers": {"rho": 0.1}, "paper": None}
    write(make_record("sam", 1, method=method), tmp_path, "b")
    assert "in rho (0.05 and 0.1)" in reasons(collect(tmp_path))["b/result.json"]


def test_what_a_run_may_differ_in(tmp_path):
    record = make_record("sam", 0)
    arguments = {**record.arguments, "max_predict_samples": 5, "method_label": "sam", "seed": 1}
    environment = {**record.environment, "device": "NVIDIA H100"}
    write(record, tmp_path, "a")
    write(make_record("sam", 1, arguments=arguments, environment=environment), tmp_path, "b")
    assert len(collect(tmp_path).records) == 2


def test_a_flag_that_only_one_version_knows(tmp_path):
    record = make_record("sam", 0)
    write(record, tmp_path, "a")
    more = make_record("sam", 1, arguments={**record.arguments, "new_flag": 1})
    write(more, tmp_path, "b")
    assert "new_flag (1 and none)" in reasons(collect(tmp_path))["b/result.json"]


@pytest.mark.parametrize(
    ("value", "given", "contradicts"),
    [
        (0.7, [], True),
        (None, [], False),
        (False, [], False),
        ({}, [], False),
        (0.7, ["optim", "new_flag"], True),
        (0.7, ["optim"], False),  # its default
        (False, ["optim", "new_flag"], True),  # its default is true
    ],
)
def test_a_flag_that_an_earlier_version_does_not_know(tmp_path, value, given, contradicts):
    record = make_record("sam", 0)
    write(record, tmp_path, "a")
    later = {**record.environment, "commit": "1" * 40}
    for folder, seed in (("b", 1), ("c", 2)):
        arguments = {**record.arguments, "new_flag": value}
        write(make_record("sam", seed, arguments=arguments, given=given, environment=later), tmp_path, folder)
    collection = collect(tmp_path)
    assert len(collection.records) == (0 if contradicts else 3)
    told = [f"new_flag ({json.dumps(value)} and none)" in reason for reason in reasons(collection).values()]
    assert told == ([True] * 3 if contradicts else [])


def test_two_values_of_a_flag_contradict_each_other_though_a_third_version_knows_none(tmp_path):
    record = make_record("sam", 0)
    for seed, flags in enumerate(({}, {"new_flag": 1}, {"new_flag": 2})):
        environment = {**record.environment, "commit": str(seed) * 40}
        changes = {"arguments": {**record.arguments, **flags}, "given": ["optim"], "environment": environment}
        write(make_record("sam", seed, **changes), tmp_path, str(seed))
    assert "in new_flag (1 and 2)" in reasons(collect(tmp_path))["0/result.json"]


@pytest.mark.parametrize(
    "change",
    [
        {"train_examples": 500},
        {"eval_examples": 100},
        {"data": {"source": "local files", "fingerprint": "f" * 16}},
        {"metrics": {"accuracy": 0.5, "loss": 0.7}},
        {"task": "cola"},
        {"arguments": {**make_record("sam", 1).arguments, "label_noise": 0.3}},
        {"arguments": {**make_record("sam", 1).arguments, "holdout_samples": 872}},
        {"arguments": {**make_record("sam", 1).arguments, "max_train_samples_per_class": 500}},
        {"arguments": {**make_record("sam", 1).arguments, "model_fingerprint": "f" * 16}},
    ],
)
def test_other_data_and_models_are_neither_repetition_nor_contradiction(tmp_path, change):
    write(make_record("sam", 0), tmp_path, "a")
    write(make_record("sam", 0, **{"accuracy": 0.9} | change), tmp_path, "b")
    collection = collect(tmp_path)
    assert len(collection.records) == 2
    assert collection.left_out == []


def test_failed_and_missing_runs(tmp_path):
    runs = [("sst2", "sam", seed) for seed in range(5)]
    write_suite_plan(plan_of([["sam", "none"]], *runs), tmp_path / "suite")
    for seed in (0, 1):
        write(make_record("sam", seed), tmp_path, f"suite/sst2/bert/sam/seed-{seed}")
    failure = Failure("sst2", "bert", "sam", 2, "out of memory")
    write_failure(failure, tmp_path / "suite/sst2/bert/sam/seed-2")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "failure.json").write_text('{"schema": 1}')
    (tmp_path / "broken" / "suite.json").write_text('{"schema": 1, "name": "x", "runs": [{}]}')
    collection = collect(tmp_path)
    assert collection.failures == [failure]
    assert [(run.label, run.seed) for run in collection.missing] == [("sam", 3), ("sam", 4)]
    assert collection.plans == [plan_of([["sam", "none"]], *runs)]
    found = reasons(collection)
    assert "the key 'task_label' is missing" in found["broken/failure.json"]
    assert "the key 'contrasts' is missing" in found["broken/suite.json"]


@pytest.mark.parametrize("older", ["result.json", "failure.json"])
def test_a_failure_after_the_record_is_told_and_the_record_used(tmp_path, older):
    """Whatever times a copy or a checkout has given to the files: a run that is finished again has no failure."""
    path = write(make_record("sam", 0), tmp_path, "run")
    failure = Failure("sst2", "bert", "sam", 0, "the run began with other flags")
    write_failure(failure, path.parent)
    os.utime(path.parent / older, (0, 0))
    collection = collect(tmp_path)
    assert (len(collection.records), collection.failures, collection.missing) == (1, [failure], [])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"contrasts": [["sam"]]}, "contrasts must be pairs of method labels"),
        ({"runs": [{"seed": 0}]}, "runs must be objects of task_label, model, label, seed and folder"),
        ({"selection": {"sst2": {"sam": 3}}}, "selection must be task label to method label"),
        ({"selection": {"sst2": {"sam": {"chosen": {}, "notes": "x"}}}}, "selection must be task label"),
        ({"selection": {"sst2": {"sam": {"chosen": {}, "notes": ["a\nb"]}}}}, "selection must be task label"),
        ({"selection": {"sst2": {"sam": {"chosen": {}, "score": "x"}}}}, "selection must be task label"),
        ({"selection": {"sst2": {"sam": {"chosen": {}, "holdout_samples": 0}}}}, "selection must be task label"),
    ],
)
def test_a_wrong_plan_is_left_out(tmp_path, change, words):
    write_suite_plan(plan_of([]), tmp_path)
    path = tmp_path / "suite.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    collection = collect(tmp_path)
    assert collection.plans == []
    assert words in reasons(collection)["suite.json"]

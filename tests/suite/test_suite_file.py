"""The file of a suite: what it may hold, and the words of every refusal."""

from pathlib import Path

import pytest

from hf_vasso.results.statistics import seeds_needed
from hf_vasso.suite.planning import grid_runs
from hf_vasso.suite.suite_file import read_suite_file

ROOT = Path(__file__).resolve().parents[2]


def test_names_alone_are_labels(write_suite):
    suite = read_suite_file(write_suite(tasks=["agreement", "rte"], methods=["none", "sam"]))
    assert suite.tasks == {"agreement": {"task_name": "agreement"}, "rte": {"task_name": "rte"}}
    assert suite.methods == {"none": {"method": "none"}, "sam": {"method": "sam"}}
    assert (suite.seeds, suite.select, suite.contrasts, suite.threads_per_run) == ([0, 1], None, [["sam", "none"]], 1)


def test_labels_of_ones_own(write_suite):
    suite = read_suite_file(
        write_suite(
            tasks={"noisy": {"task_name": "agreement", "label_noise": 0.3}},
            methods={"vasso-02": {"method": "vasso", "theta": 0.2}, "none": {}},
            contrasts=[["vasso-02", "none"]],
        )
    )
    assert suite.tasks == {"noisy": {"task_name": "agreement", "label_noise": 0.3}}
    assert suite.methods["vasso-02"] == {"method": "vasso", "theta": 0.2}
    assert suite.contrasts == [["vasso-02", "none"]]


def test_variables_in_the_output_folder(write_suite, monkeypatch):
    monkeypatch.setenv("SOME_FOLDER", "/somewhere")
    assert read_suite_file(write_suite(output_dir="${SOME_FOLDER}/runs")).output_dir == Path("/somewhere/runs")


def test_forms_of_a_selection(write_suite):
    grid = {"learning_rate": ["1e-3", 0.003], "rho": [0.1]}
    short, stages, full = (
        read_suite_file(write_suite(select=select)).select
        for select in (
            grid,
            [{"learning_rate": ["1e-3", 0.003]}, {"rho": [0.1]}],
            {"stages": [grid], "seeds": [7, 8], "holdout_samples": 50},
        )
    )
    assert short and stages and full
    assert short.stages == [{"learning_rate": [0.001, 0.003], "rho": [0.1]}]
    assert (short.seeds, short.holdout_samples) == ([1000], 1000)
    assert stages.stages == [{"learning_rate": [0.001, 0.003]}, {"rho": [0.1]}]
    assert (full.stages, full.seeds, full.holdout_samples) == (short.stages, [7, 8], 50)


def test_the_shipped_suite():
    suite = read_suite_file(ROOT / "glue_scripts" / "suites" / "glue-small.yaml")
    assert suite.name == "glue-small"
    assert suite.select and len(suite.select.stages) == 2
    assert len(suite.seeds) >= seeds_needed(len(suite.contrasts) * len(suite.tasks))


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"metods": {}}, "unknown key 'metods', did you mean 'methods'"),
        ({"seeds": None}, "the key seeds is missing or empty; a suite needs name, output_dir, tasks, methods, seeds"),
        ({"name": 3}, "name must be a printable name"),
        ({"seeds": [0, 0]}, "seeds: 0 stands twice"),
        ({"seeds": [0, True]}, "seeds must be a list of whole numbers, at least 0"),
        ({"tasks": "agreement"}, "tasks must be a list of names or map labels to flags, got 'agreement'"),
        ({"methods": ["none", {"sam": {}}]}, "methods must be a list of names or map labels to flags"),
        ({"seeds": [1000], "select": {"rho": [0.1]}}, "select: seeds: 1000 is one of the suite's own seeds"),
        ({"tasks": ["agrement"]}, "unknown task_name 'agrement', did you mean 'agreement'"),
        (
            {"methods": {"sam-2": {"rho": 1}}},
            "unknown method 'sam-2', did you mean 'sam'.*; a label of one's own says",
        ),
        ({"methods": {"../up": {"method": "sam"}}}, "becomes the name of a folder.*got '../up'"),
        ({"methods": {".hidden": {"method": "sam"}}}, "does not begin with a dot or a hyphen, got '.hidden'"),
        ({"methods": {"a\\b": {"method": "sam"}}}, "becomes the name of a folder"),
        ({"methods": {1: {"method": "sam"}}}, "line 10: broken YAML, a key must be text, got '1'; put it in quotes"),
        ({"methods": {"sam": 0.1}}, "methods: sam must map flags to values, got 0.1"),
        ({"methods": {"sam": {"seed": 1}}}, "methods: sam: seed has no place here: seeds is a key of the suite"),
        ({"methods": {"sam": {"task_name": "rte"}}}, "task_name has no place here: it stands under tasks"),
        (
            {"defaults": {"config": "glue/rte-vasso"}},
            "defaults: config has no place here: a recipe's lines are copied",
        ),
        ({"defaults": {"method": "sam"}}, "defaults: method has no place here: it stands under methods"),
        ({"contrasts": [["sam", "vaso"]]}, "contrasts: unknown method label 'vaso'"),
        ({"contrasts": [["sam", "sam"]]}, "pairs of two different method labels"),
        ({"contrasts": ["sam"]}, "pairs of two different method labels"),
        ({"threads_per_run": 0}, "threads_per_run must be a whole number, at least 1 and at most 4096, got 0"),
        ({"select": {"rho": 0.1}}, "select must map flags to lists of values"),
        ({"select": {"rho": [0.1, "1e-1"]}}, "select: rho: 0.1 stands twice"),
        ({"select": [{"rho": [0.1]}, {"rho": [0.2]}]}, "select: flags of the stages: 'rho' stands twice"),
        ({"select": {"stages": [{"rho": [0.1]}], "sedes": [1]}}, "unknown key 'sedes', did you mean 'seeds'"),
        ({"select": {"seed": [1]}}, "select: seed has no place here"),
        (
            {"select": {"rho": [0.1, float("inf")]}},
            "select: rho: a number to try must be finite and measurable, got inf",
        ),
        ({"select": {"run_name": ["two\nlines"]}}, r"select: run_name: a text to try must be .*got 'two\\nlines'"),
        ({"methods": {"a" * 201: {"method": "sam"}}}, "printable name of 1 to 200 characters and at most 255 bytes"),
        ({"methods": {"é" * 128: {"method": "sam"}}}, "at most 255 bytes, without / and"),
        ({"methods": {"-h": {"method": "sam"}}}, "does not begin with a dot or a hyphen, got '-h'"),
        ({"methods": {"sam": {"method": ["sam"]}}}, r"unknown method \"\['sam'\]\""),
        ({"contrasts": [[["sam"], "none"]]}, r"contrasts: unknown method label \"\['sam'\]\""),
        ({"seeds": [2**32]}, "seeds must be a list of whole numbers, at least 0 and at most 4294967295"),
        ({"defaults": {"label-noise": 0.1, "label_noise": 0.2}}, "defaults: 'label_noise' stands twice"),
        ({"defaults": {"fp16=true": []}}, "defaults: 'fp16=true' is not the name of a flag"),
        ({"seeds": list(range(5001))}, "10002 runs are asked for, and a suite has at most 10000; take fewer tasks"),
        (
            {"select": {f"flag{n}": [1, 2] for n in range(13)}},
            "16384 trials are asked for, and a suite has at most 10000; take fewer values under select",
        ),
    ],
)
def test_refusals_name_the_file_and_the_fact(write_suite, keys, words):
    path = write_suite(**keys)
    with pytest.raises(ValueError, match=words) as caught:
        read_suite_file(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"load_best_model_at_end": True}, "load_best_model_at_end has no place here: a best checkpoint"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "lr_scheduler_type reduce_lr_on_plateau follows the split"),
    ],
)
def test_nothing_follows_the_split_that_is_reported(write_suite, flags, words):
    flags |= {"eval_strategy": "epoch", "save_strategy": "epoch"}
    with pytest.raises(ValueError, match=f"task agreement with method none and the defaults: {words}"):
        grid_runs(read_suite_file(write_suite(defaults=flags)), {})
    corpus = {"tasks": ["multi30k.de-en"], "defaults": {**flags, "config_name": "tiny", "data_dir": None}}
    corpus["defaults"] |= {"max_steps": 5, "max_seq_length": None}
    runs = grid_runs(read_suite_file(write_suite(**corpus)), {})  # the test part is reported
    assert [run.steps for run in runs] == [5] * 4


def test_a_key_that_stands_twice(write_suite):
    path = write_suite()
    path.write_text(path.read_text() + "methods:\n  vasso: {}\n")
    with pytest.raises(ValueError, match="broken YAML.*the key 'methods' stands twice"):
        read_suite_file(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: a\n\tseeds: [0]\n", "line 2: broken YAML, .*; indent with spaces, not with tabs"),
        ("name: a\nseeds [0]\nmethods: sam\n", "line 3: broken YAML, .*expected ':'"),
        ("name: a: b\n", "line 1: broken YAML, mapping values are not allowed here"),
    ],
)
def test_broken_yaml_is_named_by_its_line(tmp_path, text, words):
    path = tmp_path / "suite.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=words):
        read_suite_file(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"nope.yaml cannot be read \(No such file or directory\)"):
        read_suite_file(tmp_path / "nope.yaml")

"""Files of runs and suites, mutated: each is read as it stands or refused in one line, and no average is wrong."""

import gc
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_vasso.results.collection import collect
from hf_vasso.results.comparison import Comparison, compare
from hf_vasso.results.failure import Failure, read_failure, write_failure
from hf_vasso.results.reading import RecordError
from hf_vasso.results.record import read_record, write_record
from hf_vasso.results.report import rows as report_rows
from hf_vasso.results.report import write_report
from hf_vasso.results.report.provenance import data_rows, environment_rows, setting_rows, shared_flag_rows
from hf_vasso.results.suite_plan import read_suite_plan, write_suite_plan
from hf_vasso.suite.choice_file import read_choices, write_choices
from hf_vasso.suite.choosing import leading_scores
from hf_vasso.suite.trials import read_trial, trial_result, write_trial
from tests.results.made_records import make_record, plan_of

# Every example writes its own files over those of the one before.
in_one_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

NUMBERS = st.one_of(
    st.floats(),
    st.sampled_from([-0.0, 1.0, 77.5, -3, 1e99, 1e308, 10**30, 10**400, 2**63, True, math.nan, math.inf]),
    st.integers(),
)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.text(max_size=6)
    | st.sampled_from(["accuracy", "\ud800", "a\x00b", "x" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KINDS = ("replace", "replace", "drop", "rename", "insert", "deepen", "twice", "flip", "cut")


def places(content: Any) -> list[tuple[Any, Any]]:
    """Each container with each of its keys or positions."""
    found = []
    keys = content if isinstance(content, dict) else range(len(content)) if isinstance(content, list) else ()
    for key in list(keys):
        found += [(content, key), *places(content[key])]
    return found


@st.composite
def mutated(draw, text: str) -> bytes:
    """The text of a file with one to three changes."""
    content = json.loads(text)
    kinds = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=3))
    for kind in kinds:
        found = places(content)
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        if kind == "replace":
            container[key] = draw(VALUES)
        elif kind == "drop":
            del container[key]
        elif kind == "rename" and isinstance(container, dict):
            container[draw(st.text(max_size=8) | st.sampled_from(["accuracy", "seed", "chosen"]))] = container.pop(key)
        elif kind == "insert" and isinstance(container, dict):
            container[draw(st.text(max_size=8))] = draw(VALUES)
        elif kind == "deepen":
            for _ in range(draw(st.sampled_from([1, 45, 200]))):
                container[key] = [container[key]]
    text = json.dumps(content, indent=2, ensure_ascii=draw(st.booleans()))
    if "twice" in kinds and (keys := list(re.finditer(r'"(\w+)": ', text))):
        where = draw(st.sampled_from(keys))
        name = draw(st.sampled_from([where[1], f"\\u{ord(where[1][0]):04x}{where[1][1:]}"]))
        text = f'{text[: where.start()]}"{name}": {json.dumps(draw(VALUES))}, {text[where.start() :]}'
    raw = bytearray(text.encode(errors="surrogatepass"))
    if "flip" in kinds:
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
    if "cut" in kinds:
        del raw[draw(st.integers(0, len(raw) - 1)) :]
    return bytes(raw)


def once(entries: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len(dict(entries)) == len(entries), "a key that stands there twice was read"
    return dict(entries)


def as_written(path: Path) -> Any:
    """What a file says, by another reading than the package's."""
    return json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=once)


def same(read: Any, written: Any) -> bool:
    """Whether a value that was read is what stands there, null being a metric that is not finite."""
    if isinstance(written, dict):
        return read.keys() == written.keys() and all(same(read[key], written[key]) for key in written)
    if isinstance(written, list):
        return len(read) == len(written) and all(map(same, read, written))
    if isinstance(written, bool) or isinstance(read, bool):
        return read is written
    if isinstance(read, float) and math.isnan(read):
        return written is None or (isinstance(written, float) and math.isnan(written))
    return read == written


def check_reading(path: Path, read: Callable[[Path], Any]) -> None:
    """Read a file: it is as it stands there, or refused in a line."""
    try:
        content = read(path)
    except RecordError as error:
        assert "\n" not in str(error)
        assert len(error.reason) < 700
        assert str(error).startswith(str(path))
        assert ";" in error.reason or "did you mean" in error.reason or "Known:" in error.reason
        return
    written = as_written(path)
    entries = content if isinstance(content, dict) else {key: asdict(content)[key] for key in written}
    assert same(entries, written if "tasks" not in written else written["tasks"])


def write_files(folder: Path) -> None:
    """One file of each kind."""
    record = make_record("sam", 1, metrics={"accuracy": 0.5, "loss": 0.7}, majority={"accuracy": 0.4})
    write_record(record, folder)
    write_failure(Failure("sst2", "bert", "sam", 1, "out of memory"), folder)
    plan = plan_of([["sam", "none"]], ("sst2", "sam", 0), ("sst2", "none", 0))
    choice = {
        "chosen": {"rho": 0.1},
        "trials": 2,
        "metric": "accuracy",
        "holdout_samples": 100,
        "seeds": [7],
        "notes": ["rho 0.1 is the smallest value tried"],
        "scores": [
            {"values": {"rho": rho}, "score": score, "loss": None, "status": "finished"}
            for rho, score in ((0.1, 0.8), (0.2, 0.7))
        ],
        "asked": {"flags": {"method": "sam"}, "stages": [{"rho": [0.1, 0.2]}]},
    }
    write_choices({"sst2": {"sam": choice}}, folder)
    reported = {name: choice[name] for name in ("chosen", "trials", "metric", "holdout_samples", "seeds", "notes")}
    plan.selection["sst2"] = {"sam": reported | leading_scores(choice)}
    write_suite_plan(plan, folder)
    write_trial(trial_result(record, {"rho": 0.1}), folder)


READERS = {
    "result.json": read_record,
    "failure.json": read_failure,
    "suite.json": read_suite_plan,
    "trial.json": lambda path: read_trial(path.parent),
    "selection.json": lambda path: used_by_a_suite(read_choices(path.parent)),
}


def used_by_a_suite(choices: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The choices, after what a suite takes from them."""
    for choice in (choice for methods in choices.values() for choice in methods.values()):
        assert leading_scores(choice).keys() == {"score", "runner_up_score"}
        assert choice["chosen"] is None or set(choice["chosen"]) == set().union(*choice["asked"]["stages"])
    return choices


@pytest.fixture(scope="module")
def originals(tmp_path_factory) -> Iterator[dict[str, str]]:
    """What stands in one file of each kind and in those of a few runs, by their paths: synced to the disk once."""
    folder = tmp_path_factory.mktemp("originals")
    write_files(folder / "kinds")
    write_runs(folder / "runs")
    gc.freeze()  # Holm's correction in statsmodels collects garbage, which takes a second among torch's objects
    yield {path.relative_to(folder).as_posix(): path.read_text() for path in sorted(folder.rglob("*.json"))}
    gc.unfreeze()


@pytest.mark.parametrize("name", READERS)
@in_one_folder
@given(data=st.data())
def test_a_mutated_file_is_read_as_it_stands_or_refused_in_a_line(tmp_path, originals, name, data):
    path, text = tmp_path / name, originals[f"kinds/{name}"]
    path.write_bytes(data.draw(st.just(text.encode()) | mutated(text)))
    check_reading(path, READERS[name])


# The lowest and highest value of what the records below hold.
LIMITS = {"accuracy": (0, 1), "f1": (0, 1), "loss": (0, math.inf)}


def write_runs(runs_dir: Path) -> None:
    """Two methods with three seeds each, their plan, and a failure."""
    for label in ("none", "sam"):
        for seed in range(3):
            metrics = {"accuracy": 0.5 + seed / 10, "f1": 0.4, "loss": 0.7 - seed / 100}
            history = {"step": [1, 2], "loss": [0.7, 0.6]}
            write_record(make_record(label, seed, metrics=metrics, history=history), runs_dir / label / str(seed))
    write_suite_plan(plan_of([["sam", "none"]], *(("sst2", "sam", seed) for seed in range(4))), runs_dir)
    write_failure(Failure("sst2", "bert", "sam", 3, "out of memory"), runs_dir / "sam" / "3")


def averaged(comparison: Comparison) -> Counter:
    """Every value that a mean is made of."""
    return Counter(
        (cell.model, cell.method, cell.metric, seed, value)
        for cell in comparison.cells
        for seed, value in cell.values.items()
    )


def recorded(runs_dir: Path, left_out: set[str]) -> Counter:
    """Every finite value that stands in the files that are used."""
    found = Counter()
    for path in runs_dir.rglob("result.json"):
        if path.relative_to(runs_dir).as_posix() in left_out:
            continue
        run = as_written(path)
        for metric, value in run["metrics"].items():
            low, high = LIMITS.get(metric, (-math.inf, math.inf))
            assert value is None or low - 1e-5 <= value <= high + 1e-5
            if value is not None:
                found[run["model"], run["label"], metric, run["seed"], value] += 1
    return found


def check_numbers(runs_dir: Path) -> None:
    """Everything that a report prints, but for its figures: means are those of the files that are not left out."""
    collection = collect(runs_dir)
    for file in collection.left_out:
        assert "\n" not in file.reason
        assert len(file.reason) < 3000
    if not collection.records:
        return
    comparison = compare(collection)
    assert averaged(comparison) == recorded(runs_dir, {file.path for file in collection.left_out})
    for cell in comparison.cells:
        assert cell.mean == pytest.approx(fmean(cell.values.values()), rel=1e-12, abs=1e-300)
    for make in (report_rows.score_rows, report_rows.secondary_rows, report_rows.contrast_rows, report_rows.cost_rows):
        make(comparison)
    setting_rows(collection, comparison.tasks), data_rows(comparison.tasks)
    environment_rows(collection.records), shared_flag_rows(collection.records)


@st.composite
def runs_with_mutations(draw, originals: dict[str, str], most: int) -> dict[str, bytes]:
    """The files of the runs, some of them mutated."""
    texts = {name: text for name, text in originals.items() if name.startswith("runs/")}
    changed = draw(st.sets(st.sampled_from(sorted(texts)), min_size=1, max_size=most))
    return {name: draw(mutated(text)) if name in changed else text.encode() for name, text in texts.items()}


def write_all(contents: dict[str, bytes], folder: Path) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "runs"


@in_one_folder
@given(data=st.data())
def test_no_average_is_wrong_whatever_a_file_says(tmp_path, originals, data):
    check_numbers(write_all(data.draw(runs_with_mutations(originals, 3)), tmp_path))


@pytest.mark.slow
@settings(in_one_folder, max_examples=max(3, settings.default.max_examples // 15))
@given(data=st.data())
def test_a_report_is_written_whatever_a_file_says(tmp_path, originals, data):
    runs_dir = write_all(data.draw(runs_with_mutations(originals, 1)), tmp_path)
    assert write_report(runs_dir, tmp_path / "out").is_file()

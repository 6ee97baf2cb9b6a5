"""Labels, models, tried values of any letters: refused in one line, or a folder of one's own and a readable record."""

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hf_vasso.results.failure import Failure, read_failure, write_failure
from hf_vasso.results.record import RESULT_FILE, Record, read_record, write_record
from hf_vasso.results.suite_plan import SUITE_FILE, PlannedRun, SuitePlan, read_suite_plan, write_suite_plan
from hf_vasso.suite.planning import grid_runs
from hf_vasso.suite.selection import planned_trials
from hf_vasso.suite.suite_file import read_suite_file
from hf_vasso.tasks.errors import UserError, user_errors
from hf_vasso.tasks.glue.arguments import parse_glue_arguments
from hf_vasso.tasks.glue.small_bert import write_small_bert
from hf_vasso.tasks.glue.synthetic import VOCABULARY, write_agreement
from hf_vasso.tasks.translation.arguments import parse_translation_arguments

NASTY = [
    "a" * 200,
    "a" * 201,
    "é" * 127,
    "é" * 128,
    "é" * 150,
    "\U0001f600" * 64,
    "e\u0301",
    "two\nlines",
    "\x1b[2Jgone",
    "\ud800",
    "\udcff",
    "../../..",
    "..",
    ".",
    ".select",
    "-h",
    "--fresh",
    "a/b",
    "a\\b",
    "/",
    "a\0b",
    "\u202egnp",
    " ",
    "",
    "CON",
    "seed-0",
    "~",
    "$HOME",
    "${HOME}",
    "a=b,c",
]
NAMES = (
    st.sampled_from(NASTY)
    | st.text(st.characters(), max_size=300)  # surrogates among them
    | st.text(st.characters(categories=["L", "N", "P", "S", "M", "Zs"]), min_size=1, max_size=130)
    | st.text(st.characters(categories=["Cc", "Cf", "Cs", "Mn"]), min_size=1, max_size=4)
    | st.text("aA._-/\\:* ", min_size=1, max_size=8)
)


def message_of(make: Callable[[], Any]) -> tuple[Any, str]:
    """What was made, or why not: one short line."""
    try:
        return make(), ""
    except (UserError, ValueError) as error:
        message = str(error)
        assert 0 < len(message) < 2000 and message.isprintable(), message[:2000]
        return None, message


def made_record(task_label: str, model: str, label: str) -> Record:
    return Record(
        task="agreement",
        task_label=task_label,
        model=model,
        label=label,
        method={"name": "sam", "numbers": {"rho": 0.1}, "paper": None},
        seed=0,
        metrics={"accuracy": 0.5},
        directions={"accuracy": "higher"},
        eval_examples=24,
        train_examples=48,
        data={"source": "local files", "fingerprint": "0123456789abcdef"},
        cost=dict.fromkeys(
            (
                "train_seconds",
                "seconds_per_step",
                "forward_passes",
                "backward_passes",
                "steps",
                "peak_memory_bytes",
            ),
            1,
        ),
        arguments={"optim": "adamw_torch"},
        environment={"device": "cpu", "threads": 1, "packages": {"torch": "2.13.0"}, "commit": None},
    )


def check_folder_and_record(root: Path, folder: Path, task_label: str, model: str, label: str) -> None:
    """A run's folder lies where it should, and what it writes about itself is read again."""
    assert folder.resolve().is_relative_to(root.resolve()) and ".." not in folder.parts
    assert len(folder.relative_to(root).parts) == 4
    assert all(len(os.fsencode(part)) <= 255 for part in folder.parts)
    record = made_record(task_label, model, label)
    write_record(record, folder)
    assert read_record(folder / RESULT_FILE) == record
    failure = Failure(task_label, model, label, 0, "stopped")
    write_failure(failure, folder)
    assert read_failure(folder / "failure.json") == failure
    planned = PlannedRun(task_label, model, label, 0, folder.relative_to(root).as_posix())
    suite = SuitePlan("suite", [], [planned], {task_label: {label: {"chosen": {}}}})
    write_suite_plan(suite, root)
    assert read_suite_plan(root / SUITE_FILE) == suite


def test_labels_of_commands(tmp_path, monkeypatch, attacks):
    monkeypatch.chdir(tmp_path)
    attack = attacks(60)
    accepted = set()

    @settings(max_examples=attack.attempts, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(NAMES, NAMES, NAMES)
    def attempt(task_label: str, label: str, model: str) -> None:
        words = [f"--task_label={task_label}", f"--method_label={label}", f"--model_name_or_path=org/{model}"]
        for word in words:  # one after the other, as hardly ever all three are accepted
            given_words = ["--task_name=rte", "--model_name_or_path=org/bert", word]
            parsed, _ = message_of(lambda given_words=given_words: parse_glue_arguments(given_words))
            if parsed is not None:
                glue, training = parsed
                accepted.add(word)
                check_folder_and_record(
                    Path("runs"),
                    Path(training.output_dir),
                    glue.task_label or "rte",
                    glue.model,
                    glue.method_label or "vasso",
                )
        attack.count("survived")

    attempt()
    assert len(accepted) > 10
    attack.check()


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize("flag", ["task_name", "task_label", "method_label", "dataset_name", "model_name_or_path"])
def test_names_of_translations(tmp_path, monkeypatch, name, flag):
    """With an output folder of one's own: what cannot be recorded is refused all the same."""
    monkeypatch.chdir(tmp_path)
    given = {
        "task_name": "mine",
        "dataset_name": "org/pairs",
        "source_lang": "de",
        "target_lang": "en",
        "model_name_or_path": "org/t5",
        "output_dir": "here",
        flag: name,
    }
    parsed, _ = message_of(lambda: parse_translation_arguments([f"--{key}={value}" for key, value in given.items()]))
    if parsed is not None:
        translation, _ = parsed
        record = made_record(
            translation.task_label or translation.task_name, translation.model, translation.method_label or "vasso"
        )
        write_record(record, Path("here"))
        assert read_record(Path("here", RESULT_FILE)) == record
    assert not list(tmp_path.glob("run*"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, Any]:
    """What the file of a suite says."""
    folder = tmp_path_factory.mktemp("materials")
    write_agreement(folder / "data", train_examples=48, validation_examples=24)
    write_small_bert(folder / "config", VOCABULARY, hidden_size=8, num_hidden_layers=1)
    flags = {"config_name": str(folder / "config"), "data_dir": str(folder / "data"), "max_seq_length": 32}
    return {
        "name": "small",
        "output_dir": "runs",
        "tasks": ["agreement"],
        "methods": ["sam"],
        "seeds": [0],
        "defaults": {**flags, "num_train_epochs": 1, "use_cpu": True},
    }


def planned(content: dict[str, Any]) -> list[Any]:
    """The trials and runs of a suite."""
    Path("suite.yaml").write_text(yaml.safe_dump(content, allow_unicode=False))
    with user_errors():
        suite = read_suite_file(Path("suite.yaml"))
        return [*planned_trials(suite)[0], *grid_runs(suite, {})]


def test_labels_of_suites(tmp_path, monkeypatch, sound, attacks):
    """A suite takes the labels that a command takes, and no others."""
    monkeypatch.chdir(tmp_path)
    attack = attacks(60)

    @settings(max_examples=attack.attempts, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(NAMES, st.booleans())
    def attempt(label: str, of_task: bool) -> None:
        of_tasks = (
            {"tasks": {label: {"task_name": "agreement"}}} if of_task else {"methods": {label: {"method": "sam"}}}
        )
        runs, refused = message_of(lambda: planned({**sound, **of_tasks}))
        flag = "task_label" if of_task else "method_label"
        words = ["--task_name=rte", "--model_name_or_path=bert", f"--{flag}={label}"]
        _, refused_by_command = message_of(lambda: parse_glue_arguments(words))
        # A variable would be replaced in the record, and not in the folder's name.
        assert bool(refused) == (bool(refused_by_command) or "${" in label), (refused, refused_by_command)
        for run in runs or []:
            names = run.planned
            assert getattr(run.task.arguments, flag) == label
            check_folder_and_record(Path("runs"), run.folder, names.task_label, names.model, names.label)
        attack.count("survived")

    attempt()
    attack.check()


# --- tried values ---

SPECIAL = "a:*?/\\|<>\"' ~,=%_.-+AÀà\u0301é(\n\ud800"
TRIED = (
    st.text(SPECIAL, min_size=1, max_size=6)
    | st.sampled_from([*NASTY, "1e-5", "1.0", "None", "none", "True", "true", "ab" * 150, "ab" * 150 + "c"])
    | st.integers(-9, 9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
    | st.lists(st.text("aA:*", max_size=3), max_size=3)
)


def like_a_file_system(path: Path) -> str:
    """As the pickiest of them compare names: macOS forgets how an accent is written, Windows upper and lower case."""
    return unicodedata.normalize("NFKC", str(path)).lower()


def test_tried_values_have_folders_of_their_own(tmp_path, monkeypatch, sound, attacks):
    """The file is refused, or each value has a trial of its own."""
    monkeypatch.chdir(tmp_path)
    attack = attacks(80)
    several = 0

    @settings(max_examples=attack.attempts, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(TRIED, min_size=2, max_size=4))
    def attempt(values: list[Any]) -> None:
        nonlocal several
        select = {"stages": [{"run_name": values}], "seeds": [5], "holdout_samples": 8}
        runs, _ = message_of(lambda: planned({**sound, "select": select}))
        trials = [run for run in runs or [] if run.tries is not None]
        folders = {like_a_file_system(trial.folder) for trial in trials}
        assert len(folders) == len(trials) == len({repr(trial.tries) for trial in trials})
        assert all(trial.folder.parent == Path("runs/.select/agreement/config/sam") for trial in trials)
        for trial in trials:
            trial.folder.mkdir(parents=True, exist_ok=True)
            assert len(os.fsencode(trial.folder.name)) <= 255
        several += len(trials) > 1
        attack.count("survived")

    attempt()
    assert several > 10
    attack.check()


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["a:b", "a*b"], ["run_name=a_b~", "run_name=a_b~"]),
        (["runs/a", "runs_a"], ["run_name=runs_a~", "run_name=runs_a,"]),
        (["Adam", "adam"], ["run_name=Adam~", "run_name=adam,"]),
        (["x" * 200, "x" * 199 + "y"], [f"run_name={'x' * 200},seed=5", f"run_name={'x' * 199}y,seed=5"]),
    ],
)
def test_a_plain_value_keeps_its_folder(tmp_path, monkeypatch, sound, values, names):
    """The names of plain values are those of earlier versions, whose suites go on."""
    monkeypatch.chdir(tmp_path)
    select = {"stages": [{"run_name": values}], "seeds": [5], "holdout_samples": 8}
    trials = [run.folder.name for run in planned({**sound, "select": select}) if run.tries is not None]
    assert len(set(trials)) == 2
    assert all(len(name) < 255 and name.endswith(",seed=5") for name in trials)
    for name, begin in zip(trials, names, strict=True):
        assert name.startswith(begin)


@pytest.mark.parametrize(
    "labels",
    [
        {"methods": {"sam": None, "SAM": {"method": "sam"}}},
        {"methods": {"e\u0301": {"method": "sam"}, "\u00e9": {"method": "sam"}}},
        {"tasks": {"agreement": None, "Agreement": {"task_name": "agreement"}}},
        {"methods": {"straße": {"method": "sam"}, "STRASSE": {"method": "sam"}}},
    ],
)
def test_labels_that_some_file_system_holds_for_equal(tmp_path, monkeypatch, sound, labels):
    monkeypatch.chdir(tmp_path)
    _, message = message_of(lambda: planned({**sound, **labels}))
    assert "two different runs would lie in one folder" in message

"""Zip the test predictions of finished runs for GLUE's leaderboard, predicting first: what `hf-vasso submit` does."""

import reprlib
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hf_vasso.results.files import write_bytes
from hf_vasso.results.record import RESULT_FILE, Record, RecordError, read_record
from hf_vasso.results.submission import LEADERBOARD_FILES, Predictions, write_submission
from hf_vasso.tasks.errors import UserError, user_errors
from hf_vasso.tasks.glue.arguments import parse_glue_arguments
from hf_vasso.tasks.glue.data import load_task
from hf_vasso.tasks.glue.run_glue import run_glue
from hf_vasso.tasks.glue.table import TASKS
from hf_vasso.tasks.run_folder import RunFolder

__all__ = ["main", "submit"]

_TAKEN = {"max_seq_length": int, "pad_to_max_length": bool, "bf16": bool, "fp16": bool, "tf32": bool}
"""The flags of a run that change its predictions, and their types; all others of its file are left alone."""

_OF_THE_USER = {
    "data_dir": "the folder with the test sets, <task>/<split>, of the runs that had such a folder",
    "backbone": "the folder of the model under probes, where that is not on the hub",
    "cache_dir": "where models from the hub are kept",
    "token": "access token of the hub (default: the one of `hf auth login`)",
}

_TASKS = tuple(dict.fromkeys(file.task for file in LEADERBOARD_FILES))


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso submit`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status.

    Raises:
        UserError: See `submit`.
    """
    parser = ArgumentParser(
        prog="hf-vasso submit",
        description="Write the zip file for GLUE's leaderboard from one finished run of each task, all of one method "
        "label, model and seed. Runs that have not predicted their test sets do so now; AX is predicted with MNLI's "
        "model.",
        allow_abbrev=False,
    )
    parser.add_argument("runs_dir", type=Path, metavar="RUNS_DIR", help="folder with the runs, at any depth")
    parser.add_argument("--out", type=Path, required=True, help="the zip file to write, such as glue.zip")
    parser.add_argument("--method_label", help="the label of the runs, where RUNS_DIR has several")
    parser.add_argument(
        "--model",
        action="append",
        help="the model of the runs, where RUNS_DIR has several; once more for tasks that began with another one, "
        "such as a model fine-tuned on MNLI",
    )
    parser.add_argument("--seed", type=int, help="the seed of the runs, where RUNS_DIR has several")
    for flag, text in _OF_THE_USER.items():
        parser.add_argument(f"--{flag}", help=text)
    parser.add_argument(
        "--trust_remote_code", action="store_true", help="run the code that lies beside the models; read it before"
    )
    given = parser.parse_args(arguments)
    names = (*_OF_THE_USER, "trust_remote_code")
    predict_with = {name: value for name in names if (value := getattr(given, name))}
    submit(given.runs_dir, given.out, given.method_label, given.seed, given.model, predict_with)
    print(f"submission: {given.out}, to be uploaded at https://gluebenchmark.com/submit")
    return 0


def submit(
    runs_dir: Path,
    out: Path,
    method_label: str | None = None,
    seed: int | None = None,
    models: Sequence[str] | None = None,
    predict_with: Mapping[str, str | bool] | None = None,
) -> None:
    """
    Predict what is not predicted yet, check all predictions and zip them.

    Args:
        runs_dir: The folder with the runs.
        out: The zip file to write or replace.
        method_label: The label of the runs; None where they have one in common.
        seed: The seed of the runs; None where they have one in common.
        models: The models of the runs, as records name them; None where they have one in common.
        predict_with: Flags of `hf-vasso glue` that no run's file decides: "data_dir", "backbone", "cache_dir", "token"
            and "trust_remote_code".

    Raises:
        UserError: It is not clear which runs are meant, tasks are missing, a run cannot predict any more, or its
            predictions are not what the leaderboard takes. Only the last two are found after runs have predicted.
    """
    given = predict_with or {}
    with user_errors():
        runs = _choose(_find(runs_dir), runs_dir, method_label, seed, models)
        _check(runs, runs_dir, given.get("data_dir"))
    for run in runs.values():
        if run.has_model and not run.has_predicted:
            _predict(run, given)
    with TemporaryDirectory() as folder:
        if runs["mnli"].has_model:
            runs["ax"] = _predict_ax(runs["mnli"], Path(folder), given)
        with user_errors():
            write_submission({file: _predictions(runs[file.task], file.split) for file in LEADERBOARD_FILES}, out)


@dataclass(frozen=True)
class _Run:
    """A finished run and where it lies."""

    folder: RunFolder
    record: Record

    @property
    def has_model(self) -> bool:
        """Whether the model that it trained is there."""
        return self.folder.training is not None and any(self.folder.path.glob("*model*"))

    @property
    def has_predicted(self) -> bool:
        """Whether the predictions of all test examples are there."""
        files = self.folder.prediction_files.values()
        return all(path.exists() for path in files) and self.record.arguments.get("max_predict_samples") is None


def _find(runs_dir: Path) -> list[_Run]:
    """The finished runs of GLUE's tasks; records that cannot be read are named and left out."""
    runs = []
    for path in sorted(runs_dir.rglob(RESULT_FILE)):
        if any(part.startswith(".") for part in path.relative_to(runs_dir).parts) or path.is_symlink():
            continue  # a suite's trials, and what lies elsewhere
        try:
            record = read_record(path)
        except RecordError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        if record.task in _TASKS:
            runs.append(_Run(RunFolder(str(path.parent), TASKS[record.task].prediction_files), record))
    return runs


def _choose(
    runs: Sequence[_Run], runs_dir: Path, method_label: str | None, seed: int | None, models: Sequence[str] | None
) -> dict[str, _Run]:
    """The runs of one label, seed and model (or of the models that are named), by task."""
    meant = [
        run
        for run in runs
        if method_label in (None, run.record.label)
        and seed in (None, run.record.seed)
        and (models is None or run.record.model in models)
    ]
    if not meant:
        raise UserError(f"{runs_dir} has no such finished run of a GLUE task; it has{_listed(runs)}")
    if len({(run.record.label, run.record.seed, None if models else run.record.model) for run in meant}) > 1:
        raise UserError(
            "a submission is of one method, model and seed; choose with --method_label, --model and --seed:"
            f"{_listed(meant)}"
        )
    chosen: dict[str, _Run] = {}
    for run in meant:
        other = chosen.setdefault(run.record.task, run)
        if other is not run:
            raise UserError(
                f"task {run.record.task} has two such runs, {other.folder.path} and {run.folder.path}; "
                "name a RUNS_DIR with one of them"
            )
    return chosen


def _listed(runs: Iterable[_Run]) -> str:
    """The tasks of the runs of each label, model and seed."""
    tasks: dict[tuple[str, str, int], list[str]] = {}
    for run in runs:
        tasks.setdefault((run.record.label, run.record.model, run.record.seed), []).append(run.record.task)
    lines = [
        f"\n  --method_label {label} --model {model} --seed {seed}: {', '.join(names)}"
        for (label, model, seed), names in sorted(tasks.items())
    ]
    return "".join(lines) or " none"


def _check(runs: Mapping[str, _Run], runs_dir: Path, data_dir: str | bool | None) -> None:
    """Name all tasks that cannot be submitted before any of them predicts."""
    missing = [
        f"  {task}: {reason}" for task in _TASKS if (reason := _reason_against(task, runs, data_dir)) is not None
    ]
    if missing:
        raise UserError("\n".join([f"{runs_dir} lacks what a submission needs:", *missing]))


def _reason_against(task: str, runs: Mapping[str, _Run], data_dir: str | bool | None) -> str | None:
    trained_on = TASKS[task].trained_on
    if trained_on is not None and trained_on in runs and runs[trained_on].has_model:
        return _reason_against_data(runs[trained_on], data_dir)
    if task not in runs:
        return "no finished run" + (f", and none of {trained_on} with its model" if trained_on else "")
    run = runs[task]
    if run.has_predicted:
        return _reason_against_predictions(run, data_dir)
    if run.has_model:
        return _reason_against_data(run, data_dir)
    return f"{run.folder.path} has neither predictions for the whole test set nor a model that it trained"


def _reason_against_data(run: _Run, data_dir: str | bool | None) -> str | None:
    """A folder that only the run's file names is not opened."""
    if data_dir is None and run.folder.arguments.get("data_dir") is not None:
        return f"the run in {run.folder.path} had its data from a folder; name it with --data_dir"
    return None


def _reason_against_predictions(run: _Run, data_dir: Any) -> str | None:
    """Predictions hold as long as the data have not become others, where they are at hand."""
    predicted, task = run.folder.predicted, TASKS[run.record.task]
    had_folder = bool(predicted) and run.folder.arguments.get("data_dir") is not None
    if not had_folder or data_dir is None or not Path(data_dir, task.name).is_dir():
        return None
    now = load_task(task, data_dir, list(predicted)).fingerprints
    for split, fingerprint in predicted.items():
        if now[split] != fingerprint:
            return (
                f"{run.folder.prediction_files[split]} was predicted from other examples than "
                f"{Path(data_dir, task.name)} now has for split {split}; delete it to predict again"
            )
    return None


def _predict(run: _Run, given: Mapping[str, str | bool]) -> None:
    """Predict in a folder aside, with the trained model: the run's own files stay as they are but for predictions."""
    own = run.folder
    with TemporaryDirectory() as folder, ExitStack() as stack:
        aside = RunFolder(folder, TASKS[run.record.task].prediction_files)
        with user_errors():
            stack.enter_context(own.hold())
            arguments = parse_glue_arguments(_words(run, run.record.task, folder, given))
        run_glue(*arguments)
        own.begin(own.arguments, fresh=False)
        own.claim([path.name for path in own.prediction_files.values()])
        for path in own.prediction_files.values():
            write_bytes(path, (aside.path / path.name).read_bytes())
            print(f"kept beside the run: {path}")
        own.keep_predicted(aside.predicted)
        if run.record.arguments.get("max_predict_samples") is not None:
            whole = {**run.record.arguments, "max_predict_samples": None}
            own.keep_record(replace(run.record, arguments=whole))


def _predict_ax(mnli: _Run, folder: Path, given: Mapping[str, str | bool]) -> _Run:
    """Predict AX with MNLI's model, each time anew: predictions that lie about may be of a model trained before."""
    with user_errors():
        arguments = parse_glue_arguments(_words(mnli, "ax", str(folder), given))
    return _Run(RunFolder(str(folder), TASKS["ax"].prediction_files), run_glue(*arguments))


def _words(run: _Run, task: str, output_dir: str, given: Mapping[str, str | bool]) -> list[str]:
    """
    The command line of a prediction.

    Of the flags with which the run began only those of `_TAKEN` are taken, since the run may be anyone's: what runs
    code, names a folder or sends something comes from the user.
    """
    began = run.folder.arguments
    words = [f"--task_name={task}", f"--model_name_or_path={run.folder.path}", f"--output_dir={output_dir}"]
    words += ["--do_predict", "--report_to=none"]
    for name, kind in _TAKEN.items():
        value = began.get(name)
        if value is not None:
            if type(value) is not kind:
                raise ValueError(
                    f"{run.folder.path}: {name} in the record of its flags must be of type {kind.__name__}, got "
                    f"{reprlib.repr(value)}; put back the file that the run wrote"
                )
            words.append(f"--{name}={value}")
    has_folder = began.get("data_dir") is not None
    return words + [f"--{name}={value}" for name, value in given.items() if name != "data_dir" or has_folder]


def _predictions(run: _Run, split: str) -> Predictions:
    task = TASKS[run.record.task]
    return Predictions(run.folder.prediction_files[split], task.label_names, task.split_sizes[split])

"""Everything that runs left below a folder, checked: records that may be averaged, and what is left out and why."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_vasso.results.failure import FAILURE_FILE, Failure, read_failure
from hf_vasso.results.identity import run_identity
from hf_vasso.results.reading import RecordError, check_inside, leads_out
from hf_vasso.results.record import RESULT_FILE, Record, read_record
from hf_vasso.results.suite_plan import SUITE_FILE, PlannedRun, SuitePlan, read_suite_plan
from hf_vasso.results.words import listed

__all__ = ["Collection", "LeftOut", "RunsFolderError", "collect", "record_key", "run_key"]

_READERS = {RESULT_FILE: read_record, FAILURE_FILE: read_failure, SUITE_FILE: read_suite_plan}

# Flags that two runs of one cell may differ in: the seed; the labels, which make the cell; and the limits, since the
# number of examples is part of the data's identity.
_NOT_BINDING = {"seed", "task_label", "method_label", "max_eval_samples", "max_predict_samples"}
_MOST_SHOWN, _LONGEST_SHOWN = 5, 40


class RunsFolderError(ValueError):
    """A folder without runs that can be read: the message names the folder, the fact and the remedy."""


@dataclass(frozen=True)
class LeftOut:
    """
    A file that is not used.

    Args:
        path: The file, relative to the folder that was searched.
        reason: Why, and what to do about it.
    """

    path: str
    reason: str


@dataclass(frozen=True)
class Collection:
    """
    What was found below a folder.

    Args:
        records: Those that can be used; each task label, model, method label, seed and identity occurs
            once.
        left_out: All other files, in the order of their paths.
        failures: Runs that ended without a record, or that failed after their record was written, as they do when they
            are begun again with other flags: a run deletes its failure before it writes its record.
        plans: What suites set out to do.
        missing: Planned runs that have neither a usable record nor a failure.
        folders: `record_key` of a record to the folder in which it was found.
        runs_dir: The folder that was searched.
    """

    records: list[Record]
    left_out: list[LeftOut]
    failures: list[Failure]
    plans: list[SuitePlan]
    missing: list[PlannedRun]
    folders: dict[tuple, Path] = field(default_factory=dict)
    runs_dir: Path = Path()


def collect(runs_dir: Path) -> Collection:
    """
    Read and check all records below a folder.

    Hidden folders, such as the one of a suite's trials, are not searched, and links that lead out are not followed.
    Of one run that is there twice with equal metrics the first is used. Runs that contradict each other are all left
    out: those of one task, model, label and identity whose flags differ in more than the seed, or those that are there
    twice with different metrics.

    Args:
        runs_dir: The folder.

    Returns:
        What can be used, and what is left out.

    Raises:
        RunsFolderError: There is no such folder, or a part of it may not be searched.
    """
    if not runs_dir.is_dir():
        raise RunsFolderError(f"{runs_dir} is no folder; name the folder that holds the runs")
    contents, left_out = _read_all(runs_dir)
    records = {path: content for path, content in contents.items() if isinstance(content, Record)}
    failures = [content for content in contents.values() if isinstance(content, Failure)]
    plans = [content for content in contents.values() if isinstance(content, SuitePlan)]
    for cell in _cells(records):
        left_out |= _contradicting(cell) or _repeated(cell)
    used = {path: record for path, record in records.items() if path not in left_out}
    usable = list(used.values())
    return Collection(
        records=usable,
        left_out=[LeftOut(path, reason) for path, reason in sorted(left_out.items())],
        failures=failures,
        plans=plans,
        missing=_missing(plans, [*usable, *failures]),
        folders={record_key(record): Path(runs_dir, path).parent for path, record in used.items()},
        runs_dir=runs_dir,
    )


def run_key(run: Record | Failure | PlannedRun) -> tuple[str, str, str, int]:
    """Which run it is: its task label, model, method label and seed."""
    return (run.task_label, run.model, run.label, run.seed)


def record_key(record: Record) -> tuple:
    """What no other record of a collection has: which run it is, on which data and from which model's files."""
    return (*run_key(record), *run_identity(record))


def _read_all(runs_dir: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Path to what stands in the file, and path to why it cannot be used."""
    contents, left_out = {}, {}
    for path in _files(runs_dir):
        shown = _printable(path.relative_to(runs_dir).as_posix())
        try:
            contents[shown] = _read(path, runs_dir)
        except RecordError as error:
            left_out[shown] = error.reason
    return contents, left_out


def _files(runs_dir: Path) -> Iterable[Path]:
    """All files to be read, in the order of their paths, and links to folders that lead out."""
    for folder, folders, files in os.walk(runs_dir, onerror=_refuse_unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(folder, name) for name in folders if leads_out(Path(folder, name), runs_dir))
        yield from (Path(folder, name) for name in sorted(_READERS.keys() & set(files)))


def _refuse_unreadable(error: OSError) -> None:
    if isinstance(error, PermissionError):  # others: a folder that a run has just deleted
        raise RunsFolderError(f"{error.filename} cannot be searched ({error.strerror}); allow that or move it away")


def _read(path: Path, runs_dir: Path) -> Record | Failure | SuitePlan:
    check_inside(path, runs_dir)
    content = _READERS[path.name](path)
    if isinstance(content, Record) and not content.metrics:
        raise RecordError(path, "the run was not evaluated; repeat its command with --do_eval")
    return content


def _printable(path: str) -> str:
    """A path that can be written to a page: what a terminal would not show is spelled out."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in path)


def _cells(records: Mapping[str, Record]) -> list[dict[str, Record]]:
    """The records that would be averaged, by their paths."""
    cells: dict[tuple, dict[str, Record]] = {}
    for path, record in records.items():
        key = (record.task_label, record.model, record.label, run_identity(record))
        cells.setdefault(key, {})[path] = record
    return list(cells.values())


def _contradicting(cell: Mapping[str, Record]) -> dict[str, str]:
    """All records of a cell, if they are no repetitions of one run."""
    differences = _differing_flags(list(cell.values()))
    if not differences:
        return {}
    record = next(iter(cell.values()))
    reason = (
        f"the runs of {record.task_label}, {record.model}, {record.label} contradict each other in "
        f"{', '.join(differences[:_MOST_SHOWN])}; give one sort a label of its own (--method_label) or delete it"
    )
    return dict.fromkeys(cell, reason)


def _differing_flags(records: list[Record]) -> list[str]:
    """Flags and numbers of the method that are not the same in all records, each with its values."""
    all_flags = [_binding_flags(record) for record in records]
    told = set[str]().union(*map(_told_flags, records))
    one_version = len({_versions(record) for record in records}) == 1
    differences = []
    for name in sorted(set[str]().union(*all_flags)):
        values = {_spelled(flags[name]) for flags in all_flags if name in flags}
        # A version that does not know a flag does what one that knows it does where nobody gives it.
        if (one_version or name in told) and any(name not in flags for flags in all_flags):
            values.add("none")
        if len(values) > 1:
            shown = [value[:_LONGEST_SHOWN] for value in sorted(values)[:_MOST_SHOWN]]
            differences.append(f"{name} ({' and '.join(shown)})")
    return differences


def _spelled(value: Any) -> str:
    """A value in JSON, in which 3 and 3.0 are one number."""
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True)


def _binding_flags(record: Record) -> dict[str, Any]:
    flags = {**record.arguments, **record.method["numbers"], "method": record.method["name"]}
    return {name: value for name, value in flags.items() if name not in _NOT_BINDING}


def _told_flags(record: Record) -> set[str]:
    """Flags that somebody gave: the record says so, and one of an earlier version by a value that is not empty."""
    return set(record.given) or {name for name, value in _binding_flags(record).items() if value}


def _versions(record: Record) -> str:
    return json.dumps([record.environment["packages"], record.environment["commit"]], sort_keys=True)


def _repeated(cell: Mapping[str, Record]) -> dict[str, str]:
    """Of runs that are there twice: the later ones if they are alike, else all of them."""
    by_seed: dict[int, list[str]] = {}
    for path, record in cell.items():
        by_seed.setdefault(record.seed, []).append(path)
    left_out = {}
    for seed, (first, *others) in by_seed.items():
        if len({json.dumps(cell[path].metrics) for path in (first, *others)}) == 1:
            left_out |= dict.fromkeys(others, f"the same run as {first}, which is used; delete one of them")
        else:
            reason = (
                f"the run with seed {seed} has different metrics in {listed((first, *others))}; delete the wrong ones"
            )
            left_out |= dict.fromkeys((first, *others), reason)
    return left_out


def _missing(plans: Iterable[SuitePlan], ended: Iterable[Record | Failure]) -> list[PlannedRun]:
    keys = {run_key(run) for run in ended}
    planned = dict.fromkeys(run for plan in plans for run in plan.runs)
    return [run for run in planned if run_key(run) not in keys]

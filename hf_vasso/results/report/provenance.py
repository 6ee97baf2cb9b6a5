"""Where the numbers of a report come from: flags, data, seeds, packages, machines and papers, as rows."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_vasso.results.collection import Collection
from hf_vasso.results.comparison.choices import Choice, choices_of
from hf_vasso.results.comparison.environments import environment_facts
from hf_vasso.results.comparison.metric_words import metric_name
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.record import Record

__all__ = [
    "data_rows",
    "environment_rows",
    "papers",
    "setting_rows",
    "shared_flag_rows",
    "signature_rows",
    "spell_seeds",
]

Row = Mapping[str, object]

_SCORES = ("score", "runner_up_score")
# Flags that say which run it is, not how it is made.
_NO_SETTING = {"seed", "task_label", "method_label"}


def setting_rows(collection: Collection, tasks: Sequence[TaskRuns]) -> list[Row]:
    """
    With what each method ran: a row per task and method.

    Args:
        collection: The records and the suites' plans.
        tasks: The same records, sorted into tasks.

    Returns:
        "task", "model", "method", its "flags" that not all runs share, and what was "chosen on held-out training
        examples", with the budget, the best scores, and where that is an end of the grid.
    """
    left_out = _NO_SETTING | _shared_flags(collection.records).keys()
    choices = choices_of(collection.plans)
    return [
        {
            "task": runs.task,
            "model": runs.model,
            "method": runs.name(label),
            "flags": _spell(_flags(records[0]), left_out),
            "chosen on held-out training examples": _spell_choice(choices.get((runs.model, runs.task_label, label))),
        }
        for runs in tasks
        for label, records in runs.methods.items()
    ]


def data_rows(tasks: Sequence[TaskRuns]) -> list[Row]:
    """
    On what the runs were trained and judged: a row per task.

    Args:
        tasks: The runs.

    Returns:
        "task", "model", "training examples", "evaluation examples", "source", "fingerprint" and "seeds".
    """
    return [_data_row(runs) for runs in tasks]


def environment_rows(records: Sequence[Record]) -> list[Row]:
    """
    Where the runs took place: a row per fact.

    Args:
        records: The runs.

    Returns:
        "what" (the device, the threads, the commit, or a package) and "value", all of them where runs differ.
    """
    return _spelled_rows("what", {name: " and ".join(counts) for name, counts in environment_facts(records).items()})


def signature_rows(records: Sequence[Record]) -> list[Row]:
    """
    How metrics were computed: a row per metric that has a signature.

    Args:
        records: The runs.

    Returns:
        "metric" and "signature", all of them where runs differ.
    """
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for metric, signature in record.signatures.items():
            found.setdefault(metric_name(metric), {})[signature] = None
    return [{"metric": name, "signature": " and ".join(signatures)} for name, signatures in found.items()]


def shared_flag_rows(records: Sequence[Record]) -> list[Row]:
    """
    The flags that have one value in all runs.

    Args:
        records: The runs, at least one.

    Returns:
        "flag" and "value".
    """
    return _spelled_rows("flag", _shared_flags(records))


def papers(records: Sequence[Record]) -> list[str]:
    """
    The papers of the methods.

    Args:
        records: The runs.

    Returns:
        "title: url" of each, once.
    """
    cited = (record.method["paper"] for record in records if record.method["paper"])
    return list(dict.fromkeys(f"{paper['title']}: {paper['url']}" for paper in cited))


def spell_seeds(seeds: Iterable[int]) -> str:
    """
    Seeds in few words.

    Args:
        seeds: Different ones.

    Returns:
        Runs of three and more by their ends.

    Example:
        >>> spell_seeds({0, 1, 2, 3, 7})
        '0 to 3, 7'
    """
    ranges: list[list[int]] = []
    for seed in sorted(seeds):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1].append(seed)
        else:
            ranges.append([seed])
    return ", ".join(f"{some[0]} to {some[-1]}" if len(some) > 2 else ", ".join(map(str, some)) for some in ranges)


def _flags(record: Record) -> dict[str, Any]:
    return {**record.arguments, "method": record.method["name"], **record.method["numbers"]}


def _spell_choice(choice: Choice | None) -> str:
    """In words what was chosen and how."""
    if choice is None:
        return "nothing"
    scores = {name: f"{choice[name]:.4g}" for name in _SCORES if choice.get(name) is not None}
    words = f"{_spell(choice['chosen'])} ({_spell({**choice, **scores}, {'chosen', 'notes'})})"
    return "; ".join([words, *choice.get("notes", [])])


def _data_row(runs: TaskRuns) -> Row:
    records = [record for records in runs.methods.values() for record in records]
    return {
        "task": runs.task,
        "model": runs.model,
        "training examples": records[0].train_examples,
        "evaluation examples": records[0].eval_examples,
        "source": records[0].data["source"],
        "fingerprint": records[0].data["fingerprint"],
        "seeds": spell_seeds({record.seed for record in records}),
    }


def _spelled_rows(column: str, values: Mapping[str, Any]) -> list[Row]:
    return [{column: name, "value": _spell_value(value)} for name, value in values.items()]


def _shared_flags(records: Sequence[Record]) -> dict[str, Any]:
    first, *others = [_flags(record) for record in records]
    return {name: value for name, value in first.items() if all(_has(flags, name, value) for flags in others)}


def _has(flags: Mapping[str, Any], name: str, value: Any) -> bool:
    return name in flags and flags[name] == value


def _spell(values: Mapping[str, Any], left_out: Iterable[str] = ()) -> str:
    return ", ".join(f"{name} {_spell_value(value)}" for name, value in values.items() if name not in left_out)


def _spell_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)

"""What a suite has chosen on held-out examples: `selection.json` in its output folder, with all that was tried."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_json
from hf_vasso.results.metric_ranges import metric_fault
from hf_vasso.results.reading import (
    COUNT,
    NAME,
    NUMBER_OR_NULL,
    OBJECT,
    REPEAT_SUITE,
    SEED,
    Rule,
    is_dict_of,
    is_list_of,
    read_entries,
)

__all__ = ["SELECTION_FILE", "read_choices", "write_choices"]

SELECTION_FILE = "selection.json"
_SCHEMA = 1

Choices = dict[str, dict[str, dict[str, Any]]]
"""Task label to method label to choice."""


@dataclass(frozen=True)
class _SelectionFile:
    tasks: Choices
    schema: int = _SCHEMA


def write_choices(choices: Choices, folder: Path) -> None:
    """
    Write `selection.json` atomically.

    Args:
        choices: Task label to method label to choice.
        folder: The suite's output folder.
    """
    write_json(folder / SELECTION_FILE, asdict(_SelectionFile(choices)))


def read_choices(folder: Path) -> Choices:
    """
    Read and check a `selection.json`: who uses a choice may trust the structure of all its entries.

    Args:
        folder: The suite's output folder.

    Returns:
        Task label to method label to choice; empty where there is no such file.

    Raises:
        RecordError: The file is too large, broken, of another schema, or an entry is missing, unknown or wrong.
    """
    path = folder / SELECTION_FILE
    if not path.exists() and not path.is_symlink():
        return {}
    return read_entries(path, _SelectionFile, _SCHEMA, {"tasks": _CHOICES}, REPEAT_SUITE)["tasks"]


def _is_choice(choice: Any) -> bool:
    return (
        isinstance(choice, dict)
        and choice.keys() == _OF_CHOICE.keys()
        and all(rule.holds(choice[name]) for name, rule in _OF_CHOICE.items())
        and (choice["chosen"] is None or _was_tried(choice["chosen"], choice["asked"]["stages"]))
        and not any(metric_fault(choice["metric"] or "", tried["score"]) for tried in choice["scores"])
    )


def _was_tried(chosen: Mapping[str, Any], stages: list[dict[str, list[Any]]]) -> bool:
    """Whether values are some of those that were asked for, one of each flag."""
    asked = {flag: values for stage in stages for flag, values in stage.items()}
    return chosen.keys() == asked.keys() and all(chosen[flag] in values for flag, values in asked.items())


def _is_tried(tried: Any) -> bool:
    """Whether it is a value with its score."""
    return (
        isinstance(tried, dict)
        and tried.keys() == _OF_TRIED.keys()
        and all(rule.holds(tried[name]) for name, rule in _OF_TRIED.items())
        and (tried["score"] is not None) == (tried["status"] == "finished")
    )


def _is_asked(asked: Any) -> bool:
    return (
        isinstance(asked, dict)
        and asked.keys() == {"flags", "stages"}
        and OBJECT.holds(asked["flags"])
        and is_list_of(asked["stages"], lambda stage: is_dict_of(stage, lambda values: isinstance(values, list)))
    )


_OF_TRIED = {
    "values": OBJECT,
    "score": NUMBER_OR_NULL,
    "loss": NUMBER_OR_NULL,
    "status": Rule("an outcome", lambda status: status in ("finished", "not finite", "failed")),
}
_OF_CHOICE = {
    "chosen": Rule("flag to value, or null", lambda chosen: chosen is None or OBJECT.holds(chosen)),
    "trials": COUNT,
    "metric": Rule("a name, or null", lambda metric: metric is None or NAME.holds(metric)),
    "holdout_samples": Rule("at least 1", lambda samples: COUNT.holds(samples) and samples > 0),
    "seeds": Rule("whole numbers", lambda seeds: is_list_of(seeds, SEED.holds)),
    "notes": Rule("sentences", lambda notes: is_list_of(notes, NAME.holds)),
    "scores": Rule("what was tried", lambda scores: is_list_of(scores, _is_tried)),
    "asked": Rule("what the suite's file says", _is_asked),
}
_CHOICES = Rule(
    f"task label to method label to a choice of {', '.join(_OF_CHOICE)}, whose values are some of those asked for",
    lambda tasks: is_dict_of(tasks, lambda methods: is_dict_of(methods, _is_choice)),
)

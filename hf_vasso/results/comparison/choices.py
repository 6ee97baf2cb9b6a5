"""What suites chose on held-out training examples, and how sure that is."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.suite_plan import SuitePlan
from hf_vasso.results.words import one_or_range

__all__ = ["Choice", "about_choices", "choices_of"]

Choice = Mapping[str, Any]


def choices_of(plans: Iterable[SuitePlan]) -> dict[tuple[str, str, str], Choice]:
    """
    What suites chose.

    Args:
        plans: Those of the suites.

    Returns:
        Model, task label and method label to the choice, as `SuitePlan.selection` has it.
    """
    return {
        (run.model, run.task_label, run.label): plan.selection[run.task_label][run.label]
        for plan in plans
        for run in plan.runs
        if run.label in plan.selection.get(run.task_label, {})
    }


def about_choices(tasks: Sequence[TaskRuns], plans: Iterable[SuitePlan]) -> list[str]:
    """
    What must be said about the numbers that were chosen.

    Args:
        tasks: All runs, sorted.
        plans: Those of the suites.

    Returns:
        Sentences: each choice at an end of its grid, then how many are within the noise of their held-out examples.
    """
    choices = choices_of(plans)
    at_ends = [
        f"{runs.name(label)} on {runs.where}: {note}."
        for runs in tasks
        for label in runs.methods
        for note in choices.get((runs.model, runs.task_label, label), {}).get("notes", [])
    ]
    return at_ends + _about_luck(choices.values())


def _about_luck(choices: Iterable[Choice]) -> list[str]:
    told = [choice for choice in choices if _has_accuracies(choice)]
    if not told:
        return []
    examples = one_or_range(choice["holdout_samples"] for choice in told)
    close = [choice for choice in told if abs(choice["score"] - choice["runner_up_score"]) <= _standard_error(choice)]
    return [
        "The held-out accuracies of the chosen value and of the next best one lie within one standard error of an "
        f"accuracy on {examples} held-out examples for {len(close)} of {len(told)} choices"
        f"{': there the choice is partly luck' if close else ''}."
    ]


def _has_accuracies(choice: Choice) -> bool:
    scores = [choice.get(name) for name in ("score", "runner_up_score")]
    return (
        choice.get("metric") == "accuracy"
        and "holdout_samples" in choice
        and all(score is not None and 0 <= score <= 1 for score in scores)
    )


def _standard_error(choice: Choice) -> float:
    """Of an accuracy p on n examples: sqrt(p (1 - p) / n)."""
    accuracy = choice["score"]
    return math.sqrt(accuracy * (1 - accuracy) / choice["holdout_samples"])

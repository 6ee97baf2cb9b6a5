"""How sure the numbers are that suites chose on held-out training examples."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.suite_plan import SuitePlan

__all__ = ["about_choices"]

Choice = Mapping[str, Any]


def about_choices(tasks: Sequence[TaskRuns], plans: Iterable[SuitePlan]) -> list[str]:
    """
    What must be said about the numbers that were chosen.

    Args:
        tasks: All runs, sorted.
        plans: Those of the suites.

    Returns:
        Sentences: each choice at an end of its grid, then how many are within the noise of their held-out examples.
    """
    names = {(runs.task_label, label): runs.name(label) for runs in tasks for label in runs.methods}
    choices = {
        (task, label): choice
        for plan in plans
        for task, methods in plan.selection.items()
        for label, choice in methods.items()
    }
    at_ends = [
        f"{names.get((task, label), label)} on {task}: {note}."
        for (task, label), choice in choices.items()
        for note in choice.get("notes", [])
    ]
    return at_ends + _about_luck(choices.values())


def _about_luck(choices: Iterable[Choice]) -> list[str]:
    told = [choice for choice in choices if _has_accuracies(choice)]
    if not told:
        return []
    close = [choice for choice in told if abs(choice["score"] - choice["runner_up_score"]) <= _standard_error(choice)]
    return [
        "The held-out accuracies of the chosen value and of the next best one lie within one standard error of a "
        f"share of so many examples for {len(close)} of {len(told)} choices"
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
    """Of a share p of n examples: sqrt(p (1 - p) / n)."""
    share = choice["score"]
    return math.sqrt(share * (1 - share) / choice["holdout_samples"])

"""Choose the values with the best score on held-out training examples, and keep what was tried."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from hf_vasso.suite.grids import Grid, at_edge
from hf_vasso.suite.planning import Run
from hf_vasso.suite.trials import TrialResult, read_trial

__all__ = ["best_values", "leading_scores", "why_none", "with_stage"]

Values = dict[str, Any]


def best_values(trials: Sequence[Run]) -> Values | None:
    """
    Choose among the trials of a stage.

    Args:
        trials: Each value with all its seeds, one after the other.

    Returns:
        The values with the best mean score over the seeds; of equal ones those with the lower loss, of these the
        earlier ones. None where a trial failed, since no method is to have fewer tries than others, and where no
        values have a finite score for every seed.
    """
    scores = _scores(trials)
    if any(result is None for _, results in scores for result in results):
        return None
    ranks = [_rank(results) for _, results in scores]
    best = min((rank for rank in ranks if rank is not None), default=None)
    return None if best is None else scores[ranks.index(best)][0]


def with_stage(choice: Mapping[str, Any], grid: Grid, trials: Sequence[Run]) -> dict[str, Any]:
    """
    Add a stage to a choice.

    Args:
        choice: The choice after the stages before.
        grid: What the stage tries.
        trials: Its trials, made.

    Returns:
        The choice with what the stage chose, its scores, and a note where that is an end of the grid.
    """
    best = best_values(trials)
    scores = [_score_entry(values, results) for values, results in _scores(trials)]
    metrics = [result.metric for trial in trials if (result := read_trial(trial.folder))]
    return {
        **choice,
        "chosen": best,
        "metric": metrics[0] if metrics else choice["metric"],
        "notes": [*choice["notes"], *(at_edge(grid, best) if best else [])],
        "scores": [*choice["scores"], *scores],
    }


def why_none(choice: Mapping[str, Any]) -> str:
    """
    Why nothing was chosen, and what to do about it.

    Args:
        choice: A choice in which "chosen" is None.

    Returns:
        A sentence.
    """
    failed = [entry["values"] for entry in choice["scores"] if entry["status"] == "failed"]
    if failed:
        tried = " and ".join(", ".join(f"{flag} {value}" for flag, value in values.items()) for values in failed)
        return f"its trial of {tried} failed; repeat the command to try again, or take that out of select"
    return "no trial of its selection ended with a finite score; give select other values"


def leading_scores(choice: Mapping[str, Any]) -> dict[str, float | None]:
    """
    How far a choice was ahead of the next one.

    Args:
        choice: A choice after its last stage.

    Returns:
        "score": that of the chosen values; "runner_up_score": the nearest of the other values of that stage. None
        where there is none.

    Example:
        >>> scores = [{"values": {"rho": rho}, "score": score} for rho, score in ((0.1, 0.7), (0.2, 0.9), (0.4, 0.8))]
        >>> leading_scores({"chosen": {"rho": 0.2}, "scores": scores})
        {'score': 0.9, 'runner_up_score': 0.8}
    """
    chosen = choice["chosen"] or {}
    stage = [entry for entry in choice["scores"] if entry["values"].keys() == chosen.keys()]
    score = next((entry["score"] for entry in stage if entry["values"] == chosen), None)
    if score is None:
        return {"score": None, "runner_up_score": None}
    others = [entry["score"] for entry in stage if entry["values"] != chosen and entry["score"] is not None]
    # None of them is better, whichever direction that is.
    return {"score": score, "runner_up_score": min(others, key=lambda other: abs(other - score), default=None)}


def _score_entry(values: Values, results: Sequence[TrialResult | None]) -> dict[str, Any]:
    finished = [result for result in results if result is not None]
    ranked = _rank(results) is not None
    return {
        "values": values,
        "score": _mean(finished, "score") if ranked else None,
        "loss": _mean(finished, "loss") if ranked and finished[0].loss is not None else None,
        "status": "finished" if ranked else "not finite" if len(finished) == len(results) else "failed",
    }


def _scores(trials: Sequence[Run]) -> list[tuple[Values, list[TrialResult | None]]]:
    """The values tried, each with the results of its seeds."""
    scores: list[tuple[Values, list[TrialResult | None]]] = []
    for trial in trials:
        values = dict(trial.tries or {})
        if not scores or scores[-1][0] != values:
            scores.append((values, []))
        scores[-1][1].append(read_trial(trial.folder))
    return scores


def _rank(results: Sequence[TrialResult | None]) -> tuple[float, float] | None:
    """What is smaller for better values; None where a seed failed or has no finite score."""
    finished = [result for result in results if result is not None and result.score is not None]
    if len(finished) < len(results):
        return None
    sign = -1.0 if finished[0].direction == "higher" else 1.0
    return sign * _mean(finished, "score"), _mean(finished, "loss")


def _mean(results: Sequence[TrialResult], name: str) -> float:
    return fmean(getattr(result, name) or 0.0 for result in results)

"""What is kept of a trial: `trial.json`, from which numbers are chosen. It is no record, so no report reads it."""

import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hf_vasso.results.files import write_json
from hf_vasso.results.metric_ranges import metric_fault
from hf_vasso.results.reading import NAME, NUMBER_OR_NULL, OBJECT, REPEAT_SUITE, SEED, RecordError, Rule, read_entries
from hf_vasso.results.record import COST, Record

__all__ = ["TRIAL_FILE", "TrialResult", "read_trial", "trial_result", "write_trial"]

TRIAL_FILE = "trial.json"
_SCHEMA = 1


@dataclass(frozen=True)
class TrialResult:
    """
    A finished trial.

    Args:
        values: Flag to the value that was tried.
        seed: The seed.
        metric: The task's headline metric.
        direction: "higher" or "lower", whichever is better.
        score: That metric on the held-out training examples; None where it or the loss is not finite.
        loss: The loss on them, None for a task without one.
        arguments: The flags that changed the training or its evaluation.
        cost: As in a record.
        schema: Version of this layout.
    """

    values: dict[str, Any]
    seed: int
    metric: str
    direction: str
    score: float | None
    loss: float | None
    arguments: dict[str, Any]
    cost: dict[str, Any]
    schema: int = _SCHEMA


def trial_result(record: Record, values: dict[str, Any]) -> TrialResult:
    """
    What is kept of a trial's run.

    Args:
        record: Of a run that was judged on held-out training examples.
        values: Flag to the value that was tried.

    Returns:
        The result. A model whose loss is not a number has no score, whatever its answers happen to be worth.
    """
    metric, score = next(iter(record.metrics.items()))
    loss = next((value for name, value in record.metrics.items() if name.endswith("loss")), None)
    is_finite = math.isfinite(score) and (loss is None or math.isfinite(loss))
    return TrialResult(
        values=values,
        seed=record.seed,
        metric=metric,
        direction=record.directions[metric],
        score=score if is_finite else None,
        loss=loss if is_finite else None,
        arguments=record.arguments,
        cost=record.cost,
    )


def write_trial(result: TrialResult, folder: Path) -> None:
    """
    Write `trial.json` atomically.

    Args:
        result: What to write.
        folder: The trial's folder.
    """
    write_json(folder / TRIAL_FILE, asdict(result))


def read_trial(folder: Path) -> TrialResult | None:
    """
    Read and check the `trial.json` of a folder.

    Args:
        folder: The trial's folder.

    Returns:
        The result, None where there is none yet.

    Raises:
        RecordError: The file is broken, of another schema, or an entry is missing, unknown or wrong.
    """
    path = folder / TRIAL_FILE
    if not os.path.lexists(path):
        return None
    result = TrialResult(**read_entries(path, TrialResult, _SCHEMA, _RULES, REPEAT_SUITE))
    if fault := metric_fault(result.metric, result.score, result.direction):
        raise RecordError(path, f"{fault}; {REPEAT_SUITE}")
    return result


_RULES = {
    "values": OBJECT,
    "seed": SEED,
    "metric": NAME,
    "direction": Rule('"higher" or "lower"', lambda direction: direction in ("higher", "lower")),
    "score": NUMBER_OR_NULL,
    "loss": NUMBER_OR_NULL,
    "arguments": OBJECT,
    "cost": COST,
}

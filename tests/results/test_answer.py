"""The first sentences of a report, against numbers worked by hand."""

from dataclasses import replace

import pytest
import synthetic_runs

from hf_vasso.results.collection import Collection
from hf_vasso.results.comparison import compare
from hf_vasso.results.record import Record
from hf_vasso.results.report.answer import answer
from hf_vasso.results.suite_plan import PlannedRun, SuitePlan


def run(label: str, seed: int, accuracy: float, passes: int = 100, task: str = "rte") -> Record:
    record = synthetic_runs.record("sst2-clean", label, seed)
    return replace(
        record,
        task_label=task,
        metrics={"accuracy": accuracy},
        directions={"accuracy": "higher"},
        cost={**record.cost, "forward_passes": passes},
    )


def sentences(records: list[Record], *contrasts: list[str]) -> list[str]:
    planned = [PlannedRun(run.task_label, run.model, run.label, run.seed, "") for run in records if contrasts]
    plans = [SuitePlan("suite", list(contrasts), planned, {})]
    return answer(compare(Collection(records, [], [], plans, [])), plans)


def differing_by(points: float, seeds: int, first: str = "vasso", second: str = "sam") -> list[Record]:
    """Runs whose differences are all alike, so that the interval has no width and p is 2 / 2^n."""
    firsts = [run(first, seed, 0.5 + 0.01 * seed + points / 100, passes=200) for seed in range(seeds)]
    return [*firsts, *(run(second, seed, 0.5 + 0.01 * seed) for seed in range(seeds))]


@pytest.mark.parametrize(
    ("points", "seeds", "verdict", "numbers"),
    [
        (1, 6, "better", "+1.00 points [+1.00, +1.00], n = 6, better (Holm p = 0.031)"),
        (-1, 6, "worse", "-1.00 points [-1.00, -1.00], n = 6, worse (Holm p = 0.031)"),
        (1, 5, "too few seeds to tell", "n = 5, too few seeds to tell (Holm p = 0.062; 6 are needed)"),
        (0, 6, "not shown to differ", "+0.00 points [+0.00, +0.00], n = 6, not shown to differ (Holm p = 1)"),
        (1, 1, "too few seeds to tell", "+1.00 points, n = 1, too few seeds to tell (no test; 6 are needed)"),
    ],
)
def test_verdicts(points, seeds, verdict, numbers):
    lead, sentence, cost = sentences(differing_by(points, seeds))
    assert lead == f"vasso against sam: {verdict} on rte."
    assert sentence.startswith("vasso minus sam in accuracy on rte: ") and numbers in sentence
    assert cost == "A training with vasso makes 2 times as many forward passes as one with sam."


def test_tasks_of_one_verdict_stand_together():
    records = differing_by(1, 6)
    records += [replace(record, task_label="cola") for record in records]
    lead, *others = sentences(records)
    assert lead == "vasso against sam: too few seeds to tell on cola, rte."  # two tests: 7 seeds are needed
    assert others[2] == (
        "vasso minus sam in score, mean of 2 tasks: +1.00 points [+1.00, +1.00], n = 6 "
        "(with fewer than 20 seeds the interval is too narrow)."
    )


def test_the_interval_of_an_average_can_be_trusted_from_20_seeds_on():
    records = [*differing_by(1, 20), *(replace(record, task_label="cola") for record in differing_by(1, 21))]
    assert "vasso minus sam in score, mean of 2 tasks: +1.00 points [+1.00, +1.00], n = 20 to 21." in sentences(
        records
    )


def test_the_suite_names_the_primary_contrast():
    records = differing_by(1, 6, "sam", "none") + differing_by(1, 6, "vasso", "none")[:6]
    assert (
        sentences(records, ["sam", "none"], ["vasso", "sam"])[0] == "sam against AdamW: too few seeds to tell on rte."
    )


def test_another_contrast_is_not_taken_for_the_primary_one():
    records = differing_by(1, 6, "vasso", "none")
    assert sentences(records, ["vasso", "sam"], ["vasso", "none"]) == [
        "vasso minus sam, the primary contrast: the two have no seed in common yet."
    ]


def test_the_base_goes_by_its_optimizer_without_a_common_seed_too():
    records = [run("vasso", 0, 0.5), run("none", 1, 0.5)]
    assert sentences(records, ["vasso", "none"]) == [
        "vasso minus AdamW, the primary contrast: the two have no seed in common yet."
    ]


def test_models_are_told_apart():
    records = [replace(record, task_label=task) for record in differing_by(1, 20) for task in ("rte", "cola")]
    records += [replace(record, model="roberta") for record in records]
    lead, *others = sentences(records)
    model = synthetic_runs.MODEL
    places = [f"{task} with {name}" for name in (model, "roberta") for task in ("cola", "rte")]
    assert lead == f"vasso against sam: better on {', '.join(places)}."
    for name in (model, "roberta"):
        assert any(f"mean of 2 tasks with {name}: +1.00 points" in sentence for sentence in others)


def test_nothing_to_compare():
    assert sentences([run("vasso", 0, 0.5)])[0].startswith("Nothing is compared: ")

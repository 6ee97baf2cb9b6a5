"""Numbers chosen on held-out examples, with trials whose scores are made up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.record import Record, RecordError
from hf_vasso.suite.choosing import why_none
from hf_vasso.suite.planning import Cell, Run, recorded_arguments
from hf_vasso.suite.selection import check_trials, known_choices, planned_trials, select
from hf_vasso.suite.suite_file import read_suite_file
from hf_vasso.suite.trials import TrialResult, read_trial, trial_result, write_trial

SAM, NONE = Cell("agreement", "sam"), Cell("agreement", "none")
STAGES = [{"learning_rate": [0.001, 0.002, 0.004]}, {"rho": [0.1, 0.2]}]

COST = dict.fromkeys(("train_seconds", "seconds_per_step", "forward_passes", "backward_passes"), 1.0)
COST |= {"steps": 1, "peak_memory_bytes": 1}

# What a trial gives: score and loss; None for one that fails.
Outcome = tuple[float | None, float | None] | None


class Made:
    """Makes trials by writing down what a function gives for their values, and notes which were made."""

    def __init__(self, outcome: Callable[[dict[str, Any], int], Outcome], direction: str = "higher") -> None:
        self.outcome, self.direction = outcome, direction
        self.values: list[tuple[str, dict[str, Any]]] = []

    def __call__(self, trials: list[Run]) -> None:
        for trial in trials:
            assert trial.tries is not None
            planned = trial.planned
            self.values.append((planned.label, trial.tries))
            outcome = self.outcome(trial.tries, planned.seed)
            if outcome is None:
                write_failure(
                    Failure(planned.task_label, planned.model, planned.label, planned.seed, "x"), trial.folder
                )
            else:
                arguments = recorded_arguments(trial)
                metric = "accuracy" if self.direction == "higher" else "validation_loss"
                result = TrialResult(
                    trial.tries, planned.seed, metric, self.direction, *outcome, arguments=arguments, cost=COST
                )
                write_trial(result, trial.folder)


def peak(values: dict[str, Any], seed: int) -> Outcome:
    """Best at learning rate 0.002 and rho 0.2."""
    return 1 - abs(values["learning_rate"] - 0.002) - abs(values.get("rho", 0.1) - 0.2), 0.5


@pytest.fixture
def suite(write_suite):
    """Reads the file of a suite that selects learning rate, then rho, on two methods."""

    def read(stages=STAGES, seeds=(2,), **keys):
        select = {"stages": stages, "seeds": list(seeds), "holdout_samples": 8}
        return read_suite_file(write_suite(select=select, **keys))

    return read


# --- which trials there are ---


def test_a_stage_is_tried_at_the_best_of_the_one_before(suite):
    made = Made(peak)
    choices = select(suite(methods={"none": None, "sam": None}), made)
    tried = [values for label, values in made.values if label == "sam"]
    assert tried[:3] == [{"learning_rate": 0.001}, {"learning_rate": 0.002}, {"learning_rate": 0.004}]
    assert tried[3:] == [{"learning_rate": 0.002, "rho": 0.1}, {"learning_rate": 0.002, "rho": 0.2}]
    assert choices[SAM]["chosen"] == {"learning_rate": 0.002, "rho": 0.2}
    assert [len([None for label, _ in made.values if label == name]) for name in ("none", "sam")] == [5, 5]
    assert choices[SAM]["notes"] == ["rho 0.2 is the largest value tried; better ones may lie beyond"]


@pytest.mark.parametrize(("flags", "own_rho"), [({}, 0.01), ({"rho": 0.1}, 0.1)])
def test_a_trial_of_a_stage_before_is_not_made_again(suite, flags, own_rho):
    stages = [{"learning_rate": [0.001, 0.002]}, {"rho": [own_rho, 0.2]}]
    made = Made(peak)
    read = suite(stages=stages, methods={"sam": flags})
    choice = select(read, made)[SAM]
    assert choice["chosen"] == {"learning_rate": 0.002, "rho": 0.2}
    assert [values for _, values in made.values] == [
        {"learning_rate": 0.001},
        {"learning_rate": 0.002},
        {"learning_rate": 0.002, "rho": 0.2},
    ]
    assert len(choice["scores"]) == 4
    assert len(planned_trials(read)[0]) == 3


def test_a_trial_is_judged_on_held_out_training_examples(suite):
    trials, all_known = planned_trials(suite(defaults={"do_predict": True}))
    trial, training = trials[-1], trials[-1].task.training
    assert not all_known
    assert (trial.planned.label, trial.tries) == ("sam", {"learning_rate": 0.001, "rho": 0.2})
    assert trial.planned.folder == ".select/agreement/small-bert/sam/learning_rate=0.001,rho=0.2,seed=2"
    assert (trial.task.arguments.holdout_samples, training.seed, training.do_predict) == (8, 2, False)
    assert (training.learning_rate, training.rho) == (0.001, 0.2)
    assert trial.output_dir == trial.folder / "run"
    assert (trial.steps, trial.passes) == (3, 6)  # 40 of 48 examples in batches of 16


def test_planned_trials_follow_what_is_known(suite):
    file = suite()
    select(file, Made(peak))
    trials, all_known = planned_trials(file)
    assert all_known
    assert trials[-1].tries == {"learning_rate": 0.002, "rho": 0.2}


def test_a_wrong_value_is_found_before_anything_starts(suite):
    with pytest.raises(ValueError, match=r"suite.yaml: task agreement with method sam and the defaults: rho .*got -1"):
        planned_trials(suite(stages=[{"rho": [0.1, -1]}]))


# --- what is chosen ---


@pytest.mark.parametrize(
    ("outcomes", "chosen"),
    [
        ({0.001: (0.7, 0.5), 0.002: (0.8, 0.9), 0.004: (0.6, 0.1)}, 0.002),
        ({0.001: (0.7, 0.5), 0.002: (0.7, 0.4), 0.004: (0.6, 0.1)}, 0.002),  # equal scores: the lower loss
        ({0.001: (0.7, 0.5), 0.002: (0.7, 0.5), 0.004: (0.7, 0.5)}, 0.001),  # equal losses too: the earlier
        ({0.001: (0.7, None), 0.002: (0.8, None), 0.004: (0.6, None)}, 0.002),  # a task without a loss
        ({0.001: (0.5, 0.5), 0.002: (None, None), 0.004: (0.4, 0.5)}, 0.001),  # not finite
        ({0.001: (None, None), 0.002: (None, None), 0.004: (None, None)}, None),
        ({0.001: (0.7, 0.5), 0.002: (0.8, 0.9), 0.004: None}, None),  # failed: it would have one try less
    ],
)
def test_the_best_score_is_chosen(suite, outcomes, chosen):
    file = suite(stages=STAGES[:1])
    choice = select(file, Made(lambda values, seed: outcomes[values["learning_rate"]]))[NONE]
    assert choice["chosen"] == (None if chosen is None else {"learning_rate": chosen})
    states = {(True, True): "finished", (False, True): "not finite", (False, False): "failed"}
    for entry in choice["scores"]:
        outcome = outcomes[entry["values"]["learning_rate"]]
        assert entry["status"] == states[outcome is not None and outcome[0] is not None, outcome is not None]
        assert (entry["score"], entry["loss"]) == (outcome or (None, None))


def test_lower_is_better_where_the_metric_says_so(suite):
    file = suite(stages=STAGES[:1])
    assert select(file, Made(peak, direction="lower"))[NONE]["chosen"] == {"learning_rate": 0.004}


def test_seeds_are_averaged_and_all_must_succeed(suite):
    scores = {0.001: (0.6, 0.8), 0.002: (0.9, 0.4), 0.004: (0.95, None)}
    file = suite(stages=STAGES[:1], seeds=[7, 8])
    choice = select(file, Made(lambda values, seed: (scores[values["learning_rate"]][seed - 7], 0.5)))[NONE]
    assert choice["chosen"] == {"learning_rate": 0.001}
    assert [entry["score"] for entry in choice["scores"]] == [pytest.approx(0.7), pytest.approx(0.65), None]
    assert choice["seeds"] == [7, 8]


def test_a_model_without_a_finite_loss_has_no_score():
    def record(loss: float) -> Record:
        return Record(
            task="agreement",
            task_label="agreement",
            model="small-bert",
            label="sam",
            method={},
            seed=3,
            metrics={"accuracy": 0.6, "loss": loss},
            directions={"accuracy": "higher", "loss": "lower"},
            eval_examples=8,
            train_examples=8,
            data={},
            cost={"steps": 1},
            arguments={"rho": 0.1},
            environment={},
        )

    good, bad = trial_result(record(0.5), {"rho": 0.1}), trial_result(record(float("nan")), {"rho": 0.1})
    assert (good.score, good.loss, good.metric, good.direction, good.seed) == (0.6, 0.5, "accuracy", "higher", 3)
    assert (bad.score, bad.loss) == (None, None)


# --- what stands ---


def test_a_choice_stands_though_its_trials_would_now_end_otherwise(suite):
    file = suite()
    first = Made(lambda values, seed: (None, None) if values["learning_rate"] == 0.002 else peak(values, seed))
    before = select(file, first)
    again = Made(peak)
    assert select(file, again) == before
    assert again.values == []
    assert known_choices(file) == before
    content = json.loads((file.output_dir / "selection.json").read_text())
    assert content["tasks"]["agreement"]["sam"]["chosen"] == {"learning_rate": 0.001, "rho": 0.2}


def test_trials_that_failed_are_made_again_until_there_is_a_choice(suite):
    file = suite(stages=STAGES[:1])

    choice = select(file, Made(lambda values, seed: None if values["learning_rate"] == 0.002 else peak(values, seed)))
    assert why_none(choice[NONE]) == (
        "its trial of learning_rate 0.002 failed; repeat the command to try again, or take that out of select"
    )
    made = Made(peak)
    assert select(file, made)[NONE]["chosen"] == {"learning_rate": 0.002}
    assert [values["learning_rate"] for label, values in made.values if label == "none"] == [0.002]


def test_a_choice_for_something_else_is_made_anew(suite):
    select(suite(), Made(peak))
    wider = suite(stages=[STAGES[0], {"rho": [0.1, 0.2, 0.3]}])
    assert known_choices(wider) == {}
    made = Made(peak)
    select(wider, made)
    assert [values for label, values in made.values if label == "sam"] == [{"learning_rate": 0.002, "rho": 0.3}]


def test_a_trial_of_other_flags_is_refused(suite):
    file = suite()
    select(file, Made(peak))
    check_trials(planned_trials(file)[0])
    other = suite(defaults={"num_train_epochs": 2})
    words = (
        r"none/learning_rate=0.001,seed=2 was made with other flags: --num_train_epochs: was 1.0, is 2.0; .*--fresh"
    )
    with pytest.raises(ValueError, match=words):
        check_trials(planned_trials(other)[0])


def test_broken_files_are_named(suite):
    file = suite()
    select(file, Made(peak))
    trial = planned_trials(file)[0][0]
    path = trial.folder / "trial.json"
    assert read_trial(trial.folder) is not None
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match="trial.json: not a JSON file"):
        check_trials([trial])
    selection = Path(file.output_dir, "selection.json")
    selection.write_text('{"schema": 1, "tasks": {"agreement": []}}')
    with pytest.raises(ValueError, match="selection.json: tasks must be task label to method label to a choice"):
        known_choices(file)


def test_a_trial_that_was_scored_otherwise_is_refused(suite):
    file = suite()
    select(file, Made(peak))
    trials = planned_trials(file)[0]
    path = trials[1].folder / "trial.json"
    path.write_text(path.read_text().replace('"accuracy"', '"bits"').replace('"higher"', '"lower"'))
    with pytest.raises(ValueError, match=r"was scored by bits \(lower is better\), and another .* by accuracy"):
        check_trials(trials)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"loss": 0.5', '"loss": NaN'),
        ('"score": 0.', '"score": 7.'),
        ('"direction": "higher"', '"direction": "lower"'),
        ('"direction": "higher"', '"direction": "up"'),
        ('"seed": 2', '"seed": 2.0'),
        ('"steps": 1', '"step": 1'),
        ('"values": {', '"values": {"": 1, '),
    ],
)
def test_a_trial_of_right_syntax_and_wrong_content(suite, old, new):
    file = suite()
    select(file, Made(peak))
    trial = planned_trials(file)[0][0]
    path = trial.folder / "trial.json"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(RecordError, match="trial.json: .*delete it and repeat the suite's command"):
        read_trial(trial.folder)


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda choice: choice.pop(name)


@pytest.mark.parametrize(
    "change",
    [
        *map(without, ("chosen", "trials", "metric", "holdout_samples", "seeds", "notes", "scores", "asked")),
        lambda choice: choice.update(more=1),
        lambda choice: choice.update(chosen="rho"),
        lambda choice: choice.update(chosen={"learning_rate": 0.001}),
        lambda choice: choice["chosen"].update(learning_rate=5.0),
        lambda choice: choice.update(seeds=[True]),
        lambda choice: choice.update(notes=["a\nb"]),
        lambda choice: choice["scores"].append({}),
        lambda choice: choice["scores"][0].update(score=None),
        lambda choice: choice["scores"][0].update(score=77.5),
        lambda choice: choice["scores"][0].update(score=float("nan")),
        lambda choice: choice["scores"][0].update(values=[]),
        lambda choice: choice["scores"][0].update(status="made up"),
        lambda choice: choice["asked"].update(stages=[[0.1]]),
        lambda choice: choice.update(trials=-1, metric=3),
    ],
)
def test_a_choice_of_right_syntax_and_wrong_content(suite, change):
    file = suite()
    select(file, Made(peak))
    path = Path(file.output_dir, "selection.json")
    content = json.loads(path.read_text())
    change(content["tasks"]["agreement"]["sam"])
    path.write_text(json.dumps(content))
    with pytest.raises(RecordError, match="selection.json: tasks must .*; delete it and repeat the suite's command"):
        known_choices(file)

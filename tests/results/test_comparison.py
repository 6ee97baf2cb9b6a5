"""What a comparison holds, each number against another way to get it, and what it says beside the numbers."""

import math
from dataclasses import replace
from statistics import fmean

import numpy as np
import pytest
from made_records import collection_of, make_record, make_runs, plan_of
from scipy import stats

from hf_vasso.results.comparison import compare
from hf_vasso.results.report.provenance import setting_rows
from hf_vasso.results.statistics import holm, paired_difference, sign_flip_p_value
from hf_vasso.results.suite_plan import SuitePlan

NONE, SAM, VASSO = [0.70, 0.71, 0.69, 0.72], [0.72, 0.74, 0.71, 0.73], [0.73, 0.73, 0.74, 0.75]


def three_methods(**changes):
    return [make_runs(label, values, **changes) for label, values in (("none", NONE), ("sam", SAM), ("vasso", VASSO))]


def notes_of(*groups, plans=None, contrasts=None) -> str:
    plans = [plan_of(contrasts, ("sst2", "vasso", 0))] if contrasts else plans
    return "\n".join(compare(collection_of(*groups, plans=plans)).notes)


def metrics_of(accuracy: float) -> dict[str, float]:
    return {"accuracy": accuracy, "loss": 1 - accuracy, "expected_calibration_error": accuracy / 10}


def test_cells():
    runs = [make_record("none", seed, metrics=metrics_of(value)) for seed, value in enumerate(NONE)]
    cells = compare(collection_of(reversed(runs), make_runs("sam", SAM[:1], metrics=metrics_of(0.72)))).cells
    assert [(cell.metric, cell.method, cell.headline, cell.direction) for cell in cells] == [
        ("accuracy", "none", True, "higher"),
        ("accuracy", "sam", True, "higher"),
        ("loss", "none", False, "lower"),
        ("loss", "sam", False, "lower"),
        ("expected_calibration_error", "none", False, "lower"),
        ("expected_calibration_error", "sam", False, "lower"),
    ]
    first = cells[0]
    interval = stats.ttest_1samp(NONE, 0.0).confidence_interval(0.95)
    assert first.name == "AdamW"
    assert list(first.values.items()) == list(enumerate(NONE))
    assert (first.count, first.interval, first.train_examples, first.eval_examples) == (4, "Student t", 1000, 872)
    assert (first.mean, first.low, first.high) == pytest.approx((fmean(NONE), interval.low, interval.high))
    assert (cells[1].low, cells[1].high, cells[1].interval) == (-math.inf, math.inf, "")


def test_the_order_of_methods_and_tasks():
    labels = ["zzz", "vasso", "sam", "none-2x", "none"]
    groups = [make_runs(label, NONE, task_label=task) for label in labels for task in ("b", "a")]
    cells = compare(collection_of(*groups)).cells
    assert [(cell.task, cell.method) for cell in cells[:5]] == [
        ("a", label) for label in ("none", "none-2x", "sam", "vasso", "zzz")
    ]
    plan = plan_of([], ("b", "sam", 0), ("b", "none", 0), ("a", "vasso", 0))
    cells = compare(collection_of(*groups, plans=[plan])).cells
    assert [(cell.task, cell.method) for cell in cells[:5]] == [
        ("b", label) for label in ("sam", "none", "vasso", "none-2x", "zzz")
    ]


def test_contrasts_by_default():
    comparison = compare(collection_of(*three_methods(), make_runs("none-2x", NONE, passes=200)))
    assert [(contrast.first, contrast.second) for contrast in comparison.contrasts] == [
        ("vasso", "sam"),
        ("vasso", "none"),
        ("vasso", "none-2x"),
    ]
    labels = [(rows.first, rows.second) for rows in compare(collection_of(*three_methods()[:2])).contrasts]
    assert labels == [("sam", "none")]
    # By the method's name, not by the label.
    named = [make_runs("mine", VASSO, method_name="vasso-re"), make_runs("theirs", SAM, method_name="sam")]
    labels = [(rows.first, rows.second) for rows in compare(collection_of(*named)).contrasts]
    assert labels == [("mine", "theirs")]


def test_contrasts_of_a_plan_hold_for_its_tasks():
    plan = plan_of([["sam", "none"], ["vasso", "none"]], ("sst2", "sam", 0))
    groups = [*three_methods(), *three_methods(task_label="rte")]
    contrasts = compare(collection_of(*groups, plans=[plan, plan])).contrasts
    assert {(rows.task, rows.first, rows.second) for rows in contrasts} == {
        ("sst2", "sam", "none"),
        ("sst2", "vasso", "none"),
        ("rte", "vasso", "sam"),
        ("rte", "vasso", "none"),
    }
    assert (contrasts[0].first, contrasts[0].second) == ("sam", "none")  # the primary one


def test_families_are_corrected_apart():
    values = {"none": NONE * 3, "sam": SAM * 3, "vasso": VASSO * 3}
    groups = [
        [make_record(label, seed, task_label=task, metrics=metrics_of(value)) for seed, value in enumerate(of_label)]
        for task in ("sst2", "rte")
        for label, of_label in values.items()
    ]
    contrasts = compare(collection_of(*groups)).contrasts
    assert [rows.metric for rows in contrasts] == ["accuracy"] * 4 + ["loss"] * 4 + ["expected_calibration_error"] * 4
    assert {rows.comparisons for rows in contrasts} == {4}
    assert {rows.seeds_needed for rows in contrasts} == {8}
    headline = contrasts[:4]
    p_values = [
        sign_flip_p_value([a - b for a, b in zip(values[rows.first], values[rows.second], strict=True)])
        for rows in headline
    ]
    assert [rows.p_value for rows in headline] == p_values
    assert [rows.p_holm for rows in headline] == holm(p_values)
    first = headline[0]
    assert first.difference == paired_difference(dict(enumerate(VASSO * 3)), dict(enumerate(SAM * 3)))
    assert list(first.difference.values) == list(range(12))


def test_verdicts():
    higher, lower = [0.1 + value for value in NONE * 2], [value - 0.1 for value in NONE * 2]
    for values, verdict in ((higher, "better"), (lower, "worse"), (NONE * 2, "no difference shown")):
        groups = [make_runs("none", NONE * 2), make_runs("vasso", values)]
        assert [rows.verdict for rows in compare(collection_of(*groups)).contrasts] == [verdict]
    losses = [
        [make_record(label, seed, metrics={"bleu": 0.0, "loss": loss}) for seed, loss in enumerate(values)]
        for label, values in (("none", NONE * 2), ("vasso", lower))
    ]
    verdicts = {rows.metric: rows.verdict for rows in compare(collection_of(*losses)).contrasts}
    assert verdicts == {"bleu": "no difference shown", "loss": "better"}
    few = compare(collection_of(make_runs("none", NONE), make_runs("vasso", [1.0] * 4))).contrasts
    assert [rows.verdict for rows in few] == ["too few seeds"]


def test_what_was_planned_and_is_missing_is_corrected_for():
    groups = [make_runs("none", NONE * 2), make_runs("sam", SAM[:1]), make_runs("vasso", VASSO * 2)]
    comparison = compare(collection_of(*groups))
    against_sam, against_base = comparison.contrasts
    assert against_sam.p_holm is None
    assert against_base.p_holm == pytest.approx(2 * against_base.p_value)
    assert {(rows.comparisons, rows.seeds_needed) for rows in comparison.contrasts} == {(2, 7)}
    note = "On the headline metric 1 comparison (1 contrast on 1 task) is tested"
    assert any(
        words.startswith(note) and "as if all 2 that were planned were there" in words for words in comparison.notes
    )


def test_a_planned_task_without_any_record_is_corrected_for():
    runs = [(task, label, 0) for task in ("sst2", "rte", "cola") for label in ("none", "vasso")]
    plan = plan_of([["vasso", "none"]], *runs)
    sizes = [
        [
            make_record(label, seed, metrics=metrics_of(value), train_examples=size)
            for seed, value in enumerate(values * 2)
        ]
        for size in (1000, 3000)
        for label, values in (("none", NONE), ("vasso", VASSO))
    ]
    regression = [make_record("none", 0, task_label="stsb", metrics={"pearson": math.nan, "loss": 0.5})]
    comparison = compare(collection_of(*sizes, plans=[plan, plan]))
    # Each of the two sizes of sst2, and rte and cola, of which nothing is known.
    assert {(row.metric, row.comparisons) for row in comparison.contrasts} == {
        ("accuracy", 4),
        ("loss", 4),
        ("expected_calibration_error", 4),
    }
    p_values = [row.p_value or 0.0 for row in comparison.contrasts[:2]]
    assert [row.p_holm for row in comparison.contrasts[:2]] == holm([*p_values, 1.0, 1.0])[:2]
    assert "as if all 4 that were planned were there" in comparison.notes[0]
    # A task that is there without a calibration error has none to be tested, whatever its other values are.
    planned = plan_of([["vasso", "none"]], *runs, ("stsb", "none", 0))
    comparison = compare(collection_of(*sizes, regression, plans=[planned]))
    assert {(row.metric, row.comparisons) for row in comparison.contrasts} == {
        ("accuracy", 5),
        ("loss", 5),
        ("expected_calibration_error", 4),
    }


def test_only_equal_seeds_are_paired():
    groups = [make_runs("none", NONE), [make_record("vasso", seed, 0.8) for seed in (2, 3, 4)]]
    comparison = compare(collection_of(*groups))
    assert list(comparison.contrasts[0].difference.values) == [2, 3]
    assert comparison.contrasts[0].difference.mean == pytest.approx(fmean([0.8 - 0.69, 0.8 - 0.72]))
    assert (
        "On sst2, vasso minus AdamW leaves out 1 seed that only vasso has (4) and 2 seeds that only AdamW has (0, 1)."
    ) in comparison.notes


def test_one_common_seed_is_not_tested():
    comparison = compare(collection_of(make_runs("none", NONE[:1]), make_runs("vasso", VASSO[:1])))
    contrast = comparison.contrasts[0]
    assert (contrast.p_value, contrast.p_holm, contrast.comparisons, contrast.verdict) == (
        None,
        None,
        1,
        "too few seeds",
    )
    assert "One seed has no interval and no test: AdamW on sst2, vasso on sst2." in comparison.notes
    assert not any("sign-flip" in note for note in comparison.notes)


def test_pairs_that_cannot_be_compared_are_named():
    groups = [make_runs("none", NONE), [make_record("sam", 9, 0.8)]]
    notes = notes_of(*groups, contrasts=[("sam", "none"), ("vasso", "asam")])
    assert "On sst2, sam minus AdamW is not compared: the two have no seed in common." in notes
    assert "On sst2, vasso minus asam is not compared: there is no score of vasso and asam." in notes


def test_other_data_stand_as_tasks_of_their_own():
    groups = [*three_methods(), *three_methods(train_examples=3000), *three_methods(model="roberta")]
    comparison = compare(collection_of(*groups))
    tasks = dict.fromkeys((cell.model, cell.task) for cell in comparison.cells)
    assert list(tasks) == [
        ("bert", "sst2 (1000 training examples)"),
        ("bert", "sst2 (3000 training examples)"),
        ("roberta", "sst2"),
    ]
    assert {(cell.count, cell.train_examples) for cell in comparison.cells} == {(4, 1000), (4, 3000)}
    assert (
        "sst2 was run on different data, which are never averaged or compared: sst2 (1000 training examples) with "
        "bert, sst2 (3000 training examples) with bert."
    ) in comparison.notes


def test_a_label_that_reads_like_another_one_with_its_data_stays_a_task_of_its_own():
    groups = [make_runs("none", NONE, task_label="rte (1000 training examples)")]
    groups += [make_runs("none", NONE, task_label="rte", train_examples=size) for size in (1000, 3000)]
    cells = compare(collection_of(*groups)).cells
    assert [cell.task for cell in cells] == [
        "rte (1000 training examples)",
        "rte (3000 training examples)",
        "rte (1000 training examples), another",
    ]


def test_only_as_many_words_as_are_needed_tell_data_apart():
    noisy = {**make_record().arguments, "label_noise": 0.3}
    groups = [
        make_runs("none", NONE),
        make_runs("none", NONE, arguments=noisy, data={"source": "x", "fingerprint": "other"}),
        make_runs("none", NONE, arguments=noisy, data={"source": "x", "fingerprint": "third"}),
    ]
    tasks = {cell.task for cell in compare(collection_of(*groups)).cells}
    assert tasks == {
        "sst2 (label noise none, data 0123456789abcdef)",
        "sst2 (label noise 0.3, data other)",
        "sst2 (label noise 0.3, data third)",
    }


def from_model(fingerprint):
    return {"arguments": {**make_record().arguments, **({"model_fingerprint": fingerprint} if fingerprint else {})}}


def test_models_of_one_name_are_never_averaged_or_compared():
    groups = [
        [make_record("none", seed, 0.5) for seed in (0, 1)],
        [make_record("sam", seed, 0.6, **from_model("a" * 16)) for seed in (0, 1)],
        [make_record("none", seed, 0.7, **from_model("a" * 16)) for seed in (0, 1)],
        [make_record("none", seed, 0.9, **from_model("b" * 16)) for seed in (2, 3)],
    ]
    comparison = compare(collection_of(*groups))
    assert {(cell.task, cell.method): (cell.count, cell.mean) for cell in comparison.cells} == {
        ("sst2 (model fingerprint none)", "none"): (2, pytest.approx(0.5)),
        (f"sst2 (model fingerprint {'a' * 16})", "none"): (2, pytest.approx(0.7)),
        (f"sst2 (model fingerprint {'a' * 16})", "sam"): (2, pytest.approx(0.6)),
        (f"sst2 (model fingerprint {'b' * 16})", "none"): (2, pytest.approx(0.9)),
    }
    assert [contrast.difference.mean for contrast in comparison.contrasts] == [pytest.approx(-0.1)]
    assert any(
        note.startswith(
            "sst2 was run with models of one name and different fingerprints, which are never averaged or compared: "
            f"sst2 (model fingerprint {'a' * 16}), "
        )
        for note in comparison.notes
    )
    both = compare(collection_of(groups[1], make_runs("none", NONE, train_examples=10)))
    assert any(
        note.startswith("sst2 was run on different data and with models of one name and different fingerprints, which")
        for note in both.notes
    )


def test_values_that_are_not_finite():
    groups = [make_runs("none", NONE), make_runs("vasso", [0.8, math.nan, 0.7, 0.6])]
    comparison = compare(collection_of(*groups))
    cell = next(cell for cell in comparison.cells if cell.method == "vasso")
    assert (list(cell.values), cell.mean) == ([0, 2, 3], pytest.approx(0.7))
    assert list(comparison.contrasts[0].difference.values) == [0, 2, 3]
    assert (
        "On sst2, the accuracy of vasso with seed 1 is not a finite number: it is left out of the mean, which "
        "flatters the method, and the run counts as collapsed."
    ) in comparison.notes
    assert [(row.method, row.collapsed, row.count) for row in comparison.collapses] == [
        ("none", 0, 4),
        ("vasso", 1, 4),
    ]
    nothing = compare(collection_of(make_runs("none", NONE), make_runs("vasso", [math.nan] * 2)))
    assert {cell.method for cell in nothing.cells} == {"none"}
    assert nothing.contrasts == []


def test_collapsed_runs_are_counted_where_it_is_known():
    runs = [make_record("none", seed, collapsed=collapsed) for seed, collapsed in enumerate((True, False, None, True))]
    assert [(row.collapsed, row.count) for row in compare(collection_of(runs)).collapses] == [(2, 3)]


def test_an_average_over_tasks_by_hand():
    groups = [
        make_runs("none", [0.5, 0.7]),
        make_runs("sam", [0.6, 0.9]),
        make_runs("none", [0.1, 0.2], task="rte", task_label="rte"),
        make_runs("sam", [0.3, 0.3], task="rte", task_label="rte"),
        make_runs("none", [0.9, 0.9], task="cola", task_label="cola"),
    ]
    aggregates = compare(collection_of(*groups)).aggregates
    assert [(row.name, row.second) for row in aggregates] == [
        ("AdamW", None),
        ("sam", None),
        ("sam minus AdamW", "none"),
    ]
    assert [row.mean for row in aggregates] == pytest.approx([(0.6 + 0.15) / 2, (0.75 + 0.3) / 2, (0.15 + 0.15) / 2])
    assert {row.tasks for row in aggregates} == {("sst2", "rte")}
    # Of 16 equally likely resamples of the base's two tasks, (0.5 + 0.1) / 2 and (0.7 + 0.2) / 2 are the ends.
    assert (aggregates[0].low, aggregates[0].high) == pytest.approx((0.3, 0.45))
    assert (
        "The average is the mean over 2 tasks: sst2 (accuracy), rte (accuracy). Left out, as not all methods have "
        "it: cola. The interval of an average, a bootstrap stratified on tasks and seeds, is about other seeds, not "
        "about other tasks. With fewer than 20 seeds it is too narrow."
    ) in compare(collection_of(*groups)).notes


def test_one_task_has_no_average():
    assert compare(collection_of(*three_methods())).aggregates == []
    groups = [
        *three_methods(),
        make_runs("vasso", VASSO, task_label="rte"),
        make_runs("none", NONE, task_label="cola"),
    ]
    comparison = compare(collection_of(*groups))
    assert comparison.aggregates == []
    assert (
        "No average of the methods over tasks is printed, as fewer than two tasks have all methods."
        in comparison.notes
    )


def test_averages_of_contrasts_alone_are_explained():
    groups = [make_runs(label, NONE * 5, task_label=task) for label in ("none", "sam") for task in ("sst2", "rte")]
    groups.append(make_runs("vasso", VASSO * 5, task_label="sst2"))
    contrasts = [["sam", "none"], ["vasso", "none"]]
    plan = plan_of(contrasts, ("sst2", "sam", 0), ("rte", "sam", 0))
    comparison = compare(collection_of(*groups, plans=[plan]))
    assert [row.name for row in comparison.aggregates] == ["sam minus AdamW"]
    note = (
        "No average of the methods over tasks is printed, as fewer than two tasks have all methods. The interval of "
        "an average, a bootstrap stratified on tasks and seeds, is about other seeds, not about other tasks."
    )
    assert note in comparison.notes


def test_one_average_of_few_seeds_makes_intervals_too_narrow():
    """The first average, of the base, is one of 20 seeds; that of the contrast has 4 pairs."""
    groups = [make_runs("none", NONE * 5, task_label=task) for task in ("sst2", "rte")]
    groups += [make_runs("sam", SAM, task_label=task) for task in ("sst2", "rte")]
    assert "With fewer than 20 seeds it is too narrow." in notes_of(*groups)
    assert "too narrow" not in notes_of(*(make_runs("none", NONE * 5, task_label=task) for task in ("sst2", "rte")))


def test_the_average_of_contrasts_is_paired():
    generator = np.random.default_rng(0)
    shared = generator.normal(0.7, 0.1, (2, 25))  # what a seed gives to both methods is far more than their difference
    gains = generator.normal(0.01, 0.001, (2, 25))
    groups = []
    for task, base, gain in zip(("sst2", "rte"), shared, gains, strict=True):
        groups += [
            make_runs("none", base.tolist(), task_label=task),
            make_runs("sam", (base + gain).tolist(), task_label=task),
        ]
    contrast = compare(collection_of(*groups)).aggregates[-1]
    means = generator.choice(gains[0], (20_000, 25)).mean(1) + generator.choice(gains[1], (20_000, 25)).mean(1)
    low, high = np.quantile(means / 2, (0.025, 0.975))
    assert (contrast.mean, contrast.seeds) == (pytest.approx(gains.mean()), (25, 25))
    assert (contrast.low, contrast.high) == pytest.approx((low, high), abs=3e-5)


def test_a_task_counts_once_whatever_its_metrics():
    mnli = {"accuracy": 0.8, "loss": 0.5, "accuracy_mismatched": 0.6, "loss_mismatched": 0.4}
    mrpc = {"accuracy": 0.7, "f1": 0.9, "expected_calibration_error": 0.1}
    stsb = {"pearson": 0.5, "spearmanr": 0.7}
    tasks = {"mrpc": mrpc, "mnli": mnli, "stsb": stsb, "sst2": {"accuracy": 0.2}}
    groups = [
        [make_record("none", seed, task=task, task_label=task, metrics=metrics) for seed in range(2)]
        for task, metrics in tasks.items()
    ]
    comparison = compare(collection_of(*groups))
    assert comparison.aggregates[0].tasks == ("sst2", "mrpc", "stsb", "mnli")  # GLUE's order
    assert comparison.aggregates[0].mean == pytest.approx((0.2 + 0.8 + 0.6 + 0.7) / 4)
    assert (
        "sst2 (accuracy), mrpc (F1 and accuracy), stsb (Pearson and Spearman), mnli (accuracy and accuracy "
        "(mismatched)). A task with several metrics counts once, with their mean."
    ) in "\n".join(comparison.notes)


@pytest.mark.parametrize("missing", ["accuracy", "f1"])
def test_a_task_of_which_one_metric_is_missing_has_no_score(missing):
    metrics = {"accuracy": 0.7, "f1": 0.9}
    groups = [
        [make_record("none", seed, metrics=metrics) for seed in range(2)],
        [make_record("sam", seed, metrics={**metrics, missing: math.nan}) for seed in range(2)],
    ]
    assert [score.method for score in compare(collection_of(*groups)).task_scores] == ["none"]


def test_shares_and_other_scales_are_averaged_apart():
    translation = {"bleu": 30.0, "chrf": 50.0, "validation_bleu": 31.0}
    groups = [make_runs("none", [0.5, 0.5], task_label=task) for task in ("sst2", "rte")]
    groups += [[make_record("none", seed, task_label=t, metrics=translation) for seed in (0, 1)] for t in ("de", "fr")]
    aggregates = compare(collection_of(*groups)).aggregates
    assert [(row.metric, row.mean, row.tasks) for row in aggregates] == [
        ("bleu", 30.0, ("de", "fr")),
        ("score", 0.5, ("rte", "sst2")),
    ]


def test_costs():
    comparison = compare(collection_of(*three_methods()))
    costs = {cost.method: cost for cost in comparison.costs}
    assert (costs["none"].passes, costs["sam"].passes, costs["sam"].steps) == (100, 200, 100)
    assert (costs["none"].relative, costs["sam"].relative) == (1.0, 2.0)
    assert (costs["sam"].train_seconds, costs["sam"].peak_memory_bytes, costs["sam"].count) == (20.0, 200 * 2**20, 4)


def test_a_suspended_run_does_not_change_the_time():
    suspended = {**make_record().cost, "seconds_per_step": 1000.0, "train_seconds": 1e6}
    base = [make_record("none", 9, cost=suspended), *make_runs("none", NONE)]
    cost = compare(collection_of(base, make_runs("sam", SAM))).costs[1]
    assert cost.relative == 2.0


@pytest.mark.parametrize("change", [{"device": "NVIDIA H100"}, {"threads": 2}])
def test_times_on_different_machines_are_not_divided(change):
    environment = {**make_record().environment, **change}
    comparison = compare(collection_of(*three_methods()[:2], make_runs("vasso", VASSO, environment=environment)))
    assert [cost.relative for cost in comparison.costs] == [1.0, 2.0, None]
    notes = "\n".join(comparison.notes)
    assert (
        "On sst2 the time of vasso is not divided by that of AdamW: they were measured on different devices" in notes
    )
    assert f"The runs differ in {next(iter(change))}: " in notes


def test_without_a_base_or_a_time_there_is_no_relative_time():
    assert "On sst2 no relative time is given, as there is no run without a method." in notes_of(*three_methods()[1:])
    untimed = {**make_record().cost, "seconds_per_step": 0.0}
    comparison = compare(collection_of(make_runs("none", NONE, cost=untimed), make_runs("sam", SAM)))
    assert [cost.relative for cost in comparison.costs] == [None, None]


def test_environments_that_differ_are_named():
    older = {**make_record().environment, "packages": {"torch": "2.12.0"}, "commit": None}
    notes = notes_of(make_runs("none", NONE), make_runs("sam", SAM[:1], environment=older))
    assert "The runs differ in torch: 2.13.0 (4 runs), 2.12.0 (1 run)." in notes
    assert f"The runs differ in commit: {'0' * 40} (4 runs), unknown (1 run)." in notes
    assert "threads" not in notes


def test_a_missing_base_with_as_many_passes():
    missing = (
        "A base with as many passes is missing for sam on sst2, vasso on sst2; give it as a method label such as "
        "none-2x: {method: none, num_train_epochs: 6}."
    )
    assert missing in notes_of(*three_methods())
    assert "as many passes" not in notes_of(*three_methods(), make_runs("none-2x", NONE, passes=205))
    without_base = plan_of([["vasso", "sam"]], ("sst2", "sam", 0))
    assert missing in notes_of(*three_methods(), plans=[without_base])  # no contrast with a base
    assert missing in notes_of(*three_methods()[1:])  # no base at all
    assert "as many passes" not in notes_of(*three_methods()[2:])  # nothing is compared
    assert missing in notes_of(*three_methods(), make_runs("none-2x", NONE, passes=150))
    by_steps = {**make_record().arguments, "max_steps": 100}
    assert "none-2x: {method: none, max_steps: 200}" in notes_of(*three_methods(arguments=by_steps))


def plan_with(**choices) -> SuitePlan:
    """A suite of SST-2 that has chosen numbers; `choices` are method label to what differs from a clear choice."""
    clear = {"chosen": {"rho": 0.1}, "metric": "accuracy", "holdout_samples": 100, "notes": []}
    clear |= {"score": 0.8, "runner_up_score": 0.7}
    plan = plan_of([["vasso", "sam"]], *(("sst2", label, 0) for label in choices))
    return replace(plan, selection={"sst2": {label: clear | choice for label, choice in choices.items()}})


def test_a_choice_at_the_end_of_its_grid_is_said():
    end = "rho 0.1 is the largest value tried; better ones may lie beyond"
    notes = notes_of(*three_methods(), plans=[plan_with(none={"notes": [end]}, sam={"notes": [end]}, vasso={})])
    assert f"AdamW on sst2: {end}.\nsam on sst2: {end}.\n" in notes
    assert notes.count(end) == 2


def test_how_far_a_choice_is_ahead_is_said():
    words = "lie within one standard error of an accuracy on 100 held-out examples for"
    # sqrt(0.8 * 0.2 / 100) = 0.04
    plan = plan_with(vasso={}, sam={"runner_up_score": 0.761}, none={"runner_up_score": 0.759})
    assert f"{words} 1 of 3 choices: there the choice is partly luck." in notes_of(*three_methods(), plans=[plan])
    assert f"{words} 0 of 1 choices." in notes_of(*three_methods(), plans=[plan_with(vasso={})])


def test_a_choice_is_that_of_its_model():
    """Two suites of one task, each with a model of its own."""
    of_bert = plan_with(vasso={"notes": ["rho 0.1 is the largest value tried"], "chosen": {"rho": 0.1}})
    of_roberta = plan_with(vasso={"chosen": {"rho": 0.2}})
    of_roberta = replace(of_roberta, runs=[replace(run, model="roberta") for run in of_roberta.runs])
    groups = [make_runs("vasso", VASSO), make_runs("vasso", VASSO, model="roberta")]
    collection = collection_of(*groups, plans=[of_bert, of_roberta])
    comparison = compare(collection)
    told = [note for note in comparison.notes if "largest value" in note]
    assert told == ["vasso on sst2 with bert: rho 0.1 is the largest value tried."]
    rows = setting_rows(collection, comparison.tasks)
    chosen = {row["model"]: str(row["chosen on held-out training examples"])[:7] for row in rows}
    assert chosen == {"bert": "rho 0.1", "roberta": "rho 0.2"}


@pytest.mark.parametrize("choice", [{"metric": "f1"}, {"runner_up_score": None}, {"score": 1.5}, {"score": -1}])
def test_where_the_lead_of_a_choice_is_unknown_nothing_is_said(choice):
    assert "held-out accuracies" not in notes_of(*three_methods(), plans=[plan_with(vasso=choice)])


def test_a_choice_of_an_earlier_version_has_neither_notes_nor_scores():
    plan = plan_with(vasso={})
    earlier = {"chosen": {"rho": 0.1}, "trials": 2, "metric": "accuracy", "holdout_samples": 100, "seeds": [1]}
    plan = replace(plan, selection={"sst2": {"vasso": earlier}})
    assert "held-out accuracies" not in notes_of(*three_methods(), plans=[plan])


def test_how_many_seeds_are_needed_is_said():
    assert (
        "On the headline metric 2 comparisons (2 contrasts on 1 task) are tested by an exact two-sided sign-flip "
        "test on equal seeds and corrected together by Holm's method. To reach p = 0.05 that needs 7 seeds; there "
        "are 4, so no difference can be shown, however large it is: no star can be had."
    ) in notes_of(*three_methods())
    enough = notes_of(make_runs("none", NONE * 2), make_runs("vasso", VASSO * 2))
    assert "On the headline metric 1 comparison (1 contrast on 1 task) is tested" in enough
    assert "that needs 6 seeds; there are 8.\n" in enough
    mixed = notes_of(make_runs("none", NONE * 2), make_runs("sam", SAM), make_runs("vasso", VASSO * 2))
    assert "that needs 7 seeds; there are 4 to 8, and those with fewer can hardly show one." in mixed
    many = notes_of(make_runs("none", NONE * 11), make_runs("vasso", VASSO * 11))
    assert "Beyond 40 seeds the test draws 99,999" in many
    assert "is tested by a two-sided sign-flip test" in many and "exact" not in many


def test_the_kind_of_interval_is_said():
    assert "Intervals are 95 % intervals of a mean over seeds: Student's t below 20 seeds." in notes_of(
        *three_methods()
    )
    many = notes_of(make_runs("none", NONE * 5), make_runs("sam", SAM))
    assert "Student's t below 20 seeds and percentiles of a bootstrap with 9,999 resamples from 20 seeds on." in many


def test_nothing_to_compare():
    comparison = compare(collection_of())
    assert (comparison.cells, comparison.contrasts, comparison.aggregates, comparison.notes) == ([], [], [], [])

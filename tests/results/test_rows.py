"""The rows of every table, word for word."""

import math

from made_records import collection_of, make_record, make_runs

from hf_vasso.results.comparison import compare
from hf_vasso.results.comparison.metric_words import format_difference, format_value, is_percent, metric_name
from hf_vasso.results.report.rows import (
    aggregate_rows,
    contrast_rows,
    cost_rows,
    score_rows,
    secondary_rows,
    seed_rows,
)

MRPC = {"accuracy": 0.8, "f1": 0.9, "loss": 0.45, "expected_calibration_error": 0.05}
MNLI = {"accuracy": 0.7, "loss": 0.6, "accuracy_mismatched": 0.6}


def glue():
    groups = [make_runs(label, [0.50, 0.52]) for label in ("none", "vasso")]
    for task, metrics in (("mrpc", MRPC), ("mnli", MNLI)):
        for label in ("none", "vasso"):
            runs = [make_record(label, seed, task=task, task_label=task, metrics=metrics) for seed in range(3)]
            groups.append(runs)
    return compare(collection_of(*groups))


def test_scores_as_people_print_glue():
    # ± t(0.975, 1) * 0.02 / 2 = 12.706 * 0.01 = 12.7 %; the average's ends are 1/3 of 50 and 52 beside 85 and 65.
    expected = {
        "sst2 accuracy ↑ (%)": "51.0 ± 12.7",
        "mrpc F1/accuracy ↑ (%)": "90.0 ± 0.0 / 80.0 ± 0.0",
        "mnli accuracy m/mm ↑ (%)": "70.0 ± 0.0 / 60.0 ± 0.0",
        "average score (%)": "67.0 ± 0.3",
        "n": "2–3",
    }
    assert score_rows(glue()) == [{"method": name, **expected} for name in ("AdamW", "vasso")]


def test_the_most_frequent_label_stands_below_the_methods():
    majority = {"accuracy": 0.684, "f1": 0.812}
    metrics = {"f1": 0.85, "accuracy": 0.8}
    groups = [
        [make_record("none", task_label="mrpc", metrics=metrics)],  # of a version that did not tell it
        [make_record("sam", task_label="mrpc", metrics=metrics, majority=majority)],
        make_runs("sam", [0.9]),
    ]
    rows = score_rows(compare(collection_of(*groups)))
    assert rows[-1] == {
        "method": "majority class",
        "mrpc F1/accuracy ↑ (%)": "81.2 / 68.4",
        "sst2 accuracy ↑ (%)": "",
        "n": "",
    }
    assert [row["method"] for row in rows] == ["AdamW", "sam", "majority class"]


def test_scores_where_some_are_missing():
    groups = [make_runs("none", [0.5]), [make_record("sam", task_label="rte", metrics={"bleu": 30.0})]]
    assert score_rows(compare(collection_of(*groups))) == [
        {"method": "sam", "rte sacreBLEU ↑": "30.00", "sst2 accuracy ↑ (%)": "", "n": "1"},
        {"method": "AdamW", "rte sacreBLEU ↑": "", "sst2 accuracy ↑ (%)": "50.0", "n": "1"},
    ]


def test_the_model_is_named_where_there_are_several():
    groups = [make_runs("none", [0.5, 0.5]), make_runs("none", [0.6, 0.6], model="roberta")]
    comparison = compare(collection_of(*groups))
    assert [(row["model"], row["sst2 accuracy ↑ (%)"]) for row in score_rows(comparison)] == [
        ("bert", "50.0 ± 0.0"),
        ("roberta", "60.0 ± 0.0"),
    ]
    assert all("model" in row for rows in (secondary_rows, cost_rows, seed_rows) for row in rows(comparison))


def test_a_base_with_another_optimizer_on_another_task_is_one_row():
    by_sgd = {**make_record().arguments, "optim": "sgd"}
    groups = [make_runs("none", [0.5, 0.5]), make_runs("none", [0.6, 0.6], task_label="rte", arguments=by_sgd)]
    groups += [make_runs("sam", [0.7, 0.7], task_label=task) for task in ("sst2", "rte")]
    comparison = compare(collection_of(*groups))
    first, second = score_rows(comparison)
    assert (first["method"], second["method"]) == ("SGD/AdamW", "sam")
    assert (first["rte accuracy ↑ (%)"], first["sst2 accuracy ↑ (%)"]) == ("60.0 ± 0.0", "50.0 ± 0.0")
    assert first["average score (%)"] == "55.0 ± 0.0"
    assert [row["contrast"] for row in aggregate_rows(comparison)] == ["sam minus SGD/AdamW"]
    assert [row["contrast"] for row in contrast_rows(comparison)] == ["sam minus SGD", "sam minus AdamW"]


def test_what_stands_beside_the_score():
    first, second, third, *_ = secondary_rows(glue())
    assert first == {
        "task": "sst2",
        "method": "AdamW",
        "loss ↓": "",
        "calibration error (%) ↓": "",
        "collapsed": "0 of 2",
        "n": "",
    }
    assert (second["method"], third["task"]) == ("vasso", "mrpc")
    assert (third["loss ↓"], third["calibration error (%) ↓"], third["n"]) == ("0.4500 ± 0.0000", "5.0 ± 0.0", "3")


def test_contrasts():
    values = [0.70, 0.71, 0.69, 0.72, 0.70, 0.71]
    losses = [0.5, 0.4, 0.5, 0.4, 0.5, 0.4]
    groups = [
        [
            make_record(label, seed, metrics={"accuracy": value + gain, "loss": loss - gain})
            for seed, (value, loss) in enumerate(zip(values, losses, strict=True))
        ]
        for label, gain in (("none", 0.0), ("vasso", 0.0125))
    ]
    assert contrast_rows(compare(collection_of(*groups))) == [
        {
            "task": "sst2",
            "metric": "accuracy (%) ↑",
            "contrast": "vasso minus AdamW",
            "difference": "+1.25",
            "95 % interval": "[+1.25, +1.25]",
            "n": "6",
            "p": "0.031",
            "p (Holm)": "0.031",
            "verdict": "better",
        },
        {
            "task": "sst2",
            "metric": "loss ↓",
            "contrast": "vasso minus AdamW",
            "difference": "-0.0125",
            "95 % interval": "[-0.0125, -0.0125]",
            "n": "6",
            "p": "0.031",
            "p (Holm)": "0.031",
            "verdict": "better",
        },
    ]


def test_a_single_pair_has_neither_interval_nor_p():
    row = contrast_rows(compare(collection_of(make_runs("none", [0.5]), make_runs("vasso", [0.6]))))[0]
    assert (row["difference"], row["95 % interval"], row["p"], row["p (Holm)"]) == ("+10.00", "", "", "")


def test_averages_of_contrasts():
    assert aggregate_rows(glue()) == [
        {
            "contrast": "vasso minus AdamW",
            "average score (%) difference": "+0.00",
            "95 % interval": "[+0.00, +0.00]",
            "tasks": "sst2, mrpc, mnli",
            "n": "2–3",
        }
    ]


def test_costs():
    rows = cost_rows(compare(collection_of(make_runs("none", [0.5, 0.6]), make_runs("vasso", [0.5]))))
    assert rows[1] == {
        "task": "sst2",
        "method": "vasso",
        "forward passes": "200",
        "steps": "100",
        "seconds per step": "0.2000",
        "relative to the base": "2.00",
        "training (s)": "20.0",
        "peak memory (MiB)": "200",
        "n": "1",
    }
    assert (rows[0]["relative to the base"], rows[0]["n"]) == ("1.00", "2")
    assert cost_rows(compare(collection_of(make_runs("vasso", [0.5]))))[0]["relative to the base"] == ""


def test_tokens_per_second_where_a_task_counts_them():
    (counting,) = make_runs("none", [0.5], task="multi30k", task_label="multi30k")
    counting.cost["tokens_per_second"] = 4489.4
    rows = cost_rows(compare(collection_of(make_runs("none", [0.5]), [counting])))
    assert {row["task"]: row["tokens per second"] for row in rows} == {"sst2": "", "multi30k": "4489"}


def test_every_seeds_value():
    rows = seed_rows(compare(collection_of(make_runs("none", [0.1 + 0.2, math.nan, 0.5]))))
    place = {"task": "sst2", "metric": "accuracy", "method": "AdamW"}
    assert rows == [
        {**place, "seed": "0", "value": "0.30000000000000004"},
        {**place, "seed": "2", "value": "0.5"},
    ]


def test_nothing_to_print():
    comparison = compare(collection_of())
    for rows in (score_rows, secondary_rows, contrast_rows, aggregate_rows, cost_rows, seed_rows):
        assert rows(comparison) == []


def test_words_and_units_of_metrics():
    assert [metric_name(name) for name in ("matthews_correlation", "spearmanr", "bleu", "made_up")] == [
        "Matthews correlation",
        "Spearman",
        "sacreBLEU",
        "made up",
    ]
    assert [is_percent(name) for name in ("accuracy_mismatched", "score", "loss", "bleu")] == [
        True,
        True,
        False,
        False,
    ]
    assert format_value("expected_calibration_error_mismatched", 0.0512) == "5.1"
    assert format_difference("accuracy", -0.00001) == "+0.00"
    assert format_difference("bleu", 0.123) == "+0.12"


def test_averages_of_several_kinds_of_metrics_stand_in_columns_of_their_own():
    metrics = {"sst2": {"accuracy": 0.8}, "rte": {"accuracy": 0.6}, "de": {"bleu": 30.0}, "fr": {"bleu": 40.0}}
    better = {"none": 0.0, "sam": 0.1}
    groups = [
        [
            make_record(label, seed, task=task, task_label=task, metrics={name: value + more})
            for seed in (0, 1)
            for task, of_task in metrics.items()
            for name, value in of_task.items()
        ]
        for label, more in better.items()
    ]
    rows = aggregate_rows(compare(collection_of(*groups)))
    columns = ("average score (%) difference", "average sacreBLEU difference")
    assert sorted([row[column] for column in columns] for row in rows) == [["", "+0.10"], ["+10.00", ""]]


def test_models_with_other_metrics_of_a_task_and_tasks_whose_words_are_alike_have_columns_of_their_own():
    of_model = {"bert": {"accuracy": 0.5}, "roberta": {"f1": 0.4, "accuracy": 0.6}}
    groups = [[make_record("none", model=model, metrics=metrics)] for model, metrics in of_model.items()]
    rows = score_rows(compare(collection_of(*groups)))
    columns = ("sst2 accuracy ↑ (%)", "sst2 F1/accuracy ↑ (%)")
    assert [[row[column] for column in columns] for row in rows] == [["50.0", ""], ["", "40.0 / 60.0"]]

    groups = [
        [make_record("none", task=task, task_label=task, metrics={metric: value})]
        for task, metric, value in (("a", "b_loss", 0.25), ("a b", "loss", 0.5))
    ]
    (row,) = score_rows(compare(collection_of(*groups)))
    assert {"0.2500", "0.5000"} < set(row.values())


def test_a_loss_beyond_all_measure_is_a_power_of_ten():
    assert format_value("loss", 999_999.0) == "999999.0000"
    assert format_value("loss", 3.4e30) == "3.400e+30"
    assert format_difference("loss", -3.4e30) == "-3.400e+30"

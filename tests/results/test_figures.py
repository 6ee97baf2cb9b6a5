"""Figures show the numbers of the records, are files of harmless names, and draw whatever a record is called."""

import math
import re
from dataclasses import replace
from statistics import fmean

import pytest
import synthetic_runs

from hf_vasso.results.collection import Collection
from hf_vasso.results.comparison import compare
from hf_vasso.results.record import Record
from hf_vasso.results.report.drawing import draw_panel, short, styles
from hf_vasso.results.report.figures import Drawing, draw_figures

RECORDS = [
    synthetic_runs.record("sst2-clean", label, seed)
    for label in synthetic_runs.METHODS
    for seed in synthetic_runs.SEEDS
]


def draw(records: list[Record]) -> dict[str, Drawing]:
    """The figures of records, by the first part of their names."""
    drawings = draw_figures(compare(Collection(records, [], [], [], [])))
    return {"-".join(drawing.name.split("-")[:2]): drawing for drawing in drawings}


@pytest.fixture(scope="module")
def drawings() -> dict[str, Drawing]:
    return draw(RECORDS)


def of_label(label: str) -> list[Record]:
    return [record for record in RECORDS if record.label == label]


def test_which_there_are(drawings):
    assert list(drawings) == [
        "scores-1",
        "differences-1",
        "differences-2",
        "differences-3",
        "trade-1",
        "loss-1",
        "gap-1",
    ]


def test_scores_have_every_seed(drawings):
    values = {(row["method"], row["seed"]): row["value"] for row in drawings["scores-1"].rows}
    assert values == {
        ("AdamW" if record.label == "none" else record.label, record.seed): record.metrics["accuracy"]
        for record in RECORDS
    }
    mean = fmean(record.metrics["accuracy"] for record in of_label("sam"))
    assert f"sam {100 * mean:.1f} [" in drawings["scores-1"].text


def test_differences_are_those_of_the_records(drawings):
    row = next(row for row in drawings["differences-2"].rows if row["second"] == "sam")
    assert (row["metric"], row["n"]) == ("loss", 10)
    pairs = zip(of_label("vasso"), of_label("sam"), strict=True)
    expected = fmean(first.metrics["loss"] - second.metrics["loss"] for first, second in pairs)
    assert row["difference"] == pytest.approx(expected, abs=1e-12)


def test_the_pareto_front_is_what_nothing_dominates(drawings):
    rows = drawings["trade-1"].rows
    for row in rows:
        dominated = any(
            other["forward passes"] <= row["forward passes"] and other["mean"] > row["mean"] for other in rows
        )
        assert row["on the Pareto front"] == ("no" if dominated else "yes"), row
    assert {row["on the Pareto front"] for row in rows} == {"yes", "no"}


def test_the_pareto_front_of_a_metric_that_should_be_low():
    low = [
        replace(record, directions={**record.directions, "accuracy": "lower"}, metrics={"accuracy": 1 - value})
        for record in RECORDS
        for value in [record.metrics["accuracy"]]
    ]
    front = {row["method"]: row["on the Pareto front"] for row in draw(low)["trade-1"].rows}
    assert front == {row["method"]: row["on the Pareto front"] for row in draw(RECORDS)["trade-1"].rows}


def test_curves_are_means_in_a_band(drawings):
    row = next(row for row in drawings["gap-1"].rows if row["method"] == "vasso" and row["step"] == 124)
    at = [record.history["sharpness/gap"][record.history["step"].index(124)] for record in of_label("vasso")]
    assert (row["lowest"], row["highest"], row["n"]) == (min(at), max(at), 10)
    assert row["mean"] == pytest.approx(sum(at) / 10, rel=1e-12)


def test_a_step_without_a_value_is_left_out():
    record = RECORDS[0]
    history = {"step": [1.0, 2.0, 3.0], "loss": [0.5, None, 0.3]}
    rows = draw([replace(record, history=history)])["loss-1"].rows
    assert [(row["step"], row["mean"]) for row in rows] == [(1.0, 0.5), (3.0, 0.3)]


def test_what_a_figure_shows_is_said_in_words(drawings):
    for name, drawing in drawings.items():
        assert drawing.title and "vasso" in drawing.text, name
        assert "<text" in drawing.svg, name  # words, not outlines


def test_a_method_without_a_finite_score_keeps_its_curve():
    nothing = [replace(record, metrics=dict.fromkeys(record.metrics, math.nan)) for record in of_label("sam")]
    drawings = draw([*of_label("none"), *nothing])
    assert {row["method"] for row in drawings["loss-1"].rows} == {"AdamW", "sam"}
    assert {row["method"] for row in drawings["scores-1"].rows} == {"AdamW"}


@pytest.mark.parametrize("label", ["_sam", "__"])
def test_a_label_that_matplotlib_would_hide_is_in_the_legend(label):
    for name, drawing in draw([replace(record, label=label) for record in of_label("vasso")]).items():
        assert f">{label}" in drawing.svg, name


def test_a_base_goes_by_its_optimizer_on_each_task():
    by_sgd = [
        replace(record, task_label="other", arguments={**record.arguments, "optim": "sgd"})
        for record in of_label("none")
    ]
    drawings = draw([*of_label("none"), *by_sgd])
    for kind in ("scores", "trade", "loss"):
        names = [{row["method"] for row in drawings[f"{kind}-{number}"].rows} for number in (1, 2)]
        assert names == [{"SGD"}, {"AdamW"}], kind


def test_differences_are_titled_by_what_they_share(drawings):
    assert drawings["differences-1"].title == "Paired differences: accuracy"
    cola = [
        replace(
            record,
            task_label="cola",
            metrics={"matthews_correlation": 0.5},
            directions={"matthews_correlation": "higher"},
        )
        for record in RECORDS
    ]
    assert draw([*RECORDS, *cola])["differences-1"].title == "Paired differences: score"


@pytest.mark.parametrize("name", ["$x$ \\frac", "</svg><script>", "&amp;", "日本語 🙂", "a" * 200, "../../x"])
def test_any_name_can_be_drawn(name):
    for drawing in draw([replace(record, label=name, task_label=name) for record in of_label("vasso")]).values():
        assert re.fullmatch("[a-z0-9-]{1,60}", drawing.name)
        assert "<script" not in drawing.svg


def test_one_seed_has_no_interval():
    drawings = draw([record for record in RECORDS if record.seed == 0])
    assert "[" not in drawings["scores-1"].text
    assert all(math.isinf(row["low"]) for row in drawings["differences-1"].rows)


# --- how figures look ---


def test_equal_drawings_are_equal_text():
    panels = [draw_panel("name", "title", 2, lambda axes: axes.plot([1, 2])) for _ in range(2)]
    assert panels[0] == panels[1]
    assert panels[0].startswith("<svg")


def test_panels_of_a_page_share_no_ids():
    ids = [set(re.findall(r'\sid="([^"]+)"', draw_panel(name, "", 2, lambda axes: None))) for name in ("one", "two")]
    assert ids[0] and not ids[0] & ids[1]


def test_methods_are_told_apart_by_colour_and_marker():
    look = styles({label: label for label in ("sam", "none", *map(str, range(11)))})
    assert look["none"].colour == "#6f7780"
    assert len({(style.colour, style.marker) for style in look.values()}) == 13


def test_short():
    assert short("two\n words") == "two words"
    assert len(short("x" * 100, 10)) == 10

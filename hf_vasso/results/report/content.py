"""What a report says, section by section: the page and the Markdown file are two ways to show it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hf_vasso.results.collection import Collection, run_key
from hf_vasso.results.comparison import Comparison
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.report.answer import answer
from hf_vasso.results.report.figures import Drawing, draw_figures
from hf_vasso.results.report.provenance import (
    data_rows,
    environment_rows,
    papers,
    setting_rows,
    shared_flag_rows,
    signature_rows,
    spell_seeds,
)
from hf_vasso.results.report.rows import (
    aggregate_rows,
    contrast_rows,
    cost_rows,
    score_rows,
    secondary_rows,
    seed_rows,
    sentence_rows,
)
from hf_vasso.results.suite_plan import PlannedRun

__all__ = ["Content", "Section", "Table", "build_content"]

Row = Mapping[str, object]


@dataclass(frozen=True)
class Table:
    """
    Rows under a caption.

    Args:
        name: Of its files, without the ending.
        caption: What it lists, in a sentence.
        rows: At least one.
        folded: Whether the page shows it only when asked.
    """

    name: str
    caption: str
    rows: Sequence[Row]
    folded: bool = False


@dataclass(frozen=True)
class Section:
    """
    A part of the report.

    Args:
        name: Its anchor.
        title: Its heading.
        paragraphs: What is said first.
        points: What is said as a list.
        tables: Its tables.
        drawings: Its figures.
    """

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[Table] = ()
    drawings: Sequence[Drawing] = ()


@dataclass(frozen=True)
class Content:
    """
    A report.

    Args:
        title: Its title.
        answer: The sentences that come before all else.
        sections: Its parts, those without content left out.
    """

    title: str
    answer: Sequence[str]
    sections: Sequence[Section]


_HOW_TO_READ = (
    "A score is the mean over seeds. Its interval says where the mean of many more seeds may lie, at 95 % confidence, "
    "on the same training and evaluation examples: it knows nothing of other data, other models or another tuning.",
    "A contrast subtracts two methods on equal seeds, so that what a seed gives to both falls out. p comes from the "
    "sign-flip test: of all ways to choose the signs of these differences, the share whose mean is at least as far "
    "from zero. Holm's correction raises p, so that among all contrasts that are tested together the chance of even "
    "one false alarm is at most 5 %, separately for score, loss and calibration error. An interval is not corrected: "
    "it can leave zero out where p is above 0.05.",
    "“No difference shown” is not “no difference”: the interval holds the differences that fit these seeds.",
)
_HOW_TO_READ_SENTENCES = (
    "The translations of one seed are compared by sacreBLEU's paired bootstrap over the sentences of the test part. A "
    "small p says that these two models would differ on other sentences of the kind too. It is not corrected, and it "
    "says nothing about models of other seeds, which is what a contrast is about."
)
_HOW_TO_READ_CURVES = (
    "Lines are means over seeds, bands reach from the lowest seed to the highest. The sharpness gap is how much the "
    "perturbation raises the loss: a larger rho makes it larger, so it ranks methods only at equal rho."
)
_HOW_TO_READ_COST = (
    "Passes and steps are exact. Seconds are wall clock and depend on what ran beside; memory is that of the GPU's "
    "tensors, without a GPU that of the whole process. In the figures, methods with equally many passes are drawn "
    "side by side."
)
_NONE_MISSING = "None: every planned run that is known here has its record."


def build_content(collection: Collection, comparison: Comparison, name: str) -> Content:
    """
    Say what was found.

    Args:
        collection: The records, and what is left out.
        comparison: What they come to.
        name: What the report is called where no suite has a name.

    Returns:
        The report.
    """
    drawings = draw_figures(comparison)
    sections = [
        _scores(comparison, drawings),
        _contrasts(comparison, drawings),
        _secondary(comparison, drawings),
        _cost(comparison, drawings),
        _training(drawings),
        Section("statistics", "What this says and does not say", _HOW_TO_READ, comparison.notes),
        _provenance(collection, comparison.tasks),
        _missing(collection, comparison),
        _left_out(collection),
    ]
    names = [plan.name for plan in collection.plans] or [name]
    sentences = [*answer(comparison, collection.plans), *_gaps(collection)]
    return Content(", ".join(dict.fromkeys(names)), sentences, list(filter(_has_content, sections)))


def _gaps(collection: Collection) -> list[str]:
    """A sentence that tells at the top what the last sections list."""
    recorded = {run_key(record) for record in collection.records}
    failed_again = sum(run_key(run) in recorded for run in collection.failures)
    counts = {
        "planned runs without a usable record": len(collection.missing),
        "failed runs": len(collection.failures) - failed_again,
        "files left out": len(collection.left_out),
    }
    found = [f"{what}: {count}" for what, count in counts.items() if count]
    sentences = [f"Not in these numbers: {', '.join(found)} (listed at the end)."] if found else []
    if failed_again:
        sentences.append(f"Still in these numbers, with an older record: runs that failed since: {failed_again}.")
    return sentences


def _has_content(section: Section) -> bool:
    return any((section.paragraphs, section.points, section.tables, section.drawings))


def _of_kind(drawings: Sequence[Drawing], *kinds: str) -> list[Drawing]:
    return [drawing for drawing in drawings if drawing.kind in kinds]


def _tables(*tables: Table) -> list[Table]:
    return [table for table in tables if table.rows]


def _scores(comparison: Comparison, drawings: Sequence[Drawing]) -> Section:
    tables = _tables(
        Table(
            "scores",
            "Means over seeds, ± half the width of the 95 % interval; ↑: higher is better",
            score_rows(comparison),
        ),
        Table("seeds", "Every seed's value", seed_rows(comparison), folded=True),
    )
    return Section("scores", "Scores", tables=tables, drawings=_of_kind(drawings, "scores"))


def _contrasts(comparison: Comparison, drawings: Sequence[Drawing]) -> Section:
    headline = replace(comparison, contrasts=[row for row in comparison.contrasts if row.headline])
    tables = _tables(
        Table("contrasts", "First minus second on equal seeds", contrast_rows(headline)),
        Table("averages", "Means over tasks", aggregate_rows(comparison)),
        Table("sentences", "Each seed's translations, by a bootstrap over sentences", sentence_rows(comparison)),
    )
    paragraphs = [_HOW_TO_READ_SENTENCES] if comparison.sentence_tests else []
    return Section("contrasts", "Contrasts", paragraphs, tables=tables, drawings=_of_kind(drawings, "differences"))


def _secondary(comparison: Comparison, drawings: Sequence[Drawing]) -> Section:
    others = replace(comparison, contrasts=[row for row in comparison.contrasts if not row.headline])
    tables = _tables(
        Table("secondary", "Means over seeds, ± half the width of the 95 % interval", secondary_rows(comparison)),
        Table("secondary-contrasts", "First minus second on equal seeds", contrast_rows(others)),
    )
    return Section("secondary", "Other metrics", tables=tables, drawings=_of_kind(drawings, "secondary-differences"))


def _cost(comparison: Comparison, drawings: Sequence[Drawing]) -> Section:
    tables = _tables(
        Table(
            "cost",
            "Of one training: passes and steps are means over seeds, times and memory medians",
            cost_rows(comparison),
        )
    )
    trades = _of_kind(drawings, "trade")
    return Section("cost", "Cost", [_HOW_TO_READ_COST] if tables else [], tables=tables, drawings=trades)


def _training(drawings: Sequence[Drawing]) -> Section:
    curves = _of_kind(drawings, "gap", "loss")
    return Section("training", "Along the training", [_HOW_TO_READ_CURVES] if curves else [], drawings=curves)


def _provenance(collection: Collection, tasks: Sequence[TaskRuns]) -> Section:
    tables = _tables(
        Table("settings", "What runs were given that others were not", setting_rows(collection, tasks)),
        Table("data", "Data and seeds", data_rows(tasks)),
        Table("signatures", "How scores of translations were computed", signature_rows(collection.records)),
        Table("environment", "Where the runs took place", environment_rows(collection.records)),
        Table("flags", "Flags that all runs share", shared_flag_rows(collection.records), folded=True),
    )
    return Section("provenance", "Provenance", points=papers(collection.records), tables=tables)


def _missing(collection: Collection, comparison: Comparison) -> Section:
    failed = [
        {
            "task": run.task_label,
            "model": run.model,
            "method": comparison.name(run.label),
            "seed": run.seed,
            "error": run.error,
        }
        for run in collection.failures
    ]
    tables = _tables(
        Table("failed", "Runs that failed", failed),
        Table("missing", "Planned runs without a usable record", _missing_rows(collection.missing, comparison)),
    )
    return Section("missing", "Missing and failed runs", [] if tables else [_NONE_MISSING], tables=tables)


def _missing_rows(missing: Sequence[PlannedRun], comparison: Comparison) -> list[Row]:
    """A row per cell, since a suite that has just begun misses hundreds of runs."""
    cells: dict[tuple[str, str, str], set[int]] = {}
    for run in missing:
        cells.setdefault((run.task_label, run.model, run.label), set()).add(run.seed)
    return [
        {
            "task": task,
            "model": model,
            "method": comparison.name(label),
            "seeds": spell_seeds(seeds),
            "runs": len(seeds),
        }
        for (task, model, label), seeds in cells.items()
    ]


def _left_out(collection: Collection) -> Section:
    rows = [{"file": file.path, "reason": file.reason} for file in collection.left_out]
    tables = _tables(Table("left-out", "Files that were found and are in no number above", rows))
    return Section("left-out", "Records left out", [] if tables else ["None."], tables=tables)

"""What a report says, section by section: the page and the Markdown file are two ways to show it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hf_vasso.results.aggregates import Aggregate
from hf_vasso.results.collection import Collection
from hf_vasso.results.comparison import Comparison
from hf_vasso.results.contrasts import Contrast
from hf_vasso.results.costs import Cost
from hf_vasso.results.figures import Drawing, draw_figures
from hf_vasso.results.metric_words import format_difference, is_percent
from hf_vasso.results.record import Record
from hf_vasso.results.rows import aggregate_rows, contrast_rows, cost_rows, score_rows, secondary_rows, seed_rows
from hf_vasso.results.statistics import PairedDifference
from hf_vasso.results.task_runs import TaskRuns, group_by_task

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
    "exact sign-flip test: of all ways to choose the signs of these differences, the share whose mean is at least as "
    "far from zero. Holm's correction raises p, so that among all contrasts that are tested together the chance of a "
    "single false alarm stays below 5 %. An interval is not corrected: it can leave zero out where p is above 0.05.",
    "“No difference shown” is not “no difference”: the interval holds the differences that fit these seeds.",
)
_HOW_TO_READ_CURVES = (
    "Lines are means over seeds, bands reach from the lowest seed to the highest. The sharpness gap is how much the "
    "perturbation raises the loss: a larger rho makes it larger, so it ranks methods only at equal rho."
)
_NONE_MISSING = "None: every planned run that is known here has its record."
# Flags that say which run it is, not how it is made.
_NO_SETTING = {"seed", "task_label", "method_label"}
_VERDICTS = {
    "better": "better",
    "worse": "worse",
    "no difference shown": "not shown to differ",
    "too few seeds": "too few seeds to tell",
}


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
    tasks = group_by_task(collection)
    drawings = draw_figures(comparison, tasks)
    sections = [
        _scores(comparison, drawings),
        _contrasts(comparison, drawings),
        _secondary(comparison, drawings),
        _cost(comparison, drawings),
        _training(drawings),
        Section("statistics", "What this says and does not say", _HOW_TO_READ, comparison.notes),
        _provenance(collection, tasks),
        _missing(collection),
        _left_out(collection),
    ]
    names = [plan.name for plan in collection.plans] or [name]
    return Content(", ".join(dict.fromkeys(names)), _answer(comparison), list(filter(_has_content, sections)))


def _has_content(section: Section) -> bool:
    return any((section.paragraphs, section.points, section.tables, section.drawings))


def _answer(comparison: Comparison) -> list[str]:
    """The primary contrast: its verdicts, then its numbers, then what it costs."""
    headline = [contrast for contrast in comparison.contrasts if contrast.headline]
    if not headline:
        return ["No two methods share a task and a seed, so nothing is compared."]
    first, second = headline[0].first, headline[0].second
    primary = [contrast for contrast in headline if (contrast.first, contrast.second) == (first, second)]
    averages = [average for average in comparison.aggregates if (average.first, average.second) == (first, second)]
    return [
        _verdicts(primary),
        *map(_sentence, primary),
        *map(_average_sentence, averages),
        *_cost_sentence(primary, comparison.costs),
    ]


def _verdicts(primary: Sequence[Contrast]) -> str:
    tasks: dict[str, list[str]] = {}
    for contrast in primary:
        tasks.setdefault(_VERDICTS[contrast.verdict], []).append(contrast.task)
    words = "; ".join(f"{verdict} on {', '.join(names)}" for verdict, names in tasks.items())
    return f"{primary[0].first_name} against {primary[0].second_name}: {words}."


def _sentence(contrast: Contrast) -> str:
    difference = contrast.difference
    p_value = "no test" if contrast.p_holm is None else f"Holm p = {contrast.p_holm:.2g}"
    return (
        f"{contrast.first_name} minus {contrast.second_name} on {contrast.task}: "
        f"{_with_interval(contrast.metric, difference)}, n = {difference.count}, "
        f"{_VERDICTS[contrast.verdict]} ({p_value})."
    )


def _average_sentence(average: Aggregate) -> str:
    return f"{average.name}, mean of {len(average.tasks)} tasks: {_with_interval(average.metric, average)}."


def _with_interval(metric: str, estimate: PairedDifference | Aggregate) -> str:
    mean, low, high = (format_difference(metric, value) for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean}{' points' if is_percent(metric) else ''} [{low}, {high}]"


def _cost_sentence(primary: Sequence[Contrast], costs: Sequence[Cost]) -> list[str]:
    passes = {(cost.model, cost.task, cost.method): cost.passes for cost in costs}
    ratios = [
        passes[row.model, row.task, row.first] / passes[row.model, row.task, row.second]
        for row in primary
        if passes[row.model, row.task, row.second]
    ]
    if not ratios:
        return []
    times = " to ".join(dict.fromkeys(f"{ratio:.2g}" for ratio in (min(ratios), max(ratios))))
    words = "as many" if times == "1" else f"{times} times as many"
    first, second = primary[0].first_name, primary[0].second_name
    return [f"A training with {first} makes {words} forward passes as one with {second}."]


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
    )
    return Section("contrasts", "Contrasts", tables=tables, drawings=_of_kind(drawings, "differences"))


def _secondary(comparison: Comparison, drawings: Sequence[Drawing]) -> Section:
    others = replace(comparison, contrasts=[row for row in comparison.contrasts if not row.headline])
    tables = _tables(
        Table("secondary", "Means over seeds, ± half the width of the 95 % interval", secondary_rows(comparison)),
        Table("secondary-contrasts", "First minus second on equal seeds", contrast_rows(others)),
    )
    return Section(
        "secondary", "Loss and calibration", tables=tables, drawings=_of_kind(drawings, "secondary-differences")
    )


def _cost(comparison: Comparison, drawings: Sequence[Drawing]) -> Section:
    tables = _tables(Table("cost", "Means over seeds, of one training", cost_rows(comparison)))
    return Section("cost", "Cost", tables=tables, drawings=_of_kind(drawings, "trade"))


def _training(drawings: Sequence[Drawing]) -> Section:
    curves = _of_kind(drawings, "gap", "loss")
    return Section("training", "Along the training", [_HOW_TO_READ_CURVES] if curves else [], drawings=curves)


def _provenance(collection: Collection, tasks: Sequence[TaskRuns]) -> Section:
    records = collection.records
    tables = _tables(
        Table("settings", "What runs were given that others were not", _setting_rows(collection, tasks)),
        Table("data", "Data and seeds", [_data_row(runs) for runs in tasks]),
        Table("environment", "Where the runs took place", _environment_rows(records)),
        Table("flags", "Flags that all runs share", _spelled_rows("flag", _shared_flags(records)), folded=True),
    )
    papers = (record.method["paper"] for record in records if record.method["paper"])
    cited = dict.fromkeys(f"{paper['title']}: {paper['url']}" for paper in papers)
    return Section("provenance", "Provenance", points=list(cited), tables=tables)


def _setting_rows(collection: Collection, tasks: Sequence[TaskRuns]) -> list[Row]:
    """A row per task and method."""
    left_out = _NO_SETTING | _shared_flags(collection.records).keys()
    chosen = {key: words for plan in collection.plans for key, words in _choices(plan.selection)}
    return [
        {
            "task": runs.task,
            "model": runs.model,
            "method": runs.name(label),
            "flags": _spell(_flags(records[0]), left_out),
            "chosen on held-out training examples": chosen.get((runs.task_label, label), "nothing"),
        }
        for runs in tasks
        for label, records in runs.methods.items()
    ]


def _flags(record: Record) -> dict[str, Any]:
    return {**record.arguments, "method": record.method["name"], **record.method["numbers"]}


def _choices(selection: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Iterable[tuple[tuple[str, str], str]]:
    """Task and method labels, and in words what was chosen for them and how."""
    for task_label, methods in selection.items():
        for label, choice in methods.items():
            yield (task_label, label), f"{_spell(choice['chosen'])} ({_spell(choice, {'chosen'})})"


def _data_row(runs: TaskRuns) -> Row:
    records = [record for records in runs.methods.values() for record in records]
    return {
        "task": runs.task,
        "model": runs.model,
        "training examples": records[0].train_examples,
        "evaluation examples": records[0].eval_examples,
        "source": records[0].data["source"],
        "fingerprint": records[0].data["fingerprint"],
        "seeds": _spell_seeds({record.seed for record in records}),
    }


def _environment_rows(records: Sequence[Record]) -> list[Row]:
    """A row per fact, with all the values that it has."""
    facts: dict[str, dict[str, None]] = {}
    for record in records:
        environment = record.environment
        for name, value in {
            "device": environment["device"],
            "threads": environment.get("threads", "unknown"),
            "commit": environment["commit"] or "unknown",
            **environment["packages"],
        }.items():
            facts.setdefault(name, {})[str(value)] = None
    return _spelled_rows("what", {name: " and ".join(values) for name, values in facts.items()})


def _spelled_rows(column: str, values: Mapping[str, Any]) -> list[Row]:
    return [{column: name, "value": _spell_value(value)} for name, value in values.items()]


def _shared_flags(records: Sequence[Record]) -> dict[str, Any]:
    """The flags that have one value in all records."""
    first, *others = [_flags(record) for record in records]
    return {name: value for name, value in first.items() if all(_has(flags, name, value) for flags in others)}


def _has(flags: Mapping[str, Any], name: str, value: Any) -> bool:
    return name in flags and flags[name] == value


def _missing(collection: Collection) -> Section:
    failed = [
        {"task": run.task_label, "model": run.model, "method": run.label, "seed": run.seed, "error": run.error}
        for run in collection.failures
    ]
    missing = [
        {"task": run.task_label, "model": run.model, "method": run.label, "seed": run.seed}
        for run in collection.missing
    ]
    tables = _tables(
        Table("failed", "Runs that failed", failed), Table("missing", "Planned runs that were not run", missing)
    )
    return Section("missing", "Missing and failed runs", [] if tables else [_NONE_MISSING], tables=tables)


def _left_out(collection: Collection) -> Section:
    rows = [{"file": file.path, "reason": file.reason} for file in collection.left_out]
    tables = _tables(Table("left-out", "Files that were found and are in no number above", rows))
    return Section("left-out", "Records left out", [] if tables else ["None."], tables=tables)


def _spell(values: Mapping[str, Any], left_out: Iterable[str] = ()) -> str:
    return ", ".join(f"{name} {_spell_value(value)}" for name, value in values.items() if name not in left_out)


def _spell_value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _spell_seeds(seeds: Iterable[int]) -> str:
    """
    Seeds in few words.

    Example:
        >>> _spell_seeds({0, 1, 2, 3, 7})
        '0 to 3, 7'
    """
    ranges: list[list[int]] = []
    for seed in sorted(seeds):
        if ranges and seed == ranges[-1][-1] + 1:
            ranges[-1].append(seed)
        else:
            ranges.append([seed])
    return ", ".join(f"{some[0]} to {some[-1]}" if len(some) > 2 else ", ".join(map(str, some)) for some in ranges)

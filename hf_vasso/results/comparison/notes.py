"""What must be said beside the numbers, in full sentences."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from hf_vasso.results.comparison.aggregates import Aggregate, TaskScore
from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.contrasts import Contrast, Pair, family
from hf_vasso.results.comparison.costs import make_costs, mean_cost
from hf_vasso.results.comparison.metric_words import CALIBRATION, LOSS, metric_name
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.record import Record
from hf_vasso.results.statistics import BOOTSTRAP, BOOTSTRAP_FROM, EXACT_LIMIT, STUDENT_T

__all__ = ["make_notes"]

_FAMILIES = {"headline": "the headline metric", LOSS: "the loss", CALIBRATION: "the calibration error"}
_MOST_SHOWN = 5


def make_notes(
    tasks: Sequence[TaskRuns],
    pairs: Mapping[tuple[str, str], Sequence[Pair]],
    cells: Sequence[Cell],
    contrasts: Sequence[Contrast],
    scores: Sequence[TaskScore],
    aggregates: Sequence[Aggregate],
) -> list[str]:
    """
    What must be said beside the numbers.

    Args:
        tasks: All runs, sorted.
        pairs: Model and task to the pairs of labels that are compared there.
        cells: All cells.
        contrasts: All contrasts.
        scores: What each task adds to the averages.
        aggregates: The averages.

    Returns:
        Sentences: the tests, the intervals, the averages, and then all that is missing, left out or unequal.
    """
    return [
        *_about_tests(contrasts),
        *_about_intervals(cells),
        *_about_averages(scores, aggregates),
        *_about_equal_passes(tasks, pairs),
        *_about_pairs(tasks, pairs, cells),
        *_about_values_left_out(tasks),
        *_about_variants(tasks),
        *_about_relative_times(tasks),
        *_about_environments(tasks),
    ]


def _about_tests(contrasts: Sequence[Contrast]) -> list[str]:
    alike: dict[str, list[str]] = {}
    for name, words in _FAMILIES.items():
        tested = [contrast for contrast in contrasts if family(contrast) == name and contrast.p_value is not None]
        if tested:
            alike.setdefault(_about_family(tested), []).append(words)
    notes = [
        f"On {'each of ' if len(names) > 1 else ''}{_joined(names)} {sentence}" for sentence, names in alike.items()
    ]
    if any(contrast.difference.count > EXACT_LIMIT for contrast in contrasts):
        notes.append(f"Beyond {EXACT_LIMIT} seeds the test draws 99,999 choices of signs instead of all.")
    return notes


def _about_family(tested: Sequence[Contrast]) -> str:
    pairs = len({(contrast.first, contrast.second) for contrast in tested})
    tasks = len({(contrast.model, contrast.task) for contrast in tested})
    counts = [contrast.difference.count for contrast in tested]
    planned, needed = tested[0].comparisons, tested[0].seeds_needed
    as_planned = f", as if all {planned} that were planned were there" if planned > len(tested) else ""
    what = f"{_number(len(tested), 'comparison')} ({_number(pairs, 'contrast')} on {_number(tasks, 'task')})"
    return (
        f"{what} {'is' if len(tested) == 1 else 'are'} tested by an exact two-sided sign-flip test on equal seeds and "
        f"corrected together by Holm's method{as_planned}. To reach p = 0.05 that needs {needed} seeds; there are "
        f"{_range(counts)}{_what_follows(counts, needed)}."
    )


def _what_follows(counts: Sequence[int], needed: int) -> str:
    if max(counts) < needed:
        return ", so no difference can be shown, however large it is: no star can be had"
    return ", and those with fewer can hardly show one" if min(counts) < needed else ""


def _about_intervals(cells: Sequence[Cell]) -> list[str]:
    words = {
        STUDENT_T: "Student's t below 20 seeds",
        BOOTSTRAP: "percentiles of a bootstrap with 9,999 resamples from 20 seeds on",
    }
    used = [words[method] for method in words if method in {cell.interval for cell in cells}]
    notes = [f"Intervals are 95 % intervals of a mean over seeds: {' and '.join(used)}."] if used else []
    single = [f"{cell.name} on {cell.task}" for cell in cells if cell.headline and cell.count == 1]
    if single:
        notes.append(f"One seed has no interval and no test: {', '.join(single)}.")
    return notes


def _about_averages(scores: Sequence[TaskScore], aggregates: Sequence[Aggregate]) -> list[str]:
    notes = []
    kinds = dict.fromkeys((score.model, score.metric) for score in scores)
    for model, metric in kinds:
        tasks = {score.task: score for score in scores if (score.model, score.metric) == (model, metric)}
        averaged = [
            aggregate
            for aggregate in aggregates
            if (aggregate.model, aggregate.metric, aggregate.second) == (model, metric, None)
        ]
        prefix = f"{model}: " if len(kinds) > 1 else ""
        if averaged:
            notes.append(prefix + _about_average(tasks, averaged[0]))
        elif len(tasks) > 1:
            notes.append(f"{prefix}No average over tasks is printed, as fewer than two tasks have all methods.")
    return notes


def _about_average(tasks: Mapping[str, TaskScore], average: Aggregate) -> str:
    parts = [
        f"{task} ({' and '.join(map(metric_name, tasks[task].metrics))})" for task in tasks if task in average.tasks
    ]
    left_out = [task for task in tasks if task not in average.tasks]
    several = any(len(tasks[task].metrics) > 1 for task in average.tasks)
    return "".join(
        [
            f"The average is the mean over {len(parts)} tasks: {', '.join(parts)}.",
            " A task with several metrics counts once, with their mean." if several else "",
            f" Left out, as not all methods have it: {', '.join(left_out)}." if left_out else "",
            " Its interval, a bootstrap stratified on tasks and seeds, is about other seeds, not about other tasks.",
            " With fewer than 20 seeds it is too narrow." if min(average.seeds) < BOOTSTRAP_FROM else "",
        ]
    )


def _about_equal_passes(tasks: Sequence[TaskRuns], pairs: Mapping[tuple[str, str], Sequence[Pair]]) -> list[str]:
    """Where a method is compared with bases that all make fewer passes."""
    missing: dict[str, list[str]] = {}
    for runs in tasks:
        bases = runs.labels("none")
        compared = {
            first for first, second in pairs[runs.model, runs.task] if second in bases and first in runs.methods
        }
        for label in runs.methods:
            if label in compared and label not in bases and not _has_base_with_passes(runs, label):
                missing.setdefault(_remedy(runs, label), []).append(f"{runs.name(label)} on {runs.where}")
    return [
        f"A base with as many passes is missing for {_listed(who)}; give it as a method label such as {remedy}."
        for remedy, who in missing.items()
    ]


def _has_base_with_passes(runs: TaskRuns, label: str) -> bool:
    wanted = mean_cost(runs.methods[label], "forward_passes")
    return any(
        math.isclose(mean_cost(runs.methods[base], "forward_passes"), wanted, rel_tol=0.1)
        for base in runs.labels("none")
    )


def _remedy(runs: TaskRuns, label: str) -> str:
    """The entry of a suite file for a base with as many passes as a method."""
    base = runs.methods[str(runs.base)]
    ratio = mean_cost(runs.methods[label], "forward_passes") / max(mean_cost(base, "forward_passes"), 1)
    times = max(round(ratio), 2)
    arguments = base[0].arguments
    max_steps = arguments.get("max_steps")
    flag = "max_steps" if isinstance(max_steps, int) and max_steps > 0 else "num_train_epochs"
    length = arguments.get(flag)
    value = f"{times * length:g}" if isinstance(length, int | float) else f"{times} times as many"
    return f"none-{times}x: {{method: none, {flag}: {value}}}"


def _about_pairs(
    tasks: Sequence[TaskRuns], pairs: Mapping[tuple[str, str], Sequence[Pair]], cells: Sequence[Cell]
) -> list[str]:
    headline = {(cell.model, cell.task, cell.method): cell for cell in cells if cell.headline}
    notes = []
    for runs in tasks:
        for pair in pairs[runs.model, runs.task]:
            found = {label: headline.get((runs.model, runs.task, label)) for label in pair}
            note = _about_pair(pair, {label: cell for label, cell in found.items() if cell is not None})
            notes += [f"On {runs.where}, {' minus '.join(pair)} {note}."] if note else []
    return notes


def _about_pair(pair: Pair, cells: Mapping[str, Cell]) -> str:
    absent = [label for label in pair if label not in cells]
    if absent:
        return f"is not compared: there is no run of {' and '.join(absent)}"
    first, second = (set(cells[label].values) for label in pair)
    if not first & second:
        return "is not compared: the two have no seed in common"
    unpaired = [
        f"{_number(len(seeds), 'seed')} that only {label} has ({_listed(map(str, sorted(seeds)))})"
        for label, seeds in zip(pair, (first - second, second - first), strict=True)
        if seeds
    ]
    return f"leaves out {' and '.join(unpaired)}" if unpaired else ""


def _about_values_left_out(tasks: Sequence[TaskRuns]) -> list[str]:
    notes = []
    for runs in tasks:
        for label, records in runs.methods.items():
            for metric in records[0].metrics:
                seeds = [str(record.seed) for record in records if not math.isfinite(record.metrics[metric])]
                if seeds:
                    what = f"the {metric_name(metric)} of {runs.name(label)} with seed {', '.join(seeds)}"
                    notes.append(
                        f"On {runs.where}, {what} is not a finite number: it is left out of the mean, which flatters "
                        "the method, and the run counts as collapsed."
                    )
    return notes


def _about_variants(tasks: Sequence[TaskRuns]) -> list[str]:
    variants: dict[tuple[str, str], list[str]] = {}
    for runs in tasks:
        variants.setdefault((runs.model, runs.task_label), []).append(runs.where)
    return [
        f"{task_label} was run on different data, which are never averaged or compared: {_listed(names)}."
        for (_, task_label), names in variants.items()
        if len(names) > 1
    ]


def _about_relative_times(tasks: Sequence[TaskRuns]) -> list[str]:
    notes = []
    for runs in tasks:
        unknown = [cost.name for cost in make_costs(runs) if cost.relative is None]
        if runs.base is None:
            notes.append(f"On {runs.where} no relative time is given, as there is no run without a method.")
        elif unknown:
            notes.append(
                f"On {runs.where} the time of {_listed(unknown)} is not divided by that of {runs.name(runs.base)}: "
                "they were measured on different devices or numbers of threads, or not at all."
            )
    return notes


def _about_environments(tasks: Sequence[TaskRuns]) -> list[str]:
    records = [record for runs in tasks for records in runs.methods.values() for record in records]
    notes = []
    for what in dict.fromkeys(name for record in records for name in _environment(record)):
        counts = Counter(_environment(record).get(what, "unknown") for record in records)
        if len(counts) > 1:
            values = [f"{value} ({_number(count, 'run')})" for value, count in counts.most_common()]
            notes.append(f"The runs differ in their {what}: {_listed(values)}.")
    return notes


def _environment(record: Record) -> dict[str, str]:
    environment = record.environment
    return {
        "device": environment["device"],
        "number of threads": str(environment.get("threads", "unknown")),
        "commit": environment["commit"] or "unknown",
        **{f"version of {package}": version for package, version in environment["packages"].items()},
    }


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _joined(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def _range(counts: Iterable[int]) -> str:
    low, *_, high = sorted({*counts}) * 2
    return str(low) if low == high else f"{low} to {high}"


def _listed(words: Iterable[str]) -> str:
    words = list(words)
    more = len(words) - _MOST_SHOWN
    return ", ".join(words[:_MOST_SHOWN]) + (f" and {more} more" if more > 0 else "")

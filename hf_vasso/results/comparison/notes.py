"""What must be said beside the numbers, in full sentences."""

import math
from collections.abc import Mapping, Sequence, Set

from hf_vasso.results.comparison.aggregates import Aggregate, TaskScore
from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.contrasts import Contrast, corrected_with
from hf_vasso.results.comparison.costs import make_costs, mean_cost
from hf_vasso.results.comparison.environments import environment_facts
from hf_vasso.results.comparison.metric_words import CALIBRATION, HEADLINE, LOSS, metric_name
from hf_vasso.results.comparison.pairs import Pairs
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.identity import what_differs
from hf_vasso.results.statistics import BOOTSTRAP, BOOTSTRAP_FROM, EXACT_LIMIT, STUDENT_T
from hf_vasso.results.words import all_of, counted, listed, one_or_range

__all__ = ["make_notes"]

_TESTED = {HEADLINE: "the headline metric", LOSS: "the loss", CALIBRATION: "the calibration error"}


def make_notes(
    tasks: Sequence[TaskRuns],
    pairs: Pairs,
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
    for kind, words in _TESTED.items():
        tested = [row for row in contrasts if corrected_with(row) == kind and row.p_value is not None]
        if tested:
            alike.setdefault(_about_tests_of_kind(tested), []).append(words)
    notes = [
        f"On {'each of ' if len(names) > 1 else ''}{all_of(names)} {sentence}" for sentence, names in alike.items()
    ]
    if any(contrast.difference.count > EXACT_LIMIT for contrast in contrasts):
        notes.append(f"Beyond {EXACT_LIMIT} seeds the test draws 99,999 choices of signs instead of all.")
    return notes


def _about_tests_of_kind(tested: Sequence[Contrast]) -> str:
    pairs = len({(contrast.first, contrast.second) for contrast in tested})
    tasks = len({(contrast.model, contrast.task) for contrast in tested})
    counts = [contrast.difference.count for contrast in tested]
    planned, needed = tested[0].comparisons, tested[0].seeds_needed
    as_planned = f", as if all {planned} that were planned were there" if planned > len(tested) else ""
    what = f"{counted(len(tested), 'comparison')} ({counted(pairs, 'contrast')} on {counted(tasks, 'task')})"
    exact = "an exact" if max(counts) <= EXACT_LIMIT else "a"
    return (
        f"{what} {'is' if len(tested) == 1 else 'are'} tested by {exact} two-sided sign-flip test on equal seeds and "
        f"corrected together by Holm's method{as_planned}. To reach p = 0.05 that needs {needed} seeds; there are "
        f"{one_or_range(counts)}{_what_follows(counts, needed)}."
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
    single = [f"{cell.name} on {cell.where}" for cell in cells if cell.headline and cell.count == 1]
    if single:
        notes.append(f"One seed has no interval and no test: {', '.join(single)}.")
    return notes


def _about_averages(scores: Sequence[TaskScore], aggregates: Sequence[Aggregate]) -> list[str]:
    notes = []
    kinds = dict.fromkeys((score.model, score.metric) for score in scores)
    for model, metric in kinds:
        tasks = {score.task: score for score in scores if (score.model, score.metric) == (model, metric)}
        averages = [average for average in aggregates if (average.model, average.metric) == (model, metric)]
        if len(tasks) > 1:
            words = _about_average(tasks, averages) + _about_intervals_of_averages(averages)
            notes.append(f"{model}: {words}" if len(kinds) > 1 else words)
    return notes


def _about_average(tasks: Mapping[str, TaskScore], averages: Sequence[Aggregate]) -> str:
    """What the average of the methods averages: those of the contrasts stand with their tasks in a table."""
    average = next((average for average in averages if average.second is None), None)
    if average is None:
        return "No average of the methods over tasks is printed, as fewer than two tasks have all methods."
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
        ]
    )


def _about_intervals_of_averages(averages: Sequence[Aggregate]) -> str:
    if not averages:
        return ""
    fewest = min(count for average in averages for count in average.seeds)
    too_narrow = f" With fewer than {BOOTSTRAP_FROM} seeds it is too narrow." if fewest < BOOTSTRAP_FROM else ""
    return (
        " The interval of an average, a bootstrap stratified on tasks and seeds, is about other seeds, not about "
        f"other tasks.{too_narrow}"
    )


def _about_equal_passes(tasks: Sequence[TaskRuns], pairs: Pairs) -> list[str]:
    """Where a method is compared and no base among the runs makes as many passes."""
    missing: dict[str, list[str]] = {}
    for runs in tasks:
        compared = {label for pair in pairs[runs.model, runs.task] for label in pair}.difference(runs.bases)
        for label in runs.methods:
            if label in compared and not _has_base_with_passes(runs, label):
                missing.setdefault(_remedy(runs, label), []).append(f"{runs.name(label)} on {runs.where}")
    return [
        f"A base with as many passes is missing for {listed(who)}; give it as a method label such as {remedy}."
        for remedy, who in missing.items()
    ]


def _has_base_with_passes(runs: TaskRuns, label: str) -> bool:
    wanted = mean_cost(runs.methods[label], "forward_passes")
    return any(
        math.isclose(mean_cost(runs.methods[base], "forward_passes"), wanted, rel_tol=0.1) for base in runs.bases
    )


def _remedy(runs: TaskRuns, label: str) -> str:
    """The entry of a suite file for a base with as many passes as a method."""
    base = runs.methods[runs.base or label]
    ratio = mean_cost(runs.methods[label], "forward_passes") / max(mean_cost(base, "forward_passes"), 1)
    times = max(round(ratio), 2)
    arguments = base[0].arguments
    max_steps = arguments.get("max_steps")
    flag = "max_steps" if isinstance(max_steps, int) and max_steps > 0 else "num_train_epochs"
    length = arguments.get(flag)
    value = f"{times * length:g}" if isinstance(length, int | float) else f"{times} times as many"
    return f"none-{times}x: {{method: none, {flag}: {value}}}"


def _about_pairs(tasks: Sequence[TaskRuns], pairs: Pairs, cells: Sequence[Cell]) -> list[str]:
    seeds = {(cell.model, cell.task, cell.method): cell.values.keys() for cell in cells if cell.headline}
    notes = []
    for runs in tasks:
        for pair in pairs[runs.model, runs.task]:
            names = [runs.name(label) for label in pair]
            note = _about_pair(names, [seeds.get((runs.model, runs.task, label), set()) for label in pair])
            notes += [f"On {runs.where}, {' minus '.join(names)} {note}."] if note else []
    return notes


def _about_pair(names: Sequence[str], seeds: Sequence[Set[int]]) -> str:
    absent = [name for name, found in zip(names, seeds, strict=True) if not found]
    if absent:
        return f"is not compared: there is no score of {' and '.join(absent)}"
    first, second = seeds
    if not first & second:
        return "is not compared: the two have no seed in common"
    unpaired = [
        f"{counted(len(alone), 'seed')} that only {name} has ({listed(map(str, sorted(alone)))})"
        for name, alone in zip(names, (first - second, second - first), strict=True)
        if alone
    ]
    return f"leaves out {' and '.join(unpaired)}" if unpaired else ""


def _about_values_left_out(tasks: Sequence[TaskRuns]) -> list[str]:
    notes = []
    for runs in tasks:
        for label, records in runs.methods.items():
            for metric in runs.metrics:
                seeds = [str(record.seed) for record in records if not math.isfinite(record.metrics[metric])]
                if seeds:
                    what = f"the {metric_name(metric)} of {runs.name(label)} with seed {', '.join(seeds)}"
                    notes.append(
                        f"On {runs.where}, {what} is not a finite number: it is left out of the mean, which flatters "
                        "the method, and the run counts as collapsed."
                    )
    return notes


def _about_variants(tasks: Sequence[TaskRuns]) -> list[str]:
    variants: dict[tuple[str, str], list[TaskRuns]] = {}
    for runs in tasks:
        variants.setdefault((runs.model, runs.task_label), []).append(runs)
    return [
        f"{task_label} was run {all_of(what_differs([runs.identity for runs in several]))}, which are never averaged "
        f"or compared: {listed(runs.where for runs in several)}."
        for (_, task_label), several in variants.items()
        if len(several) > 1
    ]


def _about_relative_times(tasks: Sequence[TaskRuns]) -> list[str]:
    notes = []
    for runs in tasks:
        unknown = [cost.name for cost in make_costs(runs) if cost.relative is None]
        if runs.base is None:
            notes.append(f"On {runs.where} no relative time is given, as there is no run without a method.")
        elif unknown:
            notes.append(
                f"On {runs.where} the time of {listed(unknown)} is not divided by that of {runs.name(runs.base)}: "
                "they were measured on different devices or numbers of threads, or not at all."
            )
    return notes


def _about_environments(tasks: Sequence[TaskRuns]) -> list[str]:
    records = [record for runs in tasks for records in runs.methods.values() for record in records]
    notes = []
    for what, counts in environment_facts(records).items():
        if len(counts) > 1:
            values = [f"{value} ({counted(count, 'run')})" for value, count in counts.most_common()]
            notes.append(f"The runs differ in {what}: {listed(values)}.")
    return notes

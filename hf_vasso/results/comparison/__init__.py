"""Compare methods on equal seeds: the one list of rows from which everything is printed (`rows.py` words them)."""

from dataclasses import dataclass

from hf_vasso.results.collection import Collection
from hf_vasso.results.comparison.aggregates import Aggregate, TaskScore, make_aggregates, make_task_scores
from hf_vasso.results.comparison.cells import Cell, Collapse, majority_of, make_cells, make_collapses
from hf_vasso.results.comparison.choices import about_choices
from hf_vasso.results.comparison.contrasts import Contrast, make_contrasts
from hf_vasso.results.comparison.costs import Cost, make_costs
from hf_vasso.results.comparison.metric_words import CORRECTED_TOGETHER
from hf_vasso.results.comparison.notes import make_notes
from hf_vasso.results.comparison.pairs import make_pairs, planned_comparisons
from hf_vasso.results.comparison.sentence_tests import SentenceTest, make_sentence_tests
from hf_vasso.results.comparison.task_runs import TaskRuns, group_by_task
from hf_vasso.results.words import joined_names

__all__ = ["Aggregate", "Cell", "Collapse", "Comparison", "Contrast", "Cost", "SentenceTest", "TaskScore", "compare"]


@dataclass(frozen=True)
class Comparison:
    """
    All that is printed, each in the order in which it is printed.

    Args:
        tasks: All runs, sorted.
        cells: Task by task and metric by metric, the headline first.
        contrasts: The headline metrics' first; the very first is the primary one.
        task_scores: What each task adds to the averages.
        aggregates: Averages over tasks: methods, then contrasts.
        costs: Task by task.
        collapses: Task by task.
        majorities: Model and task to what the most frequent label scores there, by metric; without those of which no
            record tells it.
        sentence_tests: Task by task, contrast by contrast and seed by seed.
        notes: Full sentences that must be said beside the numbers.
    """

    tasks: list[TaskRuns]
    cells: list[Cell]
    contrasts: list[Contrast]
    task_scores: list[TaskScore]
    aggregates: list[Aggregate]
    costs: list[Cost]
    collapses: list[Collapse]
    majorities: dict[tuple[str, str], dict[str, float]]
    sentence_tests: list[SentenceTest]
    notes: list[str]

    @property
    def has_several_models(self) -> bool:
        """Whether a row has to name its model."""
        return len({runs.model for runs in self.tasks}) > 1

    def name(self, label: str) -> str:
        """What is read for a method's label, on all tasks: "AdamW/SGD" where they differ in it."""
        return joined_names(runs.name(label) for runs in self.tasks if label in runs.methods) or self.tasks[0].name(
            label
        )


def compare(collection: Collection) -> Comparison:
    """
    Compare methods on equal seeds: the pairs of the suites' plans, else VASSO with SAM and then with the base.

    Args:
        collection: The checked records.

    Returns:
        The rows.
    """
    tasks = group_by_task(collection)
    pairs = make_pairs(tasks, collection.plans)
    planned = {kind: planned_comparisons(kind, tasks, pairs, collection.plans) for kind in CORRECTED_TOGETHER}
    cells = [cell for runs in tasks for cell in make_cells(runs)]
    compared = make_contrasts(cells, pairs, planned)
    scores = make_task_scores(cells)
    aggregates = make_aggregates(scores, pairs)
    sentence_tests, untested = make_sentence_tests(tasks, pairs, collection)
    return Comparison(
        tasks=tasks,
        cells=cells,
        contrasts=compared,
        task_scores=scores,
        aggregates=aggregates,
        costs=[cost for runs in tasks for cost in make_costs(runs)],
        collapses=[collapse for runs in tasks for collapse in make_collapses(runs)],
        majorities={(runs.model, runs.task): found for runs in tasks if (found := majority_of(runs))},
        sentence_tests=sentence_tests,
        notes=[
            *make_notes(tasks, pairs, cells, compared, scores, aggregates),
            *untested,
            *about_choices(tasks, collection.plans),
        ],
    )

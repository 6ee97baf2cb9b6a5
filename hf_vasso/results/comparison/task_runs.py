"""Sort records into tasks and methods: what stands side by side in a report, in the order in which it is printed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hf_vasso.results.collection import Collection
from hf_vasso.results.identity import distinguishing_words, run_identity
from hf_vasso.results.method_labels import BASE, labels_of_family
from hf_vasso.results.record import Record, display_name
from hf_vasso.results.suite_plan import PlannedRun
from hf_vasso.results.words import as_read, unlike

__all__ = ["FRONT", "MAJORITY", "TaskRuns", "group_by_task"]

FRONT = "Pareto front"
"""What the line of a figure is called that stands among methods in a legend."""

MAJORITY = "majority class"
"""What the most frequent label is called where it stands among methods."""

_GLUE_ORDER = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")


@dataclass(frozen=True)
class TaskRuns:
    """
    All runs of one task on the same data with one model, by its name and its files.

    Args:
        task: What reports call it, unlike any other task of the model: its label, with what tells its data and
            the model's files apart where they come in several variants.
        task_label: Its label.
        model: The model.
        where: What sentences and figures call it: the task, with the model where there are several.
        methods: Method label to records, sorted by seed.
        names: Every label of the report to what is read for it, unlike what is read for any other.
    """

    task: str
    task_label: str
    model: str
    where: str
    methods: dict[str, list[Record]]
    names: dict[str, str]

    @property
    def identity(self) -> tuple[str, ...]:
        """What all its runs have in common, and no other runs of this task label and model."""
        return run_identity(next(iter(self.methods.values()))[0])

    @property
    def base(self) -> str | None:
        """The label of the runs without a method: `BASE`, else the first one, None where there is none."""
        return BASE if BASE in self.bases else next(iter(self.bases), None)

    @property
    def bases(self) -> list[str]:
        """All labels of runs without a method."""
        return labels_of_family(BASE, self.method_names)

    @property
    def method_names(self) -> dict[str, str]:
        """Method label to the method's name."""
        return {label: records[0].method["name"] for label, records in self.methods.items()}

    @property
    def metrics(self) -> list[str]:
        """The metrics' names, that of the headline first."""
        return list(next(iter(self.methods.values()))[0].metrics)

    def name(self, label: str) -> str:
        """What is read for a method's label; a label without runs stands for itself."""
        return self.names.get(label, label)


def group_by_task(collection: Collection) -> list[TaskRuns]:
    """
    Sort records into tasks and methods.

    Args:
        collection: The checked records.

    Returns:
        Model by model, the tasks in the order of the suites' plans, then of GLUE, then of their names; methods in the
        order of the plans, then the base first and VASSO last.
    """
    planned = [run for plan in collection.plans for run in plan.runs]
    groups: dict[tuple[str, str], dict[tuple[str, ...], list[Record]]] = {}
    for record in sorted(collection.records, key=_Order(planned).of):
        variants = groups.setdefault((record.model, record.task_label), {})
        variants.setdefault(run_identity(record), []).append(record)
    several = len({model for model, _ in groups}) > 1
    names = _names(collection)
    tasks: list[TaskRuns] = []
    for (model, task_label), variants in groups.items():
        for identity, words in distinguishing_words(list(variants)).items():
            taken = [runs.task for runs in tasks if runs.model == model]
            task = unlike(taken, f"{task_label} ({words})" if words else task_label)
            where = f"{task} with {model}" if several else task
            methods = _by_label(variants[identity])
            base = {BASE: _optimizer(methods[BASE][0])} if BASE in methods else {}
            tasks.append(TaskRuns(task, task_label, model, where, methods, {**base, **names}))
    return tasks


def _names(collection: Collection) -> dict[str, str]:
    """What is read for each label, without `BASE` where it can go by its optimizer: all of them look different."""
    planned = [run for plan in collection.plans for run in plan.runs]
    labels = dict.fromkeys(run.label for run in [*collection.records, *planned, *collection.failures])
    # A base with several optimizers has all their names, as in "AdamW/SGD".
    optimizers = {as_read(_optimizer(record)) for record in collection.records if record.label == BASE}
    others = [label for label in labels if label != BASE]
    if not any(set(as_read(label).split("/")) <= optimizers for label in others):
        labels.pop(BASE, None)
    names: dict[str, str] = {}
    for label in labels:
        names[label] = unlike([FRONT, MAJORITY, *names.values()], label)
    return names


def _optimizer(record: Record) -> str:
    return display_name(BASE, record.arguments.get("optim", BASE))


class _Order:
    """The order in which records are printed."""

    def __init__(self, planned: Sequence[PlannedRun]) -> None:
        self._models = _positions(run.model for run in planned)
        self._tasks = _positions(run.task_label for run in planned)
        self._labels = _positions(run.label for run in planned)

    def of(self, record: Record) -> tuple:
        """A key to sort by. What is in no plan comes after what is."""
        last = len(self._models) + len(self._tasks) + len(self._labels)
        glue = _GLUE_ORDER.index(record.task) if record.task in _GLUE_ORDER else len(_GLUE_ORDER)
        return (
            (self._models.get(record.model, last), record.model),
            (self._tasks.get(record.task_label, last), glue, record.task_label),
            (record.train_examples, record.eval_examples, run_identity(record)),
            (self._labels.get(record.label, last), record.method["name"] != BASE, record.label),
            record.seed,
        )


def _positions(names: Iterable[str]) -> dict[str, int]:
    return {name: position for position, name in enumerate(dict.fromkeys(names))}


def _by_label(records: Iterable[Record]) -> dict[str, list[Record]]:
    methods: dict[str, list[Record]] = {}
    for record in records:
        methods.setdefault(record.label, []).append(record)
    return methods

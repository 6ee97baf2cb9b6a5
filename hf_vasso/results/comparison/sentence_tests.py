"""What the sentences of the test part say about the translations of two methods, seed by seed."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_vasso.results.bleu import bleu_metric, signed_tokenizer
from hf_vasso.results.collection import Collection, record_key
from hf_vasso.results.comparison.pairs import Pairs
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.reading import RecordError
from hf_vasso.results.record import Record
from hf_vasso.results.translations import REFERENCES_FILE, TRANSLATIONS_FILE, read_translations

__all__ = ["SENTENCE_METRIC", "SentenceTest", "make_sentence_tests"]

SENTENCE_METRIC = "bleu"
_TOLERANCE = 1e-6  # between 0 and 100


@dataclass(frozen=True)
class SentenceTest:
    """
    First and second in sacreBLEU, of one seed.

    Args:
        task: What reports call the task.
        model: The model.
        first_name: What is read for the first method.
        second_name: What is read for the second.
        seed: The seed of both runs.
        sentences: Those of the test part.
        first: The score of the first, between 0 and 100.
        second: The score of the second.
        p_value: Of sacreBLEU's paired bootstrap over the sentences, with 1,000 resamples.
    """

    task: str
    model: str
    first_name: str
    second_name: str
    seed: int
    sentences: int
    first: float
    second: float
    p_value: float


def make_sentence_tests(
    tasks: Sequence[TaskRuns], pairs: Pairs, collection: Collection
) -> tuple[list[SentenceTest], list[str]]:
    """
    Compare the translations of each pair of methods on equal seeds.

    Args:
        tasks: All runs, sorted.
        pairs: Model and task to the pairs of labels that are compared there.
        collection: It knows the folders of the records, in which their translations lie.

    Returns:
        The tests, and a sentence for each that could not be made.
    """
    tests, problems = [], []
    for runs, first, second in _compared(tasks, pairs, collection.folders):
        try:
            tests.append(_test(runs, first, second, collection))
        except RecordError as error:
            names = f"{runs.name(first.label)} and {runs.name(second.label)}"
            problems.append(
                f"On {runs.where}, the sentences of {names} with seed {first.seed} are not compared: {error.reason}."
            )
    return tests, problems


def _compared(
    tasks: Sequence[TaskRuns], pairs: Pairs, folders: Mapping[tuple, Path]
) -> Iterator[tuple[TaskRuns, Record, Record]]:
    """Each pair of runs that have translated the test part, where their folders are known."""
    for runs in tasks:
        for labels in pairs[runs.model, runs.task] if SENTENCE_METRIC in runs.metrics else ():
            first, second = ({record.seed: record for record in runs.methods.get(label, [])} for label in labels)
            for seed in sorted(first.keys() & second.keys()):
                if {record_key(first[seed]), record_key(second[seed])} <= folders.keys():
                    yield runs, first[seed], second[seed]


def _test(runs: TaskRuns, first: Record, second: Record, collection: Collection) -> SentenceTest:
    folders = collection.folders
    records = {runs.name(record.label): record for record in (first, second)}
    (texts, references), (other_texts, other_references) = (
        _read(folders[record_key(record)], collection.runs_dir, name) for name, record in records.items()
    )
    if references != other_references:
        raise RecordError(folders[record_key(first)], f"they differ in {REFERENCES_FILE}")
    try:
        metric = bleu_metric(signed_tokenizer(first.signatures))  # that of both, else they would not be compared
    except ValueError as error:
        raise RecordError(folders[record_key(first)], str(error)) from error
    scores, p_value = _paired_bootstrap(metric, texts, other_texts, references)
    for (name, record), score in zip(records.items(), scores, strict=True):
        recorded = record.metrics[SENTENCE_METRIC]
        if not abs(score - recorded) < _TOLERANCE:
            reason = f"{TRANSLATIONS_FILE} of {name} comes to {score:.2f}, and its record says {recorded:.2f}"
            raise RecordError(folders[record_key(record)], reason)
    return SentenceTest(
        task=runs.task,
        model=runs.model,
        first_name=runs.name(first.label),
        second_name=runs.name(second.label),
        seed=first.seed,
        sentences=len(references),
        first=scores[0],
        second=scores[1],
        p_value=p_value,
    )


def _read(folder: Path, runs_dir: Path, name: str) -> tuple[list[str], list[str]]:
    try:
        return read_translations(folder, runs_dir)
    except RecordError as error:
        raise RecordError(folder, f"of {name}, {error.reason}") from error


def _paired_bootstrap(
    metric: Any, first: Sequence[str], second: Sequence[str], references: Sequence[str]
) -> tuple[tuple[float, float], float]:
    """The scores of both, and the p-value of their difference."""
    from sacrebleu.significance import PairedTest, Result  # only reports on translations wait for it

    systems = [("second", second), ("first", first)]  # the baseline stands first
    _, found = PairedTest(systems, {"BLEU": metric}, [references], test_type="bs")()
    of_second, of_first = (result for result in found["BLEU"] if isinstance(result, Result))
    assert of_first.p_value is not None
    return (of_first.score, of_second.score), of_first.p_value

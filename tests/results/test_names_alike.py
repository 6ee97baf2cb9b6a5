"""Labels that would be read alike are told apart in every table, figure and sentence of a report."""

import csv
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from made_records import make_record, plan_of, write
from sacrebleu.metrics.bleu import BLEU

from hf_vasso.results.collection import collect
from hf_vasso.results.comparison import compare
from hf_vasso.results.report import write_report
from hf_vasso.results.suite_plan import write_suite_plan
from hf_vasso.results.translations import REFERENCES_FILE, TRANSLATIONS_FILE

LONG = "vasso-with-a-long-name-and-rho-"
ALIKE = [
    ("none", "AdamW"),
    ("none", "SGD"),  # what the base is called on the second task
    ("none", "AdamW/SGD"),
    ("none", "AdamW "),
    ("a b", "a  b"),
    ("caf\u00e9", "cafe\u0301"),
    ("none", "majority class"),
    ("sam", "Pareto front"),
    (LONG + "0.01", LONG + "0.02"),
    ("a, another", "a"),
]
HISTORY = {"step": [1, 2], "loss": [0.7, 0.6], "sharpness/gap": [0.1, 0.1]}


def as_read(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).split())


def write_runs(folder: Path, labels: tuple[str, str]) -> None:
    """Two seeds of two methods on SST-2 and RTE, where the base has another optimizer, and on translations."""
    metrics = {"accuracy": 0.8, "loss": 0.5}
    for number, label in enumerate(labels):
        name = "none" if label == "none" else "sam"
        for seed in range(2):
            same = {"method_name": name, "history": HISTORY, "majority": {"accuracy": 0.5}}
            for task, optim in (("sst2", "adamw_torch"), ("rte", "sgd")):
                flags = {**make_record().arguments, "optim": optim, "seed": seed}
                values = {**metrics, "accuracy": 0.7 + 0.01 * seed + 0.05 * number}
                record = make_record(label, seed, task=task, task_label=task, metrics=values, arguments=flags, **same)
                write(record, folder, f"{task}-{number}-{seed}")
            write_translations(folder / f"text-{number}-{seed}", label, name, seed, wrong=number + 1)
    runs = [(task, label, seed) for task in ("sst2", "rte", "numbers") for label in labels for seed in range(3)]
    write_suite_plan(plan_of([list(labels)], *runs), folder)


def write_translations(folder: Path, label: str, method_name: str, seed: int, wrong: int) -> None:
    references = [f"one two three four five six seven {n}" for n in range(8)]
    texts = [f"x {line}" if n < wrong else line for n, line in enumerate(references)]
    bleu = BLEU().corpus_score(texts, [references]).score
    task = {"task": "numbers", "task_label": "numbers", "metrics": {"bleu": bleu}}
    record = make_record(label, seed, method_name=method_name, signatures={"bleu": "nrefs:1"}, **task)
    write(record, folder.parent, folder.name)
    for name, lines in ((TRANSLATIONS_FILE, texts), (REFERENCES_FILE, references)):
        (folder / name).write_text("".join(f"{line}\n" for line in lines))


def column(path: Path, name: str) -> set[str]:
    return {as_read(row[name]) for row in csv.DictReader(path.open()) if name in row}


def words_of(drawing: Path) -> list[str]:
    """Of a contrast, the words of each of the two."""
    elements = (element for element in ElementTree.parse(drawing).iter() if element.tag.endswith("}text"))
    texts = ["".join(element.itertext()) for element in elements]
    return [as_read(word) for text in texts for word in text.split("− ") if word]


@pytest.mark.parametrize("labels", ALIKE, ids=map(ascii, ALIKE))
def test_told_apart_everywhere(labels, tmp_path):
    write_runs(tmp_path / "runs", labels)
    comparison = compare(collect(tmp_path / "runs"))
    shown = {as_read(comparison.name(label)) for label in labels}
    assert len(shown) == 2
    assert len(comparison.sentence_tests) == 2
    assert comparison.sentence_tests[0].first > comparison.sentence_tests[0].second  # each has its own translations

    report = write_report(tmp_path / "runs", tmp_path / "report").parent
    tables = {path.stem: path for path in (report / "tables").glob("*.csv")}
    methods = [as_read(row["method"]) for row in csv.DictReader(tables["scores"].open())]
    assert len(methods) == len(set(methods)) == 3  # two methods and the most frequent label
    for name in ("secondary", "cost", "settings", "seeds", "missing"):
        assert len(column(tables[name], "method")) >= 2, name
    for name in ("contrasts", "secondary-contrasts", "sentences", "averages"):
        for contrast in column(tables[name], "contrast"):
            assert len(set(contrast.split(" minus "))) == 2, name
    for path in (report / "figures").glob("*.csv"):
        names = column(path, "first") | column(path, "second") | column(path, "method")
        assert len(names) >= 2, path.name
        words = words_of(path.with_suffix(".svg"))
        drawn = [word for word in words if "..." in word or word in names]  # "…" as it is read
        assert len(set(drawn)) == len(names), path.name
        assert len(set(drawn)) == len(drawn) or "differences" in path.name, path.name


def test_a_base_without_an_optimizer_goes_by_its_label(tmp_path):
    arguments = {name: value for name, value in make_record().arguments.items() if name != "optim"}
    for seed in range(2):
        write(make_record("none", seed, arguments=arguments), tmp_path, f"none-{seed}")
    assert compare(collect(tmp_path)).name("none") == "none"

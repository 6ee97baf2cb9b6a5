"""A report of runs that no one has trained: its words and tables, its files, and what hostile or broken records do."""

import csv
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from xml.etree import ElementTree

import pytest
import synthetic_runs

from hf_vasso.cli import main
from hf_vasso.results.failure import Failure, write_failure
from hf_vasso.results.record import write_record
from hf_vasso.results.report import write_report
from hf_vasso.results.report.content import Content, Section, Table
from hf_vasso.results.report.page import render_page
from hf_vasso.spelling import escape_markdown

GOLDEN = Path(__file__).parent / "golden"
REFRESH = bool(os.environ.get("HF_VASSO_REFRESH_GOLDEN"))


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The folder of a suite's report."""
    folder = tmp_path_factory.mktemp("suite")
    synthetic_runs.write_suite(folder / "runs")
    return write_report(folder / "runs", folder / "report").parent


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """The folder of the report of hostile records."""
    folder = tmp_path_factory.mktemp("hostile")
    synthetic_runs.write_hostile(folder / "runs")
    return write_report(folder / "runs", folder / "report").parent


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# --- words and tables ---


def test_words_and_tables_are_the_golden_ones(report):
    found = {name for name in names(report) if name.startswith("tables/")} | {"report.md"}
    if REFRESH:
        for name in found:
            (GOLDEN / name).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / name).write_text((report / name).read_text())
    assert found == names(GOLDEN)
    for name in sorted(found):
        assert (report / name).read_text() == (GOLDEN / name).read_text(), name


def test_the_answer_has_the_numbers_of_the_records(report):
    runs = {
        label: [synthetic_runs.record("sst2-clean", label, seed).metrics["accuracy"] for seed in range(10)]
        for label in ("vasso", "sam")
    }
    difference = 100 * (fmean(runs["vasso"]) - fmean(runs["sam"]))
    sentence = f"vasso minus sam in accuracy on sst2-clean: {difference:+.2f} points \\["
    assert sentence in (report / "report.md").read_text()


def test_page_and_markdown_and_csv_have_the_same_cells(report):
    page, markdown = (report / "report.html").read_text(), (report / "report.md").read_text()
    with open(report / "tables" / "contrasts.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert len(rows) == 8  # four contrasts on two tasks
    for row in rows:
        assert "".join(f"<td>{cell}</td>" for cell in row) in re.sub(r' class="[^"]*"', "", page)
        assert " | ".join(map(escape_markdown, row)).replace("\\[", "[").replace("\\]", "]") in re.sub(
            " +", " ", markdown
        )
    assert (
        re.findall('<th scope="col"[^>]*>([^<]*)</th>', page.partition('id="contrasts"')[2])[: len(header)] == header
    )


def test_a_cell_that_misses_all_its_runs_is_one_row(tmp_path):
    synthetic_runs.write_suite(tmp_path / "runs")
    for seed in (0, 1, 2, 5):
        (tmp_path / "runs" / synthetic_runs.folder_of("sst2-clean", "sam", seed) / "result.json").unlink()
    out = write_report(tmp_path / "runs", tmp_path / "out").parent
    assert (out / "tables" / "missing.csv").read_text().splitlines() == [
        "task,model,method,seeds,runs",
        "sst2-clean,all-MiniLM-L6-v2,none-2x,7,1",
        'sst2-clean,all-MiniLM-L6-v2,sam,"0 to 2, 5",4',
    ]


# --- files ---


def test_files(report):
    found = names(report)
    assert {"report.html", "report.md", "tables/scores.csv", "tables/scores.tex", "tables/seeds.csv"} <= found
    figures = {name for name in found if name.startswith("figures/")}
    assert {name for name in figures if name.endswith("sst2-clean.svg")} == {
        f"figures/{kind}-1-sst2-clean.svg" for kind in ("scores", "trade", "loss", "gap")
    }
    assert {Path(name).stem for name in figures if name.endswith(".svg")} == {
        Path(name).stem for name in figures if name.endswith(".csv")
    }
    assert found == {"report.html", "report.md"} | figures | {name for name in found if name.startswith("tables/")}


def test_equal_runs_give_equal_files(report, tmp_path):
    synthetic_runs.write_suite(tmp_path / "runs")
    again = write_report(tmp_path / "runs", tmp_path / "report").parent
    assert names(again) == names(report)
    for name in names(report):
        assert (again / name).read_bytes() == (report / name).read_bytes(), name


def test_what_an_earlier_report_wrote_is_deleted_and_nothing_else(tmp_path):
    synthetic_runs.write_suite(tmp_path / "runs")
    out = write_report(tmp_path / "runs", tmp_path / "out").parent
    for name in ("notes.txt", "tables/mine.csv", "tables/mine.tex", "figures/mine.svg", "figures/scores-1-mine.csv"):
        (out / name).write_text("mine")
    before = names(out)
    (tmp_path / "runs" / "old" / "result.json").unlink()
    shutil.rmtree(tmp_path / "runs" / "sst2-noise-30")
    write_report(tmp_path / "runs", out)
    stale = {f"tables/{name}.{end}" for name in ("left-out", "failed", "averages") for end in ("csv", "tex")} | {
        f"figures/{kind}-2-sst2-noise-30.{end}"
        for kind in ("scores", "trade", "loss", "gap")
        for end in ("csv", "svg")
    }
    assert before - names(out) == stale
    assert names(out) <= before


def test_the_page_links_to_all_its_files(report):
    links = re.findall('href="([^"#:]+)"', (report / "report.html").read_text())
    assert sorted(links) == sorted(names(report) - {"report.html", "report.md"})


def test_each_cell_of_a_page_is_read_a_few_times():
    """However many rows there are: what a column holds is found out once."""
    reads = []

    class Row(dict):
        def __getitem__(self, name):
            reads.append(name)
            return super().__getitem__(name)

    rows = [Row(method="sam", n=number) for number in range(100)]
    render_page(Content("runs", ["Nothing."], [Section("scores", "Scores", tables=[Table("seeds", "Seeds", rows)])]))
    assert len(reads) <= 2 * 2 * len(rows)


def test_the_page_needs_nothing_else(report):
    page = (report / "report.html").read_text()
    assert "default-src 'none'" in page
    assert re.findall(r"<(?:link|img|iframe|object|embed)\b", page) == []
    assert re.findall(r"\bsrc=|@import|url\((?!#)", page) == []
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) > 100  # those of the figures' elements too
    assert {name for name in ids if ids.count(name) > 1} == set()


# --- the command ---


def test_command(tmp_path, capsys):
    synthetic_runs.write_suite(tmp_path / "runs")
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"Open {(tmp_path / 'out' / 'report.html').as_uri()}\n"
    assert printed.err.startswith("left out: old/result.json: this version reads schema 2, got 1;")
    assert printed.err.count("\n") == 1


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "holds no record that can be used: no result.json was found"),
        ({"a/result.json": "{"}, "holds no record that can be used: 1 files were left out"),
    ],
)
def test_nothing_to_report(tmp_path, capsys, files, words):
    (tmp_path / "runs").mkdir()
    for name, text in files.items():
        (tmp_path / "runs" / name).parent.mkdir()
        (tmp_path / "runs" / name).write_text(text)
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_mistake_of_this_package_is_not_told_as_the_users(tmp_path, monkeypatch):
    def mistaken(collection):
        raise ValueError("max() arg is an empty sequence")

    synthetic_runs.write_suite(tmp_path / "runs")
    monkeypatch.setattr("hf_vasso.results.report.compare", mistaken)
    with pytest.raises(ValueError, match="empty sequence"):
        main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")])


def test_no_such_folder(tmp_path, capsys):
    assert main(["report", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 2
    assert str(tmp_path / "runs") in capsys.readouterr().err


def test_runs_that_failed_after_their_record_was_written(tmp_path):
    synthetic_runs.write_suite(tmp_path / "runs")
    folder = tmp_path / "runs" / synthetic_runs.folder_of("sst2-clean", "none", 0)
    write_failure(Failure("sst2-clean", synthetic_runs.MODEL, "none", 0, "it began with other flags"), folder)
    os.utime(folder / "result.json", (0, 0))
    out = write_report(tmp_path / "runs", tmp_path / "out").parent
    answer = (out / "report.md").read_text().partition("## ")[0]
    assert "failed runs: 1, " in answer
    assert "Still in these numbers, with an older record: runs that failed since: 1." in answer
    assert "AdamW,0,it began with other flags" in (out / "tables" / "failed.csv").read_text()


# --- few runs, several models ---


def test_one_run(tmp_path):
    run = replace(synthetic_runs.record("sst2-clean", "none", 0), history={})
    write_record(run, tmp_path / "runs")
    page = write_report(tmp_path / "runs", tmp_path / "out").read_text()
    assert "Nothing is compared" in page
    assert not re.search(r"\b(nan|inf)\b", (tmp_path / "out" / "report.md").read_text())


def test_two_models_are_told_apart(tmp_path):
    for model in ("bert", "roberta"):
        for label in ("sam", "vasso"):
            for seed in range(2):
                run = replace(synthetic_runs.record("sst2-clean", label, seed), model=model)
                write_record(run, tmp_path / "runs" / model / label / str(seed))
    out = write_report(tmp_path / "runs", tmp_path / "out").parent
    assert "scores-1-sst2-clean-with-bert.svg" in os.listdir(out / "figures")
    assert "scores-2-sst2-clean-with-roberta.svg" in os.listdir(out / "figures")
    answer = (out / "report.md").read_text().partition("## ")[0]
    assert "vasso minus sam in accuracy on sst2-clean with bert:" in answer
    assert "vasso minus sam in accuracy on sst2-clean with roberta:" in answer


# --- hostile records ---


def test_names_reach_no_path(hostile):
    assert {path.name for path in hostile.parent.iterdir()} == {"runs", "report"}
    for name in names(hostile):
        assert re.fullmatch(r"report\.(html|md)|(tables|figures)/[a-z0-9-]{1,60}\.(csv|tex|svg)", name), name


def test_names_are_words_in_the_page(hostile):
    page = (hostile / "report.html").read_text()
    assert page.count("<script>") == page.count("</script>") == 1
    assert "<img" not in page
    assert page.count("</style>") == 1 + page.count('<style type="text/css">')
    assert "&lt;script&gt;document.title" in page


def test_names_are_words_in_figures(hostile):
    for path in (hostile / "figures").glob("*.svg"):
        tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(path.read_text()).iter()}
        assert "script" not in tags and "img" not in tags, path.name


def test_names_are_words_in_markdown(hostile):
    """A parser with tables, strikethrough and HTML finds no link, image or HTML but the report's own."""
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    environment: dict = {}
    blocks = parser.parse((hostile / "report.md").read_text(), environment)
    assert environment.get("references", {}) == {}
    tokens = [token for block in blocks for token in (block, *(block.children or []))]
    places = [
        token.attrs.get("href") or token.attrs.get("src") for token in tokens if token.type in ("link_open", "image")
    ]
    assert places
    assert all(re.fullmatch(r"(figures|tables)/[a-z0-9-]+\.(svg|csv)", str(place)) for place in places)
    kinds = {token.type for token in tokens}
    assert not kinds & {"html_inline", "html_block", "s_open", "em_open", "strong_open", "code_inline", "fence"}


def test_a_score_that_is_no_number_is_told(hostile):
    markdown = (hostile / "report.md").read_text()
    assert "is not a finite number" in markdown
    assert not re.search(r"\b(nan|inf)\b", markdown)

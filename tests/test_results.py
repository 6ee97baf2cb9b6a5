"""The committed records are whole, and the pages say of them what they say."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hf_vasso.results.collection import collect
from hf_vasso.results.comparison import Comparison, compare
from hf_vasso.results.report.rows import contrast_rows, score_rows, secondary_rows
from hf_vasso.results.tables import markdown_table

ROOT = Path(__file__).parents[1]
PAGES = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")))
ARCHIVES = sorted((ROOT / "docs" / "results").glob("*.tar.xz"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda archive: archive.name)
def comparison(request, tmp_path_factory) -> Comparison:
    folder = tmp_path_factory.mktemp("records")
    with tarfile.open(request.param) as archive:
        archive.extractall(folder, filter="data")
    collection = collect(folder)
    assert (collection.left_out, collection.failures, collection.missing) == ([], [], [])
    assert len(collection.records) == len(collection.plans[0].runs)
    return compare(collection)


def test_a_page_quotes_the_tables(comparison):
    headlines, others = (
        [contrast for contrast in comparison.contrasts if contrast.headline is wanted] for wanted in (True, False)
    )
    tables = [score_rows(comparison), secondary_rows(comparison)]
    tables += [contrast_rows(replace(comparison, contrasts=contrasts)) for contrasts in (headlines, others)]
    for rows in tables:
        assert rows and markdown_table(rows) in PAGES, (
            f"put this into README.md or a page in docs:\n{markdown_table(rows)}"
        )


def test_the_readme_quotes_the_floor():
    records = map(json.loads, (ROOT / "docs" / "results" / "step_time.jsonl").read_text(encoding="utf-8").splitlines())
    ratios = {record["contestant"]: record["over_floor"] for record in records}
    sam, vasso = (
        "{median:.2f} [{0:.2f}, {1:.2f}]".format(*ratios[name]["quartiles"], median=ratios[name]["median"])
        for name in ("sam", "vasso")
    )
    words = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"SAM takes {sam} of the time and VASSO {vasso}." in words

"""The committed records are whole, and the pages say of them what they say."""

import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from hf_vasso.results.collection import collect
from hf_vasso.results.comparison import Comparison, compare
from hf_vasso.results.report.rows import contrast_rows, score_rows
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
    headline = replace(comparison, contrasts=[contrast for contrast in comparison.contrasts if contrast.headline])
    for rows in (score_rows(comparison), contrast_rows(headline)):
        assert markdown_table(rows) in PAGES, f"put this into README.md or a page in docs:\n{markdown_table(rows)}"

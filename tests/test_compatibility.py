"""The page of what works, what is refused and what is not tested: its words, and that the tests it names exist."""

import ast
import re
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/compatibility.md").read_text(encoding="utf-8")
HEAD = ["What", "State", "Shown by"]
LINES = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("|")]
ROWS = [cells for cells in LINES if cells != HEAD and set(cells) != {"---"}]
TEST = re.compile(r"`(tests/[\w/]+\.py(?:::\w+){1,2})`")
IDS = sorted({test for cells in ROWS for test in TEST.findall(cells[-1])})


@cache
def defined_in(file: str) -> set[str]:
    """The functions of a file, and the methods of its classes with the name of the class before theirs."""
    found = set()
    for node in ast.parse((ROOT / file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{method.name}" for method in node.body if isinstance(method, ast.FunctionDef)}
    return found


def test_every_heading_has_a_table():
    assert PAGE.count("\n## ") == LINES.count(HEAD) > 1
    assert len(LINES) == len(ROWS) + 2 * LINES.count(HEAD)


@pytest.mark.parametrize("cells", ROWS, ids=lambda cells: cells[0])
def test_a_row_names_its_tests_unless_there_are_none(cells):
    what, state, shown_by = cells
    assert what
    assert state in ("works", "refused", "not tested")
    assert shown_by == ", ".join(f"`{test}`" for test in TEST.findall(shown_by)), "ids alone, each in backticks"
    assert bool(shown_by) == (state != "not tested")


@pytest.mark.parametrize("test", IDS)
def test_a_test_that_is_named_exists(test):
    file, name = test.split("::", 1)
    assert (ROOT / file).is_file()
    assert name.rpartition("::")[2].startswith("test_")
    assert name in defined_in(file)


def test_no_row_stands_twice():
    assert [what for what, count in Counter(cells[0] for cells in ROWS).items() if count > 1] == []

"""Write the report of all runs below a folder: what `hf-vasso report` does."""

import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

from hf_vasso.results.collection import Collection, RunsFolderError, collect
from hf_vasso.results.comparison import compare
from hf_vasso.results.files import write_text
from hf_vasso.results.report.content import Content, build_content
from hf_vasso.results.report.page import render_markdown, render_page
from hf_vasso.results.tables import csv_table, latex_table

__all__ = ["PAGE_FILE", "main", "write_report"]

PAGE_FILE = "report.html"
_FILE_ON_PAGE = re.compile(r'<a href="((?:tables|figures)/[a-z0-9-]+\.(?:csv|tex|svg))"')


def main(arguments: Sequence[str]) -> int:
    """
    Run `hf-vasso report`.

    Args:
        arguments: The words after the command's name.

    Returns:
        The exit status: 0, or 2 where there is nothing to report.
    """
    parser = ArgumentParser(
        prog="hf-vasso report",
        description="Compare all runs below a folder: a page, its Markdown, tables and figures.",
    )
    parser.add_argument("runs_dir", type=Path, help="folder that is searched for result.json files")
    parser.add_argument(
        "--out", type=Path, required=True, help="folder for report.html, report.md, tables and figures"
    )
    given = parser.parse_args(arguments)
    try:
        page = write_report(given.runs_dir, given.out)
    except (RunsFolderError, OSError) as error:
        print(f"hf-vasso: {error}", file=sys.stderr)
        return 2
    print(f"Open {page.resolve().as_uri()}")
    return 0


def write_report(runs_dir: Path, out: Path) -> Path:
    """
    Write the report of all runs below a folder, and name on standard error each file that is left out.

    Args:
        runs_dir: The folder.
        out: It gets `report.html`, `report.md`, `tables` (CSV and LaTeX) and `figures` (SVG, and CSV with their
            numbers). What an earlier report wrote there is replaced, or deleted where this one has no such file.

    Returns:
        The path of `report.html`.

    Raises:
        RunsFolderError: There is no such folder, or no record in it that can be used.
        OSError: A file cannot be written.
    """
    collection = collect(runs_dir)
    for file in collection.left_out:
        print(f"left out: {file.path}: {file.reason}", file=sys.stderr)
    if not collection.records:
        raise RunsFolderError(_nothing_found(runs_dir, collection))
    content = build_content(collection, compare(collection), name=runs_dir.resolve().name)
    files = _files(content)
    for name in _files_of_page(out / PAGE_FILE) - files.keys():
        (out / name).unlink(missing_ok=True)
    for name, text in files.items():
        write_text(out / name, text)
    return out / PAGE_FILE


def _files_of_page(page: Path) -> set[str]:
    """What an earlier report wrote beside its page, which links to all of it: other files are not this command's."""
    return set(_FILE_ON_PAGE.findall(page.read_text(encoding="utf-8", errors="replace"))) if page.is_file() else set()


def _nothing_found(runs_dir: Path, collection: Collection) -> str:
    found = f"{len(collection.left_out)} files were left out" if collection.left_out else "no result.json was found"
    return f"{runs_dir} holds no record that can be used: {found}; name a folder with finished runs"


def _files(content: Content) -> dict[str, str]:
    """All files by their names below the folder, the page last: it shows the others."""
    files = {}
    for section in content.sections:
        for table in section.tables:
            files[f"tables/{table.name}.csv"] = csv_table(table.rows)
            files[f"tables/{table.name}.tex"] = latex_table(table.rows)
        for drawing in section.drawings:
            files[f"figures/{drawing.name}.csv"] = csv_table(drawing.rows)
            files[f"figures/{drawing.name}.svg"] = drawing.svg
    return files | {"report.md": render_markdown(content), PAGE_FILE: render_page(content)}

"""Show a report as one self-contained page, and as Markdown."""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hf_vasso.results.report.content import Content
from hf_vasso.results.report.drawing import BLUE, FAINT, GREY, INK, PAPER
from hf_vasso.results.tables import markdown_table
from hf_vasso.spelling import escape_markdown

__all__ = ["render_markdown", "render_page"]

# What `report.css` calls the colours of figures that would be hard to see in the dark.
_PAGE_COLOURS = {INK: "ink", FAINT: "rule", PAPER: "paper", BLUE: "mark", GREY: "base"}
_INTERVAL = re.compile(r"\[[-+.e\d]+, [-+.e\d]+\]")  # its brackets mean nothing, and its column stays one of numbers
_BEGINS_WITH_NUMBER = re.compile(r"[\[<+-]? ?[0-9]")


def render_page(content: Content) -> str:
    """
    Show a report as a page that needs no other file and no network.

    Args:
        content: What it says.

    Returns:
        The HTML. Whatever stands in a record is text there, never markup or script: Jinja2 escapes it, and the page
        itself forbids every script but its own, told by its hash, and every connection.
    """
    script = _source("report.js")
    return (
        _environment()
        .get_template("report.html.j2")
        .render(content=content, style=Markup(_source("report.css")), script=Markup(script), script_hash=_hash(script))
    )


def render_markdown(content: Content) -> str:
    """
    Show a report as Markdown, with its figures in files beside it.

    Args:
        content: What it says.

    Returns:
        The Markdown.
    """
    return _environment().get_template("report.md.j2").render(content=content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("hf_vasso.results.report"),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "inline": _inline,
        "words": escape_markdown,
        "markdown_table": _markdown_table,
        "numeric_columns": _numeric_columns,
    }
    return environment


def _source(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _hash(script: str) -> str:
    """As a content security policy names a script."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _inline(svg: str) -> Markup:
    """A figure with the page's own colours, which change in the dark. Matplotlib has escaped its words."""
    for colour, name in _PAGE_COLOURS.items():
        svg = svg.replace(colour, f"var(--{name})")
    return Markup(svg)


def _numeric_columns(rows: Sequence[Mapping[str, object]]) -> set[str]:
    """The columns all of whose cells begin with a number, as "79.1 ± 0.3" does; empty ones do not count."""
    columns = {name: [cell for row in rows if (cell := str(row[name]))] for name in rows[0]}
    return {name for name, cells in columns.items() if cells and all(map(_BEGINS_WITH_NUMBER.match, cells))}


def _markdown_table(rows: Sequence[Mapping[str, object]]) -> str:
    """A table of text that Markdown shows as it is."""
    return markdown_table([{_in_words(name): _in_words(cell) for name, cell in row.items()} for row in rows])


def _in_words(cell: object) -> str:
    text = str(cell)
    return text if _INTERVAL.fullmatch(text) else escape_markdown(text)

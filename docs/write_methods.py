"""
Write the tables and cards of the methods into README.md and docs/methods.md, from `METHODS`.

    python docs/write_methods.py

Between `<!-- methods -->` and `<!-- end of methods -->` nothing is written by hand.
"""

import inspect
import json
import re
from pathlib import Path

from hf_vasso.methods import METHODS
from hf_vasso.methods.listing import SHARED, list_methods
from hf_vasso.results.tables import markdown_table

__all__ = ["with_methods", "write"]

ROOT = Path(__file__).parents[1]
CARDS = "docs/methods.md"
PAGES = {
    "README.md": ("method", "what it is", "passes", "time over `none`", "extra copies", "paper"),
    CARDS: ("method", "numbers", "passes", "time over `none`", "extra copies"),
}
"""Page to the columns of its table."""
STEP_TIMES = ROOT / "docs" / "results" / "step_time.jsonl"
_GENERATED = re.compile("(<!-- methods -->\n).*?(\n<!-- end of methods -->)", re.DOTALL)


def with_methods(page: str, text: str) -> str:
    """
    The text of a page with what `METHODS` says now.

    Args:
        page: One of `PAGES`.
        text: The page as it stands.

    Returns:
        The page as it should be.
    """
    parts = [_table(*PAGES[page])]
    if page == CARDS:
        parts += [*SHARED, *map(_card, METHODS)]
    return _GENERATED.sub(lambda found: found[1] + "\n" + "\n\n".join(parts) + "\n" + found[2], text)


def write() -> None:
    """Bring all pages up to date."""
    for page in PAGES:
        path = ROOT / page
        path.write_text(with_methods(page, path.read_text(encoding="utf-8")), encoding="utf-8")


def _table(*columns: str) -> str:
    times = _times()
    rows = []
    for method in list_methods():
        row = {
            "method": f"`{method['name']}`",
            "what it is": _what_it_is(method["description"]),
            "numbers": ", ".join(f"{name} {value:g}" for name, value in method["numbers"].items()),
            "passes": method["passes"],
            "time over `none`": times.get(method["name"], ""),
            "extra copies": str(method["extra_copies"]),
            "paper": _link(method["paper"]),
        }
        rows.append({column: row[column] for column in columns})
    return markdown_table(rows)


def _what_it_is(description: str) -> str:
    """The description without the method's name in front."""
    words = description.partition(": ")[2] or description
    return words[0].upper() + words[1:]


def _times() -> dict[str, str]:
    """Method to the median time of its step in units of that of `none`, with the quartiles."""
    lines = map(json.loads, STEP_TIMES.read_text(encoding="utf-8").splitlines())
    ratios = {line["contestant"]: line["over_none"] for line in lines if line["contestant"] != "none"}
    return {
        name: "{:.2f} [{:.2f}, {:.2f}]".format(over["median"], *over["quartiles"]) for name, over in ratios.items()
    }


def _card(name: str) -> str:
    """The docstring of a preset."""
    summary, _, rest = (inspect.getdoc(METHODS[name]) or "").partition("\n\n")
    text, _, numbers = rest.partition("Args:\n")
    numbers = numbers.partition("\nRaises:")[0]
    entries = re.findall(r"^    (\w+): (.*?)(?=\n    \w+: |\Z)", numbers, re.MULTILINE | re.DOTALL)
    listed = [f"- `{number}`: {' '.join(words.split())}" for number, words in entries]
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]
    return "\n\n".join(part for part in (f"### `{name}`", summary, *paragraphs, "\n".join(listed)) if part)


def _link(url: str | None) -> str:
    return f"[{url.rpartition('/')[2]}]({url})" if url else ""


if __name__ == "__main__":
    write()

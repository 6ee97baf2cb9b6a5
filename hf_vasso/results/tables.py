"""Turn one list of rows into a table: aligned for a terminal, in Markdown, as CSV or in LaTeX."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

__all__ = ["csv_table", "latex_table", "markdown_table", "text_table"]

Row = Mapping[str, object]

_NUMBER = re.compile(r"[-+±/–\[\], .e\d]+")

# What a spreadsheet takes for a formula; a number keeps its sign.
_FORMULA = re.compile(r"[=@\t\r]|[-+](?!(\d+(\.\d*)?(e[-+]?\d+)?|inf)\Z)")

# Brackets and stars mean something behind the end of a row.
_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{character: f"{{{character}}}" for character in "[]*"},
    **{character: f"${character}$" for character in "<>|"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "–": "--",
}


def text_table(rows: Sequence[Row]) -> str:
    """
    Align rows for a terminal.

    Args:
        rows: Column name to cell, at least one row. All rows have the columns of the first one, in its order.

    Returns:
        A header, a rule and one line per row; columns that hold only numbers stand to the right.

    Example:
        >>> print(text_table([{"method": "AdamW", "accuracy": 0.75}, {"method": "vasso", "accuracy": 0.8125}]))
        method  accuracy
        ------  --------
        AdamW       0.75
        vasso     0.8125
    """
    columns = _columns(rows)
    rule = ["-" * len(column[0]) for column in columns]
    lines = list(zip(*columns, strict=True))
    lines.insert(1, tuple(rule))
    return "\n".join("  ".join(line).rstrip() for line in lines)


def markdown_table(rows: Sequence[Row]) -> str:
    """
    Write rows as a Markdown table that is also aligned to the eye.

    Args:
        rows: Column name to cell, at least one row. All rows have the columns of the first one, in its order. A cell
            may hold Markdown, such as a link: what is to be text alone is escaped before, by `escape_markdown`. Only
            what would end the cell or begin HTML is escaped here.

    Returns:
        The table without a final newline.

    Example:
        >>> print(markdown_table([{"method": "AdamW", "accuracy": 0.75}]))
        | method | accuracy |
        | ------ | -------: |
        | AdamW  |     0.75 |
    """
    rows = [{_in_cell(name): _in_cell(cell) for name, cell in row.items()} for row in rows]
    columns = _columns(rows, narrowest=2)  # a rule needs a hyphen beside its colon
    numeric = [_is_numeric(rows, name) for name in rows[0]]
    rule = [
        "-" * (len(column[0]) - 1) + (":" if right else "-") for column, right in zip(columns, numeric, strict=True)
    ]
    lines = list(zip(*columns, strict=True))
    lines.insert(1, tuple(rule))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def csv_table(rows: Sequence[Row]) -> str:
    r"""
    Write rows as comma-separated values.

    Args:
        rows: Column name to cell, at least one row. All rows have the columns of the first one, in its order.

    Returns:
        A header and one line per row, each with a newline. Text that a spreadsheet would take for a formula has an
        apostrophe in front.

    Example:
        >>> csv_table([{"method": "AdamW", "accuracy": 0.75}])
        'method,accuracy\nAdamW,0.75\n'
    """
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for cells in (list(rows[0]), *(row.values() for row in rows)):
        writer.writerow(map(_no_formula, cells))
    return file.getvalue()


def latex_table(rows: Sequence[Row]) -> str:
    r"""
    Write rows as a LaTeX `tabular`, which needs no package.

    Args:
        rows: Column name to cell, at least one row. All rows have the columns of the first one, in its order.

    Returns:
        The table with a final newline; numbers stand to the right.

    Example:
        >>> print(latex_table([{"method": "AdamW", "accuracy (%)": 75}]), end="")
        \begin{tabular}{lr}
        \hline
        method & accuracy (\%) \\
        \hline
        AdamW & 75 \\
        \hline
        \end{tabular}
    """
    alignment = "".join("r" if _is_numeric(rows, name) else "l" for name in rows[0])
    header, *lines = (_latex_line(cells) for cells in (list(rows[0]), *(list(row.values()) for row in rows)))
    body = [r"\hline", header, r"\hline", *lines, r"\hline"]
    return "\n".join([rf"\begin{{tabular}}{{{alignment}}}", *body, r"\end{tabular}"]) + "\n"


def _no_formula(cell: object) -> str:
    return f"'{cell}" if _FORMULA.match(str(cell)) else str(cell)


def _latex_line(cells: Sequence[object]) -> str:
    escaped = ["".join(_LATEX.get(character, character) for character in str(cell)) for cell in cells]
    return " & ".join(escaped) + r" \\"


def _in_cell(text: object) -> str:
    """Text that stays within its cell of a Markdown table; what is escaped already is left as it is."""
    one_line = " ".join(str(text).split("\n"))
    return re.sub(r"\\.|[|<]", lambda found: found[0] if found[0][0] == "\\" else f"\\{found[0]}", one_line)


def _columns(rows: Sequence[Row], narrowest: int = 1) -> list[list[str]]:
    """Each column as its header and cells, padded to one width."""
    columns = []
    for name in rows[0]:
        cells = [name, *(str(row[name]) for row in rows)]
        width = max(narrowest, *(len(cell) for cell in cells))
        align = str.rjust if _is_numeric(rows, name) else str.ljust
        columns.append([align(cell, width) for cell in cells])
    return columns


def _is_numeric(rows: Sequence[Row], name: str) -> bool:
    """Whether a column holds numbers, perhaps with a sign, an interval or a range, and perhaps empty cells."""
    cells = [str(row[name]) for row in rows if row[name] != ""]
    return bool(cells) and all(_NUMBER.fullmatch(cell) and any(map(str.isdigit, cell)) for cell in cells)

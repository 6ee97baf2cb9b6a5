"""Turn one list of rows into a table, aligned for a terminal or in Markdown."""

from collections.abc import Mapping, Sequence

__all__ = ["markdown_table", "text_table"]

Row = Mapping[str, object]


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
        rows: Column name to cell, at least one row. All rows have the columns of the first one, in its order.

    Returns:
        The table without a final newline.

    Example:
        >>> print(markdown_table([{"method": "AdamW", "accuracy": 0.75}]))
        | method | accuracy |
        | ------ | -------: |
        | AdamW  |     0.75 |
    """
    columns = _columns(rows, narrowest=2)  # a rule needs a hyphen beside its colon
    numeric = [_is_numeric(rows, name) for name in rows[0]]
    rule = [
        "-" * (len(column[0]) - 1) + (":" if right else "-") for column, right in zip(columns, numeric, strict=True)
    ]
    lines = list(zip(*columns, strict=True))
    lines.insert(1, tuple(rule))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


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
    """Whether a column holds numbers, with a sign or without, and perhaps empty cells."""
    try:
        return bool([float(str(row[name])) for row in rows if row[name] != ""])
    except ValueError:
        return False

"""Draw the score by method: the mean with its interval, and every seed as a dot."""

from collections.abc import Sequence

from matplotlib.axes import Axes

from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.report.drawing import Style, draw_panel, short_names
from hf_vasso.results.report.figures.panel import (
    Drawing,
    axis_label,
    cell_title,
    file_name,
    list_rows,
    mean_and_interval,
    metric_scale,
    paint_interval,
    panel_height,
    write_beside,
)

__all__ = ["draw_scores"]


def draw_scores(name: str, cells: Sequence[Cell], look: dict[str, Style]) -> Drawing:
    """Draw the scores of one task: a row per method."""

    def paint(axes: Axes) -> None:
        for place, cell in enumerate(cells):
            _paint_cell(axes, place, cell, look[cell.method])
        names = short_names([cell.name for cell in cells], 18)
        list_rows(axes, [f"{name}\nn = {cell.count}" for name, cell in zip(names, cells, strict=True)])
        axes.set_xlabel(axis_label(cells[0].metric, cells[0].direction))

    title = cell_title(cells[0])
    return Drawing(
        "scores",
        file_name(name, cells[0].where),
        title,
        "; ".join(f"{cell.name} {mean_and_interval(cell)}" for cell in cells),
        [
            {"method": cell.name, "metric": cell.metric, "seed": seed, "value": value}
            for cell in cells
            for seed, value in cell.values.items()
        ],
        draw_panel(name, title, panel_height(len(cells)), paint),
    )


def _paint_cell(axes: Axes, place: int, cell: Cell, style: Style) -> None:
    """Every seed as a dot, and the mean with its interval above them."""
    scale = metric_scale(cell.metric)
    dots = [scale * value for value in cell.values.values()]
    heights = [place + 0.2 + 0.07 * (number % 3) for number in range(len(dots))]  # so that equal dots are told apart
    axes.scatter(dots, heights, s=13, c=style.colour, marker=style.marker, alpha=0.55, linewidths=0)
    paint_interval(axes, place, scale * cell.mean, scale * cell.low, scale * cell.high, style)
    write_beside(axes, place, mean_and_interval(cell))

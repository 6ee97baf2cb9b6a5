"""Draw score against cost, with the Pareto front."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import offset_copy

from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.costs import Cost
from hf_vasso.results.comparison.task_runs import FRONT
from hf_vasso.results.report.drawing import INK, Style, draw_panel
from hf_vasso.results.report.figures.panel import (
    Drawing,
    axis_label,
    cell_title,
    file_name,
    legend_below,
    mean_and_interval,
    metric_scale,
)

__all__ = ["draw_trade"]


def draw_trade(name: str, cells: Sequence[Cell], costs: Sequence[Cost], look: dict[str, Style]) -> Drawing:
    """Draw the scores of one task against their cost."""
    passes = {cost.method: cost.passes for cost in costs if (cost.task, cost.model) == (cells[0].task, cells[0].model)}
    cells = sorted(
        (cell for cell in cells if cell.method in passes), key=lambda cell: (passes[cell.method], -_gain(cell))
    )
    front = _front(cells)

    def paint(axes: Axes) -> None:
        offsets = _offsets([passes[cell.method] for cell in cells])
        points = [
            _paint_point(axes, cell, passes[cell.method], offset, look[cell.method])
            for cell, offset in zip(cells, offsets, strict=True)
        ]
        line = _paint_front(axes, front, passes)
        axes.margins(y=0.12)
        axes.set_xlim(0, 1.2 * max(passes.values()) or 1)
        axes.set_xlabel("cost: forward passes of a training")
        axes.set_ylabel(axis_label(cells[0].metric, cells[0].direction))
        legend_below(axes, [*points, line], [*(cell.name for cell in cells), FRONT])

    title = f"{cell_title(cells[0])} against cost"
    return Drawing(
        "trade",
        file_name(name, cells[0].where),
        title,
        f"{'; '.join(f'{cell.name} {passes[cell.method]:g} passes, {mean_and_interval(cell)}' for cell in cells)}. "
        f"On the Pareto front: {', '.join(cell.name for cell in front)}",
        [
            {
                "method": cell.name,
                "forward passes": passes[cell.method],
                "metric": cell.metric,
                "mean": cell.mean,
                "low": cell.low,
                "high": cell.high,
                "on the Pareto front": "yes" if cell in front else "no",
            }
            for cell in cells
        ],
        draw_panel(name, title, 3.2, paint),
    )


def _paint_front(axes: Axes, front: Sequence[Cell], passes: Mapping[str, float]) -> Line2D:
    (line,) = axes.plot(
        [passes[cell.method] for cell in front],
        [metric_scale(cell.metric) * cell.mean for cell in front],
        color=INK,
        linewidth=0.9,
        linestyle="--",
        drawstyle="steps-post",
        zorder=1,
    )
    return line


def _paint_point(axes: Axes, cell: Cell, passes: float, offset: float, style: Style) -> Line2D:
    """The mean with its interval, drawn aside by an offset in points."""
    place = offset_copy(axes.transData, axes.get_figure(root=True), x=offset, units="points")
    ends = [metric_scale(cell.metric) * value for value in (cell.low, cell.mean, cell.high) if math.isfinite(value)]
    axes.update_datalim([(passes, end) for end in ends])  # what has a transform of its own does not count by itself
    axes.plot([passes] * len(ends), ends, color=style.colour, linewidth=1.8, transform=place)
    mean = metric_scale(cell.metric) * cell.mean
    look = {"color": style.colour, "markersize": 7, "linestyle": "none"}
    (point,) = axes.plot(passes, mean, style.marker, transform=place, **look)
    return point


def _offsets(costs: Sequence[float]) -> list[float]:
    """How far aside each is drawn, in points: methods of equal cost stand side by side, the best in its place."""
    return [10 * costs[:place].count(cost) for place, cost in enumerate(costs)]


def _front(cells: Sequence[Cell]) -> list[Cell]:
    """Those whose mean no cheaper one reaches, of cells in the order of their cost."""
    front: list[Cell] = []
    for cell in cells:
        if all(_gain(cell) > _gain(other) for other in front):
            front.append(cell)
    return front


def _gain(cell: Cell) -> float:
    return cell.mean if cell.direction == "higher" else -cell.mean

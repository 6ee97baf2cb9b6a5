"""What all figures share: a drawing with its numbers, and the words, rows and marks of a panel."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes

from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.metric_words import format_value, is_percent, metric_name
from hf_vasso.results.report.drawing import PAPER, Style, legend_columns, short_names

__all__ = [
    "Drawing",
    "axis_label",
    "cell_title",
    "file_name",
    "legend_below",
    "list_rows",
    "mean_and_interval",
    "metric_scale",
    "paint_interval",
    "panel_height",
    "write_beside",
]


@dataclass(frozen=True)
class Drawing:
    """
    A figure with its numbers.

    Args:
        kind: "scores", "differences", "secondary-differences", "trade", "loss" or "gap".
        name: Its file's name without the ending: small letters, digits and hyphens.
        title: What it shows, in a few words.
        text: What it says, for those who cannot see it.
        rows: Its numbers.
        svg: The drawing.
    """

    kind: str
    name: str
    title: str
    text: str
    rows: list[dict[str, object]]
    svg: str


def paint_interval(
    axes: Axes, place: float, mean: float, low: float, high: float, style: Style, filled: bool = True
) -> None:
    """A mean as a marker, filled or not, on the line of its interval where there is one."""
    if math.isfinite(low):
        axes.hlines(place, low, high, colors=style.colour, linewidths=2.2, capstyle="round")
    face = style.colour if filled else PAPER
    axes.plot(mean, place, style.marker, color=style.colour, markerfacecolor=face, markersize=7, zorder=3)


def mean_and_interval(cell: Cell) -> str:
    """In words: "78.6 [77.9, 79.3]", or the mean alone for one seed."""
    mean = format_value(cell.metric, cell.mean)
    if not math.isfinite(cell.low):
        return mean
    return f"{mean} [{format_value(cell.metric, cell.low)}, {format_value(cell.metric, cell.high)}]"


def cell_title(cell: Cell) -> str:
    """The task and the metric."""
    return f"{cell.where}: {metric_name(cell.metric)}"


def file_name(name: str, task: str) -> str:
    """A task's name made harmless; the number in front tells it apart."""
    return "-".join([name, *re.findall("[a-z0-9]+", task.lower())])[:60]


def panel_height(rows: int) -> float:
    """In inches, for so many rows."""
    return 0.95 + 0.52 * rows


def metric_scale(metric: str) -> float:
    """What a value is drawn at, per unit of the record's: shares are drawn in percent."""
    return 100.0 if is_percent(metric) else 1.0


def axis_label(metric: str, direction: str) -> str:
    """The metric, its unit and which values are better."""
    unit = ", %" if is_percent(metric) else ""
    return f"{metric_name(metric)}{unit} ({direction} is better)"


def list_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from the top, each with its name beside it."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.5)
    axes.tick_params("y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def write_beside(axes: Axes, place: int, words: str) -> None:
    """Write to the right of a row."""
    axes.annotate(
        words,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
    )


def legend_below(axes: Axes, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """What the colours and markers mean, under the panel. Collected by hand: Matplotlib hides what begins with "_"."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    names = short_names(names)
    figure.legend(handles, names, loc="outside lower left", ncols=legend_columns(names))

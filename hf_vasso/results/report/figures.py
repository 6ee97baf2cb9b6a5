"""Draw a comparison: scores, differences, score against cost, and what was logged along the training."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.transforms import offset_copy

from hf_vasso.results.comparison import Comparison
from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.comparison.contrasts import Contrast
from hf_vasso.results.comparison.costs import Cost
from hf_vasso.results.comparison.metric_words import SCORE, format_estimate, format_value, is_percent, metric_name
from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.record import Record
from hf_vasso.results.report.drawing import (
    BLUE,
    GREY,
    INK,
    PAPER,
    VERMILION,
    Style,
    draw_panel,
    legend_columns,
    short,
    styles,
)

__all__ = ["Drawing", "draw_figures"]

Curve = dict[float, list[float]]  # step to a value per seed

# Column of a history to the title of its panels and the words at their axis.
_LOGGED = {
    "loss": ("training loss", "loss at w"),
    "sharpness/gap": ("sharpness gap", "loss at w + eps minus loss at w"),
}


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


def draw_figures(comparison: Comparison, tasks: Sequence[TaskRuns]) -> list[Drawing]:
    """
    Draw all that a comparison has to show.

    Args:
        comparison: The rows that tables are made of, too.
        tasks: The runs, whose histories are drawn.

    Returns:
        Scores, differences, score against cost and training curves, in this order; only those with something to show.
    """
    look = styles({cell.method: cell.name for cell in comparison.cells})
    panels = _panels([cell for cell in comparison.cells if cell.headline])
    return [
        *(_draw_scores(f"scores-{number}", cells, look) for number, cells in enumerate(panels, 1)),
        *_draw_all_differences(comparison.contrasts),
        *(_draw_trade(f"trade-{number}", cells, comparison.costs, look) for number, cells in enumerate(panels, 1)),
        *(drawing for column in _LOGGED for drawing in _draw_histories(column, tasks, look)),
    ]


# --- score by method ---


def _draw_scores(name: str, cells: Sequence[Cell], look: dict[str, Style]) -> Drawing:
    def paint(axes: Axes) -> None:
        for place, cell in enumerate(cells):
            _paint_cell(axes, place, cell, look[cell.method])
        _list_rows(axes, [f"{short(cell.name, 18)}\nn = {len(cell.values)}" for cell in cells])
        axes.set_xlabel(_axis_label(cells[0].metric, cells[0].direction))

    title = _title(cells[0])
    return Drawing(
        "scores",
        _file_name(name, cells[0].task),
        title,
        "; ".join(f"{cell.name} {_mean_and_interval(cell)}" for cell in cells),
        [
            {"method": cell.name, "metric": cell.metric, "seed": seed, "value": value}
            for cell in cells
            for seed, value in cell.values.items()
        ],
        draw_panel(name, title, _height(len(cells)), paint),
    )


def _paint_cell(axes: Axes, place: int, cell: Cell, style: Style) -> None:
    """Every seed as a dot, and the mean with its interval above them."""
    scale = _scale(cell.metric)
    dots = [scale * value for value in cell.values.values()]
    heights = [place + 0.2 + 0.07 * (number % 3) for number in range(len(dots))]  # so that equal dots are told apart
    axes.scatter(dots, heights, s=13, c=style.colour, marker=style.marker, alpha=0.55, linewidths=0)
    _paint_interval(axes, place, scale * cell.mean, scale * cell.low, scale * cell.high, style)
    _write_beside(axes, place, _mean_and_interval(cell))


def _paint_interval(
    axes: Axes, place: float, mean: float, low: float, high: float, style: Style, filled: bool = True
) -> None:
    if math.isfinite(low):
        axes.hlines(place, low, high, colors=style.colour, linewidths=2.2, capstyle="round")
    face = style.colour if filled else PAPER
    axes.plot(mean, place, style.marker, color=style.colour, markerfacecolor=face, markersize=7, zorder=3)


def _mean_and_interval(cell: Cell) -> str:
    mean = format_value(cell.metric, cell.mean)
    if not math.isfinite(cell.low):
        return mean
    return f"{mean} [{format_value(cell.metric, cell.low)}, {format_value(cell.metric, cell.high)}]"


# --- paired differences ---


def _draw_all_differences(contrasts: Sequence[Contrast]) -> list[Drawing]:
    """One panel per kind of metric, since a loss and an accuracy share no axis."""
    panels: dict[tuple[str, str, bool], list[Contrast]] = {}
    for contrast in contrasts:
        kind = SCORE if contrast.headline and is_percent(contrast.metric) else contrast.metric
        panels.setdefault((kind, contrast.direction, contrast.headline), []).append(contrast)
    return [
        _draw_differences(f"differences-{number}", kind, direction, rows)
        for number, ((kind, direction, _), rows) in enumerate(panels.items(), 1)
    ]


_VERDICTS = {
    "better": Style("shown better", BLUE, "o"),
    "worse": Style("shown worse", VERMILION, "s"),
    "no difference shown": Style("no difference shown", GREY, "D"),
    "too few seeds": Style("too few seeds", GREY, "D"),
}


def _draw_differences(name: str, kind: str, direction: str, contrasts: Sequence[Contrast]) -> Drawing:
    def paint(axes: Axes) -> None:
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, contrast in enumerate(contrasts):
            difference, scale, style = contrast.difference, _scale(contrast.metric), _VERDICTS[contrast.verdict]
            ends = scale * difference.mean, scale * difference.low, scale * difference.high
            _paint_interval(axes, place, *ends, style, filled=style.colour != GREY)
            _write_beside(axes, place, _difference_and_interval(contrast))
        _list_rows(axes, [f"{_minus(contrast)}\n{short(contrast.task)}" for contrast in contrasts])
        unit = " in points" if is_percent(contrasts[0].metric) else ""
        axes.set_xlabel(f"difference{unit}; {_better_side(direction)}")

    title = f"Paired differences: {metric_name(kind)}"
    return Drawing(
        "differences" if contrasts[0].headline else "secondary-differences",
        name,
        title,
        "; ".join(
            f"{_minus(contrast)} on {contrast.task}: {_difference_and_interval(contrast)}, {contrast.verdict}"
            for contrast in contrasts
        ),
        [
            {
                "task": contrast.task,
                "first": contrast.first_name,
                "second": contrast.second_name,
                "metric": contrast.metric,
                "difference": contrast.difference.mean,
                "low": contrast.difference.low,
                "high": contrast.difference.high,
                "n": contrast.difference.count,
                "verdict": contrast.verdict,
            }
            for contrast in contrasts
        ],
        draw_panel(name, title, _height(len(contrasts)), paint),
    )


# --- score against cost ---


def _draw_trade(name: str, cells: Sequence[Cell], costs: Sequence[Cost], look: dict[str, Style]) -> Drawing:
    passes = {cost.method: cost.passes for cost in costs if (cost.task, cost.model) == (cells[0].task, cells[0].model)}
    cells = sorted(
        (cell for cell in cells if cell.method in passes), key=lambda cell: (passes[cell.method], -_gain(cell))
    )
    front = _front(cells)

    def paint(axes: Axes) -> None:
        for cell, offset in zip(cells, _offsets([passes[cell.method] for cell in cells]), strict=True):
            _paint_point(axes, cell, passes[cell.method], offset, look[cell.method])
        _paint_front(axes, front, passes)
        axes.margins(y=0.12)
        axes.set_xlim(0, 1.2 * max(passes.values()) or 1)
        axes.set_xlabel("cost: forward passes of a training")
        axes.set_ylabel(_axis_label(cells[0].metric, cells[0].direction))
        _legend_below(axes)

    title = f"{_title(cells[0])} against cost"
    return Drawing(
        "trade",
        _file_name(name, cells[0].task),
        title,
        f"{'; '.join(f'{cell.name} {passes[cell.method]:g} passes, {_mean_and_interval(cell)}' for cell in cells)}. "
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


def _paint_front(axes: Axes, front: Sequence[Cell], passes: Mapping[str, float]) -> None:
    axes.plot(
        [passes[cell.method] for cell in front],
        [_scale(cell.metric) * cell.mean for cell in front],
        color=INK,
        linewidth=0.9,
        linestyle="--",
        drawstyle="steps-post",
        zorder=1,
        label="Pareto front",
    )


def _paint_point(axes: Axes, cell: Cell, passes: float, offset: float, style: Style) -> None:
    """The mean with its interval, drawn aside by an offset in points."""
    place = offset_copy(axes.transData, axes.get_figure(root=True), x=offset, units="points")
    ends = [_scale(cell.metric) * value for value in (cell.low, cell.mean, cell.high) if math.isfinite(value)]
    axes.update_datalim([(passes, end) for end in ends])  # what has a transform of its own does not count by itself
    axes.plot([passes] * len(ends), ends, color=style.colour, linewidth=1.8, transform=place)
    mean = _scale(cell.metric) * cell.mean
    look = {"color": style.colour, "markersize": 7, "linestyle": "none", "label": short(style.name)}
    axes.plot(passes, mean, style.marker, transform=place, **look)


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


# --- along the training ---


def _draw_histories(column: str, tasks: Sequence[TaskRuns], look: dict[str, Style]) -> list[Drawing]:
    curves = {runs.task: _curves(runs, column) for runs in tasks}
    drawn = [(task, by_label) for task, by_label in curves.items() if by_label]
    return [_draw_curves(number, task, column, by_label, look) for number, (task, by_label) in enumerate(drawn, 1)]


def _curves(runs: TaskRuns, column: str) -> dict[str, Curve]:
    """Label to the curve of its seeds; a label without the column is left out."""
    curves = {label: _curve(records, column) for label, records in runs.methods.items()}
    return {label: curve for label, curve in curves.items() if curve}


def _curve(records: Iterable[Record], column: str) -> Curve:
    curve: Curve = {}
    for record in records:
        for step, value in zip(record.history.get("step", ()), record.history.get(column, ()), strict=False):
            if step is not None and value is not None:
                curve.setdefault(step, []).append(value)
    return dict(sorted(curve.items()))


def _draw_curves(number: int, task: str, column: str, curves: Mapping[str, Curve], look: dict[str, Style]) -> Drawing:
    def paint(axes: Axes) -> None:
        for label, curve in curves.items():
            _paint_curve(axes, curve, look[label])
        axes.set_xlabel("step")
        axes.set_ylabel(_LOGGED[column][1])
        _legend_below(axes)

    kind = column.rpartition("/")[2]
    name, title = f"{kind}-{number}", f"{task}: {_LOGGED[column][0]}"
    ends = ((look[label].name, list(curve.values())) for label, curve in curves.items())
    return Drawing(
        kind,
        _file_name(name, task),
        title,
        "; ".join(f"{name} from {fmean(seeds[0]):.4f} to {fmean(seeds[-1]):.4f}" for name, seeds in ends),
        [
            {"method": look[label].name, "step": step, "mean": fmean(seeds)}
            | {"lowest": min(seeds), "highest": max(seeds), "n": len(seeds)}
            for label, curve in curves.items()
            for step, seeds in curve.items()
        ],
        draw_panel(name, title, 3.2, paint),
    )


def _paint_curve(axes: Axes, curve: Curve, style: Style) -> None:
    """The mean over seeds, in a band from the lowest seed to the highest."""
    steps, values = list(curve), list(curve.values())
    lowest, highest = [min(seeds) for seeds in values], [max(seeds) for seeds in values]
    axes.fill_between(steps, lowest, highest, color=style.colour, alpha=0.18, linewidth=0)
    axes.plot(
        steps,
        [fmean(seeds) for seeds in values],
        color=style.colour,
        marker=style.marker,
        markersize=4.5,
        markevery=max(1, len(steps) // 6),
        linewidth=1.6,
        label=short(style.name),
    )


# --- what the panels share ---


def _minus(contrast: Contrast) -> str:
    return f"{short(contrast.first_name, 16)} − {short(contrast.second_name, 16)}"


def _difference_and_interval(contrast: Contrast) -> str:
    difference = contrast.difference
    return format_estimate(contrast.metric, difference.mean, difference.low, difference.high)


def _better_side(direction: str) -> str:
    return f"the first is better to the {'right' if direction == 'higher' else 'left'}"


def _panels(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells of one model, task and metric, in the order of their first one."""
    panels: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        panels.setdefault((cell.model, cell.task, cell.metric), []).append(cell)
    return list(panels.values())


def _title(cell: Cell) -> str:
    return f"{cell.task}: {metric_name(cell.metric)}"


def _file_name(name: str, task: str) -> str:
    """A task's name made harmless; the number in front tells it apart."""
    return "-".join([name, *re.findall("[a-z0-9]+", task.lower())])[:60]


def _height(rows: int) -> float:
    return 0.95 + 0.52 * rows


def _scale(metric: str) -> float:
    return 100.0 if is_percent(metric) else 1.0


def _axis_label(metric: str, direction: str) -> str:
    unit = ", %" if is_percent(metric) else ""
    return f"{metric_name(metric)}{unit} ({direction} is better)"


def _list_rows(axes: Axes, names: Sequence[str]) -> None:
    """Rows from the top, each with its name beside it."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.5)
    axes.tick_params("y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _write_beside(axes: Axes, place: int, words: str) -> None:
    axes.annotate(
        words,
        (1, place),
        xycoords=("axes fraction", "data"),
        xytext=(8, 0),
        textcoords="offset points",
        va="center",
        annotation_clip=False,
    )


def _legend_below(axes: Axes) -> None:
    figure = axes.get_figure(root=True)
    assert figure is not None
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower left", ncols=legend_columns(names))

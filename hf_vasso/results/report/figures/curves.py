"""Draw what was logged along the training: the mean over seeds in a band."""

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from hf_vasso.results.comparison.task_runs import TaskRuns
from hf_vasso.results.record import Record
from hf_vasso.results.report.drawing import Style, draw_panel
from hf_vasso.results.report.figures.panel import Drawing, file_name, legend_below

__all__ = ["LOGGED", "draw_histories"]

Curve = dict[float, list[float]]  # step to a value per seed

# Column of a history to the title of its panels and the words at their axis.
LOGGED = {
    "loss": ("training loss", "loss at w"),
    "sharpness/gap": ("sharpness gap", "loss at w + eps minus loss at w"),
}


def draw_histories(column: str, tasks: Sequence[TaskRuns], look: dict[str, Style]) -> list[Drawing]:
    """Draw a column of the histories, a panel per task that has it."""
    curves = [(runs, _curves(runs, column)) for runs in tasks]
    drawn = [(runs, by_label) for runs, by_label in curves if by_label]
    return [_draw_curves(number, runs, column, by_label, look) for number, (runs, by_label) in enumerate(drawn, 1)]


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


def _draw_curves(
    number: int, runs: TaskRuns, column: str, curves: Mapping[str, Curve], look: dict[str, Style]
) -> Drawing:
    names = {label: runs.name(label) for label in curves}

    def paint(axes: Axes) -> None:
        lines = [_paint_curve(axes, curve, look[label]) for label, curve in curves.items()]
        axes.set_xlabel("step")
        axes.set_ylabel(LOGGED[column][1])
        legend_below(axes, lines, list(names.values()))

    kind = column.rpartition("/")[2]
    name, title = f"{kind}-{number}", f"{runs.where}: {LOGGED[column][0]}"
    ends = ((names[label], list(curve.values())) for label, curve in curves.items())
    return Drawing(
        kind,
        file_name(name, runs.where),
        title,
        "; ".join(f"{name} from {fmean(seeds[0]):.4f} to {fmean(seeds[-1]):.4f}" for name, seeds in ends),
        [
            {"method": names[label], "step": step, "mean": fmean(seeds)}
            | {"lowest": min(seeds), "highest": max(seeds), "n": len(seeds)}
            for label, curve in curves.items()
            for step, seeds in curve.items()
        ],
        draw_panel(name, title, 3.2, paint),
    )


def _paint_curve(axes: Axes, curve: Curve, style: Style) -> Line2D:
    """The mean over seeds, in a band from the lowest seed to the highest."""
    steps, values = list(curve), list(curve.values())
    lowest, highest = [min(seeds) for seeds in values], [max(seeds) for seeds in values]
    axes.fill_between(steps, lowest, highest, color=style.colour, alpha=0.18, linewidth=0)
    (line,) = axes.plot(
        steps,
        [fmean(seeds) for seeds in values],
        color=style.colour,
        marker=style.marker,
        markersize=4.5,
        markevery=max(1, len(steps) // 6),
        linewidth=1.6,
    )
    return line

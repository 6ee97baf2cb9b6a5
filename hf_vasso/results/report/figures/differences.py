"""Draw the paired differences of the contrasts with their intervals."""

from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes

from hf_vasso.results.comparison.contrasts import Contrast
from hf_vasso.results.comparison.metric_words import SCORE, format_estimate, is_percent, metric_name
from hf_vasso.results.report.drawing import BLUE, GREY, INK, VERMILION, Style, draw_panel, short_names
from hf_vasso.results.report.figures.panel import (
    Drawing,
    list_rows,
    metric_scale,
    paint_interval,
    panel_height,
    write_beside,
)

__all__ = ["draw_all_differences"]


def draw_all_differences(contrasts: Sequence[Contrast]) -> list[Drawing]:
    """One panel per kind of metric, since a loss and an accuracy share no axis."""
    panels: dict[tuple[str, str, bool], list[Contrast]] = {}
    for contrast in contrasts:
        kind = SCORE if contrast.headline and is_percent(contrast.metric) else contrast.metric
        panels.setdefault((kind, contrast.direction, contrast.headline), []).append(contrast)
    return [
        _draw_differences(f"differences-{number}", direction, rows)
        for number, ((_, direction, _), rows) in enumerate(panels.items(), 1)
    ]


_LONGEST = 22  # characters of a line beside a row
_VERDICTS = {
    "better": Style(BLUE, "o"),
    "worse": Style(VERMILION, "s"),
    "no difference shown": Style(GREY, "D"),
    "too few seeds": Style(GREY, "D"),
}


def _draw_differences(name: str, direction: str, contrasts: Sequence[Contrast]) -> Drawing:
    def paint(axes: Axes) -> None:
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, contrast in enumerate(contrasts):
            difference, scale, style = contrast.difference, metric_scale(contrast.metric), _VERDICTS[contrast.verdict]
            ends = scale * difference.mean, scale * difference.low, scale * difference.high
            paint_interval(axes, place, *ends, style, filled=style.colour != GREY)
            write_beside(axes, place, _difference_and_interval(contrast))
        list_rows(axes, _row_names(contrasts))
        unit = " in points" if is_percent(contrasts[0].metric) else ""
        axes.set_xlabel(f"difference{unit}; {_better_side(direction)}")

    title = f"Paired differences: {_shown_metric(contrasts)}"
    return Drawing(
        "differences" if contrasts[0].headline else "secondary-differences",
        name,
        title,
        "; ".join(
            f"{contrast.first_name} − {contrast.second_name} on {contrast.where}: "
            f"{_difference_and_interval(contrast)}, {contrast.verdict}"
            for contrast in contrasts
        ),
        [
            {
                "task": contrast.where,
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
        draw_panel(name, title, panel_height(len(contrasts)), paint),
    )


def _shown_metric(contrasts: Sequence[Contrast]) -> str:
    """The metric, or what several shares have in common."""
    metrics = {contrast.metric for contrast in contrasts}
    return metric_name(metrics.pop() if len(metrics) == 1 else SCORE)


def _row_names(contrasts: Sequence[Contrast]) -> list[str]:
    """The two methods, one below the other where they are long, and the task."""
    names = _shortened([name for contrast in contrasts for name in (contrast.first_name, contrast.second_name)])
    tasks = _shortened([contrast.where for contrast in contrasts])
    pairs = [(names[contrast.first_name], names[contrast.second_name]) for contrast in contrasts]
    lines = [" − ".join(pair) if len("".join(pair)) <= _LONGEST else "\n− ".join(pair) for pair in pairs]
    return [f"{line}\n{tasks[contrast.where]}" for line, contrast in zip(lines, contrasts, strict=True)]


def _shortened(names: Iterable[str]) -> dict[str, str]:
    different = list(dict.fromkeys(names))
    return dict(zip(different, short_names(different, _LONGEST), strict=True))


def _difference_and_interval(contrast: Contrast) -> str:
    difference = contrast.difference
    return format_estimate(contrast.metric, difference.mean, difference.low, difference.high)


def _better_side(direction: str) -> str:
    return f"the first is better to the {'right' if direction == 'higher' else 'left'}"

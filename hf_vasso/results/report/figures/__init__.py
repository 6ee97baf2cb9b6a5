"""Draw a comparison: scores, differences, score against cost, and what was logged along the training."""

from collections.abc import Iterable

from hf_vasso.results.comparison import Comparison
from hf_vasso.results.comparison.cells import Cell
from hf_vasso.results.report.drawing import styles
from hf_vasso.results.report.figures.curves import LOGGED, draw_histories
from hf_vasso.results.report.figures.differences import draw_all_differences
from hf_vasso.results.report.figures.panel import Drawing
from hf_vasso.results.report.figures.scores import draw_scores
from hf_vasso.results.report.figures.trade import draw_trade

__all__ = ["Drawing", "draw_figures"]


def draw_figures(comparison: Comparison) -> list[Drawing]:
    """
    Draw all that a comparison has to show.

    Args:
        comparison: The rows that tables are made of, too.

    Returns:
        Scores, differences, score against cost and training curves, in this order; only those with something to show.
    """
    look = styles(label for runs in comparison.tasks for label in runs.methods)
    panels = _panels([cell for cell in comparison.cells if cell.headline])
    return [
        *(draw_scores(f"scores-{number}", cells, look) for number, cells in enumerate(panels, 1)),
        *draw_all_differences(comparison.contrasts),
        *(draw_trade(f"trade-{number}", cells, comparison.costs, look) for number, cells in enumerate(panels, 1)),
        *(drawing for column in LOGGED for drawing in draw_histories(column, comparison.tasks, look)),
    ]


def _panels(cells: Iterable[Cell]) -> list[list[Cell]]:
    """Cells of one model, task and metric, in the order of their first one."""
    panels: dict[tuple[str, str, str], list[Cell]] = {}
    for cell in cells:
        panels.setdefault((cell.model, cell.task, cell.metric), []).append(cell)
    return list(panels.values())

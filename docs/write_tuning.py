"""
Write the tables and the figure of docs/tuning.md from the trials of the tuning suites.

    python docs/write_tuning.py runs/tuning-theta   # add the trials of a suite to docs/results/tuning.csv first
    python docs/write_tuning.py                     # from that file

Between `<!-- tuning -->` and `<!-- end of tuning -->` nothing is written by hand.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_vasso.results.tables import markdown_table

__all__ = ["PAGE", "TRIALS", "with_tables", "write"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "tuning.md"
TRIALS = ROOT / "docs" / "results" / "tuning.csv"
FIGURE = ROOT / "docs" / "tuning.svg"
_GENERATED = re.compile("(<!-- tuning -->\n).*?(\n<!-- end of tuning -->)", re.DOTALL)


def write(folders: Sequence[str]) -> None:
    """
    Bring the page up to date.

    Args:
        folders: Those of suites, whose trials are added to the committed ones, or take their place.
    """
    trials = pd.read_csv(TRIALS)
    if folders:
        rows = [_row(path) for folder in folders for path in Path(folder, ".select").rglob("trial.json")]
        by = ["task", "method", "theta", "rho_warmup_steps", "rho", "seed"]
        trials = pd.concat([trials, pd.DataFrame(rows)]).drop_duplicates(by, keep="last").sort_values(by)
        trials.to_csv(TRIALS, index=False)
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), trials), encoding="utf-8")
    _draw(trials).savefig(FIGURE, metadata={"Date": None})


def with_tables(text: str, trials: pd.DataFrame) -> str:
    """
    The text of the page with the tables of some trials.

    Args:
        text: The page as it stands.
        trials: A row for each.

    Returns:
        The page with tables for each task, of scores and of losses: a row for each rho, a column for each method.
    """
    parts = []
    for task, of_task in trials.groupby("task"):
        of_task = of_task.assign(method=_labels(of_task))
        for column, name, show in (
            ("score", f"{_metric(of_task)} in percent", lambda score: f"{100 * score:.1f}"),
            ("loss", "cross-entropy", lambda loss: f"{loss:.3f}"),
        ):
            base = _seed_by_seed(of_task[of_task.rho == 0][column], show)
            parts += [
                f"`{task}`, held-out {name}, seed by seed; `none` has {base}:",
                markdown_table(_rows(of_task[of_task.rho > 0], column, show)),
            ]
    return _GENERATED.sub(lambda found: found[1] + "\n" + "\n\n".join(parts) + "\n" + found[2], text)


def _rows(trials: Any, column: str, show: Callable[[float], str]) -> list[dict[str, Any]]:
    cells = trials.groupby(["rho", "method"], sort=False)[column].agg(_seed_by_seed, show=show).unstack()
    return cells.fillna("").sort_index().reset_index().to_dict("records")  # pyright: ignore[reportReturnType]


def _row(path: Path) -> dict[str, Any]:
    trial = json.loads(path.read_text(encoding="utf-8"))
    arguments = trial["arguments"]
    numbers = {name: arguments[name] for name in ("theta", "rho_warmup_steps", "rho")}
    ends = {name: trial[name] for name in ("seed", "metric", "score", "loss")}
    return {"task": arguments["task_label"], "method": arguments["method"]} | numbers | ends


def _labels(trials: pd.DataFrame) -> pd.Series:
    theta = trials.theta.map(lambda theta: "" if pd.isna(theta) else f"({theta:g})")
    return trials.method + theta + trials.rho_warmup_steps.map(lambda steps: ", warm-up" if steps > 0 else "")


def _metric(trials: pd.DataFrame) -> str:
    return trials.metric.iloc[0].replace("_", " ")


def _seed_by_seed(values: Any, show: Callable[[float], str]) -> str:
    return " / ".join(map(show, values))


def _draw(trials: pd.DataFrame) -> Figure:
    """A panel for each task: the held-out loss by rho, a line through the means for each column of the tables."""
    tasks = trials.groupby("task")
    figure = Figure((9.0, 3.8), layout="constrained")
    for axes, (task, of_task) in zip(figure.subplots(1, len(tasks), squeeze=False)[0], tasks, strict=True):
        _paint(axes, of_task.assign(method=_labels(of_task)))
        axes.set(title=task, xscale="log", xlabel="rho", ylabel="held-out cross-entropy")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _paint(axes: Axes, trials: pd.DataFrame) -> None:
    for method, of_method in trials.groupby("method", sort=False):
        if method == "none":
            axes.axhline(of_method.loss.mean(), color="grey", label=method)
            continue
        means = of_method.groupby("rho").loss.mean()
        style = "--" if of_method.rho_warmup_steps.max() > 0 else "-"
        (line,) = axes.plot(means.index, means, style, label=method)
        axes.plot(of_method.rho, of_method.loss, ".", color=line.get_color(), alpha=0.5)
    axes.grid(alpha=0.3)


if __name__ == "__main__":
    write(sys.argv[1:])

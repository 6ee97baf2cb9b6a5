"""How figures look: the colours and markers of methods, and a panel with its axes written as SVG."""

import io
import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hf_vasso.results.method_labels import BASE
from hf_vasso.results.words import as_read

__all__ = [
    "BLUE",
    "FAINT",
    "GREY",
    "INK",
    "PAPER",
    "VERMILION",
    "Style",
    "draw_panel",
    "legend_columns",
    "short",
    "short_names",
    "styles",
]

# A page replaces these by colours of its own, which change in the dark: no other colour may be spelled like them.
INK, FAINT, PAPER = "#1b1f24", "#c9ced6", "#fffffe"

# Okabe and Ito's palette, which colour-blind eyes tell apart too, without its black and its yellow, which vanish on a
# dark and on a white page. Grey is for the base.
GREY, BLUE, VERMILION = "#6f7780", "#0072b2", "#d55e00"
_COLOURS = (BLUE, VERMILION, "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
_MARKERS = "sDo^vPX*"  # as many as needed to tell twice the colours apart

_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",  # words stay words: in a page's own font, and found by searching
    "svg.hashsalt": "hf_vasso",  # equal drawings are equal files
    "text.parse_math": False,  # a $ in a name is a dollar
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "figure.titlesize": 10,
    "figure.titleweight": "bold",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.2,
    "text.color": INK,
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_WIDTH = 4.4  # inches, 420 pixels on a page: a phone shrinks them by a quarter
_LEGEND_CHARACTERS = 56  # that fit into the width, a marker counting as five


@dataclass(frozen=True)
class Style:
    """
    How a method is drawn, in all figures alike.

    Args:
        colour: Of lines and markers.
        marker: Matplotlib's sign for it.
    """

    colour: str
    marker: str


def styles(labels: Iterable[str]) -> dict[str, Style]:
    """
    Give each method a colour and a marker.

    Args:
        labels: Those of the methods; that of the base is grey.

    Returns:
        Label to style.

    Example:
        >>> styles(["none", "sam"])["none"].colour
        '#6f7780'
    """
    others = [label for label in dict.fromkeys(labels) if label != BASE]
    drawn = {
        label: Style(_COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)])
        for place, label in enumerate(others)
    }
    return {BASE: Style(GREY, "o"), **drawn}


def draw_panel(name: str, title: str, height: float, paint: Callable[[Axes], None]) -> str:
    """
    Draw one panel.

    Args:
        name: Told apart from those of all other panels of a page: its elements' ids begin with it.
        title: Stands over it.
        height: In inches.
        paint: Fills the axes.

    Returns:
        An SVG element. Equal drawings give equal text.
    """
    with matplotlib.rc_context(_LOOK), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a viewer has more fonts
        figure = Figure((_WIDTH, height), layout="constrained")
        axes = figure.subplots()
        figure.suptitle(short(title, 48), x=0.01, ha="left")
        paint(axes)
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata=_NO_METADATA)
    svg = file.getvalue()
    return re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", svg[svg.index("<svg") :])


def short(name: str, longest: int = 24) -> str:
    """
    Cut a name that a figure has no room for.

    Args:
        name: As it comes.
        longest: The number of characters there is room for.

    Returns:
        The name on one line, with "…" where it was cut.

    Example:
        >>> short("a very long name of a method")
        'a very long name of a m…'
    """
    name = " ".join(name.split())
    return name if len(name) <= longest else name[: longest - 1] + "…"


def short_names(names: Sequence[str], longest: int = 24) -> list[str]:
    """
    Cut names that a figure has no room for, so that they still differ.

    Args:
        names: As they come.
        longest: The number of characters there is room for.

    Returns:
        Each name on one line; those that would be cut to the same end in numbers.

    Example:
        >>> short_names(["sam", "vasso-rho-0.01", "vasso-rho-0.02"], 10)
        ['sam', 'vasso-rho…', 'vasso-rh…2']
    """
    cut: list[str] = []
    for name in names:
        text, number = short(name, longest), 1
        while as_read(text) in map(as_read, cut):
            number += 1
            end = f"…{number}"
            text = short(name, longest - len(end) + 1).removesuffix("…") + end
        cut.append(text)
    return cut


def legend_columns(names: Iterable[str]) -> int:
    """
    How many columns of a legend fit into a panel.

    Args:
        names: What it lists, as `short` leaves them.

    Returns:
        The number of columns.
    """
    return max(1, _LEGEND_CHARACTERS // (max(map(len, names)) + 5))

"""What all figures have in common."""

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, which colour-blind readers can tell apart; yellow is left out as too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")


def look(index: int) -> dict[str, Any]:
    cycle, colour = divmod(index, len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": STYLES[cycle % len(STYLES)]}


def new_figure(width: float, height: float, title: str) -> "Figure":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.suptitle(textwrap.fill(title, round(width * 10)), x=0.01, ha="left", fontsize=10)
    return figure


def hide_from(axes: Iterable["Axes"], count: int) -> None:
    for spare in list(axes)[count:]:
        spare.set_axis_off()


def legend(figure: "Figure", columns: int = 4) -> None:
    lines: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        lines |= dict(zip(labels, handles, strict=True))
    if lines:
        layout: dict[str, Any] = {"loc": "outside lower left", "ncols": columns}
        figure.legend(list(lines.values()), list(lines), frameon=False, fontsize=9, **layout)


def tidy(axes: "Axes") -> None:
    """Count tasks in whole numbers, and leave out unneeded lines."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.92", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)

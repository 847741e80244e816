"""How all figures look."""

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too; yellow is left out as too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")


def look(index: int) -> dict[str, Any]:
    """Return colour and line style of line number `index`."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "linestyle": STYLES[index // len(COLOURS) % len(STYLES)],
    }


def new_figure(width: float, height: float, title: str) -> "Figure":
    """Return an empty figure with a title at its left."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    figure.suptitle(textwrap.fill(title, round(width * 10)), x=0.01, ha="left", fontsize=10)
    return figure


def legend(figure: "Figure", columns: int = 4) -> None:
    """Name every line once, below the axes."""
    lines = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if lines:
        figure.legend(
            list(lines.values()),
            list(lines),
            loc="outside lower left",
            ncols=columns,
            frameon=False,
            fontsize=9,
        )


def tidy(axes: "Axes") -> None:
    """Count tasks in whole numbers; leave out what is not needed."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.92", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)

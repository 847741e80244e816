"""Figures from records. Functions return figures; nobody here writes a file."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from clbench.records import TaskRecord
from clbench.scoring import estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers too; yellow is left out as too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLES = ("-", "--", "-.", ":")


def curves(records: Sequence[TaskRecord], agents: Sequence[str], title: str, chance: float) -> "Figure":
    """Return the figure of task accuracy per task: mean over seeds and 95 % bootstrap interval.

    Args:
        records: of all agents.
        agents: names, in the order of the legend.
        title: what was run.
        chance: accuracy of guessing, drawn as a line.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.5, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(chance, color="0.6", linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.annotate(
        "chance",
        (1, chance),
        (-4, -10),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color="0.4",
        fontsize=8,
        ha="right",
    )
    for index, agent in enumerate(agents):
        by_task: dict[int, list[float]] = {}
        for record in records:
            if record.agent == agent:
                by_task.setdefault(record.task, []).append(record.accuracy)
        if not by_task:
            continue
        tasks = np.array(sorted(by_task))
        bands = [estimate(by_task[task]) for task in tasks]
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(
            tasks + 1,
            [band.low for band in bands],
            [band.high for band in bands],
            color=colour,
            alpha=0.2,
            linewidth=0,
        )
        axes.plot(
            tasks + 1,
            [band.mean for band in bands],
            color=colour,
            linewidth=1.8,
            marker="o",
            markersize=3.5,
            linestyle=STYLES[index // len(COLOURS) % len(STYLES)],
            label=agent,
        )
    axes.set(xlabel="task", ylabel="task accuracy (before each update)", ylim=(0, 1.02))
    figure.suptitle(textwrap.fill(title, 84), x=0.01, ha="left", fontsize=10)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.92", zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure

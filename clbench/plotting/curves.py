"""Task accuracy over tasks."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clbench.plotting.style import look, new_figure, tidy
from clbench.records import TaskRecord
from clbench.scoring import estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def curves(records: Sequence[TaskRecord], agents: Sequence[str], title: str, chance: float) -> "Figure":
    """Return the figure of task accuracy per task: mean over seeds and 95 % bootstrap interval.

    Args:
        records: of all agents.
        agents: names, in the order of the legend.
        title: what was run.
        chance: accuracy of guessing, drawn as a line.
    """
    figure = new_figure(8.5, 4.5, title)
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
        draw(axes, by_task, index, agent)
    axes.set(xlabel="task", ylabel="task accuracy (before each update)", ylim=(0, 1.02))
    tidy(axes)
    if axes.get_legend_handles_labels()[0]:
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    return figure


def draw(axes: "Axes", by_task: Mapping[int, Sequence[float]], index: int, label: str) -> None:
    """Draw a line of means over seeds and its band; nothing if there are no tasks."""
    if not by_task:
        return
    tasks = np.array(sorted(by_task))
    bands = [estimate(by_task[task]) for task in tasks]
    style = look(index)
    axes.fill_between(
        tasks + 1,
        [band.low for band in bands],
        [band.high for band in bands],
        color=style["color"],
        alpha=0.2,
        linewidth=0,
    )
    means = [band.mean for band in bands]
    axes.plot(tasks + 1, means, linewidth=1.8, marker="o", markersize=3.5, label=label, **style)

"""Entries side by side: their accuracy, and the differences to a reference."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from clbench.plotting.curves import ByTask, draw, draw_estimates, label_seeds
from clbench.plotting.style import legend, look, new_figure, tidy
from clbench.scoring import Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def comparison(
    accuracies: Mapping[str, ByTask],
    differences: Mapping[str, Mapping[int, Estimate]],
    hows: Mapping[str, str],
    reference: str,
    title: str,
) -> "Figure":
    """Return the figure of a comparison: means over seeds and 95 % t intervals, task by task.

    Task accuracy is on the left, its difference to the reference's on the right.

    Args:
        accuracies: by label, in the order of the legend, and by task: a number per seed.
        differences: by label and task; the reference's is drawn as a line at zero.
        hows: how differences are computed, by label, such as "paired, n = 3".
        reference: its label.
        title: what was run.
    """
    figure = new_figure(11, 4.6, title)
    left, right = figure.subplots(1, 2)
    labels, number = label_seeds(accuracies)
    for index, label in enumerate(accuracies):
        draw(left, accuracies[label], index, labels[label])
        if label != reference:
            draw_estimates(right, differences[label], index, labels[label])
        else:
            right.axhline(0, linewidth=1.8, zorder=1.9, **look(index))
    left.set_ylim(0, 1.02)
    left.set_title(f"task accuracy (before each update), {number}", fontsize=9, loc="left")
    how = "; ".join(dict.fromkeys(text for label, text in hows.items() if label != reference))
    right.set_title(f"difference to {reference}; {how}", fontsize=9, loc="left")
    for axes in (left, right):
        axes.set_xlabel("task")
        tidy(axes)
        if all(len(by_task) == 1 for by_task in accuracies.values()):
            axes.set(xlim=(0.5, 1.5), xticks=[1])
    legend(figure, columns=3)
    return figure

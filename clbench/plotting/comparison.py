"""Entries side by side: accuracy, and how far each is from a reference."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clbench.plotting.curves import draw
from clbench.plotting.style import legend, look, new_figure, tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ByTask = Mapping[int, Sequence[float]]


def comparison(
    accuracies: Mapping[str, ByTask], differences: Mapping[str, ByTask], reference: str, title: str
) -> "Figure":
    """Return the figure of a comparison: means over seeds and 95 % bootstrap intervals, task by task.

    Left task accuracy, right its difference to the reference's on the same seeds.

    Args:
        accuracies: by label, in the order of the legend, and by task: a number per seed.
        differences: the same of differences; that of the reference is drawn as a line at zero.
        reference: its label.
        title: what was run.
    """
    figure = new_figure(11, 4.6, title)
    left, right = figure.subplots(1, 2)
    for index, label in enumerate(accuracies):
        draw(left, accuracies[label], index, label)
        if label != reference:
            draw(right, differences[label], index, label)
        else:
            right.axhline(0, linewidth=1.8, zorder=1.9, **look(index))
    left.set_ylim(0, 1.02)
    left.set_title("task accuracy (before each update)", fontsize=9, loc="left")
    right.set_title(f"difference to {reference}, same seeds", fontsize=9, loc="left")
    for axes in (left, right):
        axes.set_xlabel("task")
        tidy(axes)
        if all(len(by_task) == 1 for by_task in accuracies.values()):
            axes.set(xlim=(0.5, 1.5), xticks=[1])
    legend(figure, columns=3)
    return figure

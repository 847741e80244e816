"""What figures are drawn with."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from clbench.plotting.curves import draw
from clbench.plotting.style import new_figure, tidy
from clbench.reproduce.frames import ACCURACY, by_task

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def grid(
    title: str, rows: int, columns: int, sharey: bool = False, height: float = 2.5
) -> "tuple[Figure, np.ndarray]":
    """Return a figure and its axes, `(rows, columns)`, tidied."""
    figure = new_figure(max(6.0, 3.6 * columns), 0.9 + height * rows, title)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for one in axes.flatten():
        tidy(one)
        one.tick_params(labelsize=8)
    return figure, axes


def legend(figure: "Figure") -> None:
    """Name every line once, below the axes."""
    lines = {
        label: handle
        for axes in figure.axes
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    if lines:
        figure.legend(
            list(lines.values()), list(lines), loc="outside lower left", ncols=4, frameon=False, fontsize=9
        )


def head(axes: "Axes", text: str) -> None:
    """Write what a panel is above it."""
    axes.set_title(text, fontsize=9, loc="left")


def accuracy_panels(name: str, values: Sequence[str]) -> "Callable[[pd.DataFrame, str], Figure]":
    """Return what draws task accuracy over tasks: a panel per learner, a line for each of `values` of column `name`."""

    def drawn(data: "pd.DataFrame", title: str) -> "Figure":
        learners = list(dict.fromkeys(data["learner"]))
        figure, axes = grid(title, 1, max(1, len(learners)), sharey=True, height=3.0)
        for one, learner in zip(axes[0], learners, strict=False):
            for index, value in enumerate(values):
                draw(one, by_task(data, ACCURACY, learner=learner, **{name: value}), index, value)
            head(one, learner)
            one.set(xlabel="task", ylim=(0, 1.02))
        axes[0, 0].set_ylabel(ACCURACY)
        legend(figure)
        return figure

    return drawn

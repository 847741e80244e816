"""What figures are drawn with."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from clbench.plotting.curves import draw
from clbench.plotting.indicators import BOUNDS, DEAD, against_bounds, dead_shares
from clbench.plotting.style import legend, look, new_figure, tidy
from clbench.reproduce.frames import ACCURACY, by_task, select

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


LEVELS = ("effective_step_size", *BOUNDS)
"""What `bounds` draws."""


WIDE = 3  # times: a logarithmic axis has ticks enough


def grid(
    title: str, rows: int, columns: int, across: str = "task", sharey: bool = False, height: float = 2.5
) -> "tuple[Figure, np.ndarray]":
    """Return a figure and its axes, `(rows, columns)`, tidied; `across` is what the lowest row's have on theirs."""
    figure = new_figure(max(6.0, 3.6 * columns), 0.9 + height * rows, title)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for one in axes.flatten():
        tidy(one)
        one.tick_params(which="both", labelsize=8)
    for one in axes[-1]:
        one.set_xlabel(across, fontsize=8)
    return figure, axes


def head(axes: "Axes", text: str) -> None:
    """Write what a panel is above it."""
    axes.set_title(text, fontsize=9, loc="left")


def trajectories(axes: "Axes", lines: "Mapping[str, pd.DataFrame]", first: int = 0) -> None:
    """Draw step sizes over time by label, medians over seeds; logarithmically if they differ by much."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    medians = {label: own.groupby("time")["value"].median() for label, own in lines.items()}
    for index, (label, line) in enumerate(medians.items()):
        axes.plot(line.index, line, label=label, linewidth=1.6, **look(first + index))
    values = [value for line in medians.values() for value in line if value > 0]
    if values and max(values) > WIDE * min(values):
        axes.set_yscale("log")
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def dots(axes: "Axes", places: "np.ndarray", data: "pd.DataFrame", name: str, index: int) -> None:
    """Draw a column of `data` with its intervals along the x axis, each row at its place on the y axis."""
    from matplotlib.ticker import MaxNLocator

    ends = data[[f"{name}_low", f"{name}_high"]].sub(data[name], axis=0).abs().fillna(0).to_numpy().T
    colour = look(index)["color"]
    axes.errorbar(data[name], places, xerr=ends, marker="o", markersize=3.5, color=colour, linestyle="none")
    axes.grid(axis="x", color="0.92")
    axes.xaxis.set_major_locator(MaxNLocator(4))


def accuracies(row: "Iterable[Axes]", data: "pd.DataFrame", name: str) -> None:
    """Draw a row of panels: task accuracy over tasks, a panel per learner, a line for each value of a column."""
    for place, (axes, learner) in enumerate(zip(row, data["learner"].unique(), strict=True)):
        for index, value in enumerate(data[name].unique()):
            draw(axes, by_task(data, ACCURACY, learner=learner, **{name: value}), index, value)
        head(axes, learner)
        axes.set(ylim=(0, 1.02), ylabel="" if place else ACCURACY)


def bounds(axes: "Axes", data: "pd.DataFrame", **labels: str) -> None:
    """Draw the effective step size and its three bounds, medians over seeds, logarithmically."""
    medians = {name: select(data, name, **labels).groupby("time")["value"].median() for name in LEVELS}
    lines = {name: (line.index.to_numpy(float), line.to_numpy(float)) for name, line in medians.items()}
    combined = select(data, "combined_bound", **labels)
    against_bounds(axes, lines | {DEAD: dead_shares(combined["time"].tolist(), combined["value"].tolist())})


def accuracy_panels(name: str) -> "Callable[[pd.DataFrame, str], Figure]":
    """Return what draws task accuracy over tasks: a panel per learner, a line for each value of the column `name`."""

    def drawn(data: "pd.DataFrame", title: str) -> "Figure":
        figure, axes = grid(title, 1, data["learner"].nunique(), sharey=True, height=3.0)
        accuracies(axes[0], data, name)
        legend(figure)
        return figure

    return drawn

"""The panels that figures are made of."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
import pandas as pd

from clbench.plotting.curves import SHARE, draw
from clbench.plotting.indicators import BOUNDS, DEAD, against_bounds, dead_shares
from clbench.plotting.style import log_scale, look, new_figure, panel_title, tidy
from studies.noise_curvature.frames import ACCURACY, Array, by_task, select

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

draw_line = draw
BOUND_LINES = ("effective_step_size", *BOUNDS)
"""What `draw_bounds` draws."""
LOGARITHMIC = 3  # values that differ by more than this factor get a logarithmic axis


def grid(
    title: str, rows: int, columns: int, xlabel: str = "task", sharey: bool = False, height: float = 2.5
) -> "tuple[Figure, npt.NDArray[Any]]":
    """Return a figure and its axes, `(rows, columns)`; only the lowest row has the `xlabel`."""
    figure = new_figure(max(6.0, 3.6 * columns), 0.6 + height * rows, title)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    for panel in axes.flatten():
        tidy(panel)
        panel.tick_params(which="both", labelsize=8)
    for panel in axes[-1]:
        panel.set_xlabel(xlabel, fontsize=8)
    return figure, axes


def title_panel(axes: "Axes", text: str) -> None:
    panel_title(axes, text, 3.4)


def draw_step_sizes(axes: "Axes", lines: Mapping[str, pd.DataFrame], first: int = 0) -> None:
    """Draw step sizes over time by label, medians over seeds; on a logarithmic axis if they differ by much."""
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    medians = {label: rows.groupby("time")["value"].median() for label, rows in lines.items()}
    for index, (label, line) in enumerate(medians.items()):
        axes.plot(line.index, line, label=label, linewidth=1.6, **look(first + index))
    values = [value for line in medians.values() for value in line if value > 0]
    if values and max(values) > LOGARITHMIC * min(values):
        log_scale(axes)
    else:
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))


def draw_estimates(
    axes: "Axes", heights: npt.NDArray[Any], data: pd.DataFrame, name: str, index: int
) -> None:
    """Draw a column of `data` with its intervals along the x axis, each row at its height on the y axis."""
    from matplotlib.ticker import MaxNLocator

    ends = data[[f"{name}_low", f"{name}_high"]].sub(data[name], axis=0).abs().fillna(0).to_numpy().T
    colour = look(index)["color"]
    axes.errorbar(data[name], heights, xerr=ends, marker="o", markersize=3.5, color=colour, linestyle="none")
    axes.grid(axis="x", color="0.92")
    axes.xaxis.set_major_locator(MaxNLocator(4))


def draw_accuracies(row: "Iterable[Axes]", data: pd.DataFrame, name: str) -> None:
    for column, (axes, learner) in enumerate(zip(row, data["learner"].unique(), strict=True)):
        for index, value in enumerate(data[name].unique()):
            draw_line(axes, by_task(data, ACCURACY, learner=learner, **{name: value}), index, value, SHARE)
        title_panel(axes, learner)
        axes.set(ylim=(0, 1.02), ylabel="" if column else ACCURACY)


def draw_bounds(axes: "Axes", data: pd.DataFrame, **labels: str) -> None:
    lines: dict[str, tuple[Array, Array]] = {}
    for name in BOUND_LINES:
        medians = select(data, name, **labels).groupby("time")["value"].median()
        lines[name] = medians.index.to_numpy(float), medians.to_numpy(float)
    combined = select(data, "combined_bound", **labels)
    lines[DEAD] = dead_shares(combined["time"].tolist(), combined["value"].tolist())
    against_bounds(axes, lines)


def accuracy_figure(name: str, data: pd.DataFrame, title: str) -> "Figure":
    figure, axes = grid(title, 1, data["learner"].nunique(), sharey=True, height=3.0)
    draw_accuracies(axes[0], data, name)
    return figure

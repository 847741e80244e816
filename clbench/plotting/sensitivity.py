"""Scores against the values of a hyperparameter."""

import numbers
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from clbench.plotting.style import legend, look, new_figure, tidy
from clbench.scoring import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3


def sensitivity(
    scores: Mapping[str, Mapping[str, Mapping[object, Estimate]]],
    agents: Sequence[str],
    name: str,
    title: str,
) -> "Figure":
    """Return the figure of scores, with 95 % t intervals, by a hyperparameter: a panel per stream, a line per agent.

    Args:
        scores: by stream, agent and value, with intervals.
        agents: names, in the order of the legend.
        name: of the hyperparameter.
        title: what was run, and what is shown.
    """
    columns = min(COLUMNS, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(max(6.0, 4 * columns), 1.0 + 3.2 * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    values = list(dict.fromkeys(value for own in scores.values() for one in own.values() for value in one))
    for axes, (on, of_agents) in zip(grid, scores.items(), strict=False):
        _scale(axes, values)
        for index, agent in enumerate(agents):
            if agent in of_agents:
                _draw(axes, of_agents[agent], index, agent, values)
        axes.set_title(on, fontsize=9, loc="left")
        axes.set_xlabel(name)
        axes.tick_params(labelbottom=True)
    for axes in grid[len(scores) :]:
        axes.set_axis_off()
    counts = {one.n for own in scores.values() for values in own.values() for one in values.values()} - {0}
    number = f", n = {min(counts)}" + (f" to {max(counts)}" if len(counts) > 1 else "") if counts else ""
    for axes in grid[::columns]:
        axes.set_ylabel(f"average task accuracy{number}")
    legend(figure, columns=3)
    return figure


def _draw(
    axes: "Axes", estimates: Mapping[object, Estimate], index: int, label: str, values: Sequence[object]
) -> None:
    places = dict(zip(values, _places(values), strict=True))
    points = sorted((places[value], one) for value, one in estimates.items())
    where = [place for place, _ in points]
    means = np.array([one.mean for _, one in points])
    ends = np.array([[one.low, one.high] for _, one in points])
    beyond = np.nan_to_num(np.abs(ends - means[:, None])).T
    style = look(index) | ({} if _numeric(values) else {"linestyle": "none"})  # nothing lies between names
    axes.errorbar(where, means, yerr=beyond, marker="o", markersize=4, capsize=3, label=label, **style)


def _places(values: Sequence[object]) -> list[float]:
    """Return numbers as they are; of anything else, one place after another."""
    return [float(value) for value in values] if _numeric(values) else list(map(float, range(len(values))))  # type: ignore[arg-type]


def _numeric(values: Sequence[object]) -> bool:
    return all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values)


def _scale(axes: "Axes", values: Sequence[object]) -> None:
    """Mark the values on the axis, which is logarithmic if they are spaced so; 0 then stands at its left end."""
    tidy(axes)
    places = _places(values)
    if _numeric(values) and logarithmic(places):
        least = min(place for place in places if place > 0)
        axes.set_xscale("symlog", linthresh=least) if min(places) == 0 else axes.set_xscale("log")
    axes.set_xticks(places, [f"{value:g}" if _numeric([value]) else str(value) for value in values])
    axes.minorticks_off()


def logarithmic(values: Sequence[float]) -> bool:
    """Tell whether the logarithms of numbers are spaced more evenly than the numbers; 0 is left out.

    >>> logarithmic([1e-4, 3e-4, 1e-3]), logarithmic([0.2, 0.4, 0.6]), logarithmic([0, 1e-3, 1e-1])
    (True, False, True)
    """
    positive = np.array(sorted({value for value in values if value > 0}))
    if min(values) < 0 or len(positive) < 2:
        return False
    if len(positive) == 2:
        return bool(positive[1] >= 4 * positive[0])
    gaps, ratios = np.diff(positive), np.diff(np.log(positive))
    return bool(ratios.max() / ratios.min() < gaps.max() / gaps.min())

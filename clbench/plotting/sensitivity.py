"""Scores against the values of a hyperparameter."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING

import numpy as np

from clbench.plotting.curves import INTERVAL, SHARE
from clbench.plotting.isolation import isolated
from clbench.plotting.style import hide_from, legend, look, marker, new_figure, panel_title, tidy
from clbench.scoring import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3


@isolated()
def sensitivity(
    scores: Mapping[str, Mapping[str, Mapping[object, Estimate]]],
    lines: Sequence[str],
    name: str,
    title: str,
) -> "Figure":
    """Return the figure of scores by a hyperparameter's values: a panel per stream, lines by name."""
    columns = min(COLUMNS, len(scores))
    rows = -(-len(scores) // columns)
    figure = new_figure(max(6.0, 4 * columns), 0.7 + 3.2 * rows, title)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flatten()
    by_line = [estimates for panel in scores.values() for estimates in panel.values()]
    values = list(dict.fromkeys(value for estimates in by_line for value in estimates))
    for axes, (stream, panel) in zip(grid, scores.items(), strict=False):
        _scale(axes, values)
        for index, line in enumerate(lines):
            if line in panel:
                _draw(axes, panel[line], index, line, values)
        panel_title(axes, stream, 3.6)
        axes.set_xlabel(name)
        axes.tick_params(labelbottom=True)
    hide_from(grid, len(scores))
    counts = {estimate.n for estimates in by_line for estimate in estimates.values()} - {0}
    number = f"{min(counts, default=0)}" + (f" to {max(counts)}" if len(counts) > 1 else "")
    for axes in grid[::columns]:
        axes.set_ylabel("average task accuracy")
    bars = f"means over {number} seeds; bars: {INTERVAL}s of the means"
    legend(figure, "one seed" if counts == {1} else bars if counts else "")
    return figure


def _draw(
    axes: "Axes", estimates: Mapping[object, Estimate], index: int, label: str, values: Sequence[object]
) -> None:
    positions = dict(zip(values, _positions(values), strict=True))
    points = sorted((positions[value], estimate) for value, estimate in estimates.items())
    x = [position for position, _ in points]
    means = np.array([estimate.mean for _, estimate in points])
    ends = np.clip([[estimate.low, estimate.high] for _, estimate in points], *SHARE)
    errors = np.nan_to_num(np.abs(ends - means[:, None])).T
    style = look(index) | ({} if _numbers(values) else {"linestyle": "none"})  # nothing lies between names
    axes.errorbar(x, means, yerr=errors, capsize=3, label=label, **style, **marker(index))


def _numbers(values: Sequence[object]) -> list[float] | None:
    numbers = [float(value) for value in values if not isinstance(value, bool) and isinstance(value, Real)]
    return numbers if len(numbers) == len(values) else None


def _positions(values: Sequence[object]) -> list[float]:
    return _numbers(values) or list(map(float, range(len(values))))


def _scale(axes: "Axes", values: Sequence[object]) -> None:
    """Mark the values on the axis, which is logarithmic if they are spaced so, with 0 at its left end."""
    tidy(axes)
    numbers = _numbers(values)
    if numbers is not None and logarithmic(numbers):
        smallest = min(number for number in numbers if number > 0)
        axes.set_xscale("symlog", linthresh=smallest) if min(numbers) == 0 else axes.set_xscale("log")
    labels = [f"{value:g}" if _numbers([value]) else str(value) for value in values]
    axes.set_xticks(_positions(values), labels)
    axes.minorticks_off()


def logarithmic(values: Sequence[float]) -> bool:
    """Return whether the logarithms of numbers are spaced more evenly than the numbers; 0 is left out.

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

"""Indicators over tasks: beside accuracy, step-size trajectories, effective steps against their bounds."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.indicators import WHOLE
from clbench.plotting.curves import draw
from clbench.plotting.style import legend, look, new_figure, tidy
from clbench.records import IndicatorRecord, TaskRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = tuple[np.ndarray, np.ndarray]
EFFECTIVE: tuple[str, dict[str, Any]] = ("effective step size", {"color": "#0072B2", "linewidth": 1.8})
BOUNDS: dict[str, tuple[str, dict[str, Any]]] = {
    "combined_bound": ("combined bound", {"color": "#000000", "linewidth": 1.6}),
    "noise_bound": ("noise bound", {"color": "#009E73", "linestyle": "--", "linewidth": 1.2}),
    "volatility_bound": ("volatility bound", {"color": "#CC79A7", "linestyle": "-.", "linewidth": 1.2}),
}
DEAD, GREY = "dead", "dead: no gradient"
CROSS: dict[str, Any] = {
    "marker": "x",
    "markersize": 6,
    "markeredgewidth": 1.6,
    "linestyle": "none",
    "zorder": 5,
}
# Those of the other two figures, which are recorded along a task.
ELSEWHERE = {"step_size", "volatility", *BOUNDS}
COLUMNS = 4


def indicator_figures(
    indicators: Sequence[IndicatorRecord],
    records: Sequence[TaskRecord],
    agents: Sequence[str],
    title: str,
) -> dict[str, "Figure"]:
    """Return figures by name, those that there are records for.

    "indicators": the whole network at each task's end, beside task accuracy; "step_sizes": trajectories
    of each layer; "bounds": effective step sizes against the three bounds, layer by layer.

    Args:
        indicators: what was measured.
        records: of all agents.
        agents: names, in the order of the legend.
        title: what was run.
    """
    figures = {}
    steps = {record.task: record.steps for record in records}
    if any(record.indicator not in ELSEWHERE and record.layer == WHOLE for record in indicators):
        figures["indicators"] = _over_tasks(indicators, records, agents, title)
    tracked = [
        agent
        for agent in agents
        if any(
            one.agent == agent and one.indicator == "step_size" and one.task in steps for one in indicators
        )
    ]
    if tracked:
        lines = _trajectories(indicators, steps)
        figures["step_sizes"] = _step_sizes(lines, tracked, title)
        figures["bounds"] = _bounds(lines, tracked, title)
    return figures


def _over_tasks(
    indicators: Sequence[IndicatorRecord],
    records: Sequence[TaskRecord],
    agents: Sequence[str],
    title: str,
) -> "Figure":
    panels: dict[str, dict[str, dict[int, list[float]]]] = {"task accuracy": {}}
    for record in records:
        own = panels["task accuracy"].setdefault(record.agent, {})
        own.setdefault(record.task, []).append(record.accuracy)
    last: dict[tuple[str, int, int, str], tuple[int, float]] = {}
    for one in indicators:
        if one.layer == WHOLE and one.indicator not in ELSEWHERE:
            key = (one.agent, one.seed, one.task, one.indicator)
            if key not in last or one.step >= last[key][0]:
                last[key] = (one.step, one.value)
    for (agent, _, task, indicator), (_, value) in last.items():
        panels.setdefault(indicator, {}).setdefault(agent, {}).setdefault(task, []).append(value)
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(3.1 * COLUMNS, 0.5 + 2.1 * rows, f"{title} · at each task's end")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    for axes, (name, of_agents) in zip(grid, panels.items(), strict=False):
        for index, agent in enumerate(agents):
            draw(axes, of_agents.get(agent, {}), index, agent)
            _cross_out(axes, of_agents.get(agent, {}), panels["task accuracy"].get(agent, {}), index)
        axes.set_title(name.replace("_", " "), fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        tidy(axes)
        if name == "task accuracy":
            axes.set_ylim(0, 1.02)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    for axes in grid[max(0, len(panels) - COLUMNS) : len(panels)]:
        axes.set_xlabel("task", fontsize=8)
    legend(figure)
    return figure


def _cross_out(
    axes: "Axes", values: dict[int, list[float]], tasks: dict[int, list[float]], index: int
) -> None:
    """Mark the end of a line that ends before its agent's last task: from there on nothing is defined."""
    if values and max(values) < max(tasks, default=0):
        end = max(values)
        colour = look(index)["color"]
        axes.plot([end + 1], [np.mean(values[end])], color=colour, label="not defined from there on", **CROSS)


Lines = dict[tuple[str, str, str], Line]


def _trajectories(indicators: Sequence[IndicatorRecord], steps: dict[int, int]) -> Lines:
    """Return by agent, layer and indicator: times in tasks, and medians over the seeds that have a value, else NaN.

    The indicator `DEAD` is the share of seeds in which the layer is dead.
    """
    found: dict[tuple[str, str, str], dict[float, list[float]]] = {}
    for one in indicators:
        if one.task in steps:
            time = one.task + one.step / steps[one.task]
            found.setdefault((one.agent, one.layer, one.indicator), {}).setdefault(time, []).append(one.value)
    lines = {
        key: (np.array(sorted(values)), np.array([_median(values[time]) for time in sorted(values)]))
        for key, values in found.items()
    }
    for (agent, layer, indicator), values in found.items():
        if indicator == "combined_bound":
            pairs = [(time, bound) for time, own in values.items() for bound in own]
            lines[agent, layer, DEAD] = dead_shares(*zip(*pairs, strict=True))
    return lines


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.median(known)) if known else float("nan")


def _step_sizes(lines: Lines, agents: Sequence[str], title: str) -> "Figure":
    figure = new_figure(8.5, 0.6 + 2.6 * len(agents), f"{title} · step sizes, median over seeds")
    for axes, agent in zip(figure.subplots(len(agents), 1, squeeze=False).flatten(), agents, strict=True):
        layers = [layer for name, layer, indicator in lines if name == agent and indicator == "step_size"]
        for index, layer in enumerate(layers):
            times, values = lines[agent, layer, "step_size"]
            axes.plot(times, values, label=layer, linewidth=1.6, **look(index))
        axes.set_title(agent, fontsize=9, loc="left")
        axes.set(ylabel="step size", yscale="log")
        tidy(axes)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xlabel("tasks done")
    return figure


def _bounds(lines: Lines, agents: Sequence[str], title: str) -> "Figure":
    layers = {
        agent: [layer for name, layer, indicator in lines if name == agent and indicator == "step_size"]
        for agent in agents
    }
    columns = max(map(len, layers.values()))
    figure = new_figure(
        max(6.0, 3.6 * columns),
        0.9 + 2.6 * len(agents),
        f"{title} · effective step size and its bounds, median over seeds",
    )
    grid = figure.subplots(len(agents), columns, squeeze=False)
    for row, agent in zip(grid, agents, strict=True):
        for axes in row[len(layers[agent]) :]:
            axes.set_axis_off()
        for axes, layer in zip(row, layers[agent], strict=False):
            decided = lines[agent, layer, "step_size"][0]
            times, values = lines[agent, layer, "effective_step_size"]
            own = {
                name: lines[agent, layer, name] for name in (*BOUNDS, DEAD) if (agent, layer, name) in lines
            }
            own["effective_step_size"] = times[np.isin(times, decided)], values[np.isin(times, decided)]
            axes.set_title(f"{agent} · {layer}", fontsize=9, loc="left")
            against_bounds(axes, own)
            tidy(axes)
    for axes in grid[-1]:
        axes.set_xlabel("tasks done", fontsize=9)
    legend(figure, columns=4 if columns > 1 else 2)
    return figure


def against_bounds(axes: "Axes", lines: Mapping[str, Line]) -> None:
    """Draw a layer's effective step size and its bounds over time, logarithmically, and where it is dead.

    A bound that is 0 or `inf` is no level, and left out: nothing may move there, or nothing bounds. Where it is NaN
    the layer is dead, which is grey, the darker the more seeds it is dead in. A line that ends for good has a cross.

    Args:
        axes: to draw on.
        lines: times and values of "effective_step_size" and `BOUNDS`, and of `DEAD`, those that there are.
    """
    shown = []
    for name, (label, style) in {"effective_step_size": EFFECTIVE, **BOUNDS}.items():
        if name not in lines:
            continue
        times, values = lines[name]
        levels = np.where((values > 0) & np.isfinite(values), values, np.nan)
        axes.plot(times, levels, label=label, **style)
        if name != "volatility_bound":
            shown.append(levels[np.isfinite(levels)])
        drawable = np.isfinite(levels)
        alone = drawable & ~np.append(drawable[1:], False) & ~np.append(False, drawable[:-1])
        axes.plot(
            times[alone], levels[alone], color=style["color"], marker=".", markersize=3, linestyle="none"
        )
        if drawable.any() and np.isnan(values[-1]):
            end = np.flatnonzero(drawable)[-1]
            axes.plot(times[end], levels[end], color=style["color"], **CROSS)
    for start, end, share in _spans(*lines.get(DEAD, ((), ()))):
        axes.axvspan(start, end, color=f"{0.97 - 0.15 * share:.2f}", linewidth=0, zorder=0, label=GREY)
    axes.set_yscale("log")
    drawn = np.concatenate([np.array([]), *shown])
    if len(drawn):
        # The volatility bound may lie orders of magnitude above all else: it is cut.
        axes.set_ylim(drawn.min() / 2, drawn.max() * 10)


def dead_shares(times: Sequence[float], bounds: Sequence[float]) -> Line:
    """Return the times of combined bounds in order, and the share of them that is NaN at each."""
    found: dict[float, list[bool]] = {}
    for time, bound in zip(times, bounds, strict=True):
        found.setdefault(time, []).append(bool(np.isnan(bound)))
    return np.array(sorted(found)), np.array([np.mean(found[time]) for time in sorted(found)])


def _spans(times: Sequence[float], shares: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return from when to when which share above 0 is dead, each time from the time before on."""
    spans: list[tuple[float, float, float]] = []
    before = float(np.ceil(times[0]) - 1) if len(times) else 0.0
    for time, share in zip(times, shares, strict=True):
        if spans and spans[-1][1:] == (before, share):
            spans[-1] = (spans[-1][0], time, share)
        elif share > 0:
            spans.append((before, time, share))
        before = time
    return spans

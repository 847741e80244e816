"""Indicators over tasks: next to accuracy, step-size trajectories, effective step sizes against their bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.indicators import WHOLE
from clbench.plotting.curves import draw
from clbench.plotting.style import hide_from, legend, look, new_figure, tidy
from clbench.records import IndicatorRecord, TaskRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Line = tuple[np.ndarray, np.ndarray]
"""Times and values."""
Lines = dict[tuple[str, str, str], Line]
"""By agent, layer and indicator: times in tasks, and medians over the seeds that have a value, else NaN."""

EFFECTIVE: tuple[str, dict[str, Any]] = ("effective step size", {"color": "#0072B2", "linewidth": 1.8})
BOUNDS: dict[str, tuple[str, dict[str, Any]]] = {
    "combined_bound": ("combined bound", {"color": "#000000", "linewidth": 1.6}),
    "noise_bound": ("noise bound", {"color": "#009E73", "linestyle": "--", "linewidth": 1.2}),
    "volatility_bound": ("volatility bound", {"color": "#CC79A7", "linestyle": "-.", "linewidth": 1.2}),
}
DEAD, DEAD_LABEL = "dead", "dead: no gradient"
CROSS: dict[str, Any] = {
    "marker": "x",
    "markersize": 6,
    "markeredgewidth": 1.6,
    "linestyle": "none",
    "zorder": 5,
}
DOT: dict[str, Any] = {"marker": ".", "markersize": 3, "linestyle": "none"}
IN_OTHER_FIGURES = {"step_size", "volatility", *BOUNDS}  # which are recorded along a task
COLUMNS = 4


def indicator_figures(
    indicators: Sequence[IndicatorRecord], records: Sequence[TaskRecord], agents: Sequence[str], title: str
) -> dict[str, "Figure"]:
    """Return the figures that there are records for, by name.

    "indicators": the whole network at each task's end, next to task accuracy; "step_sizes": trajectories
    of each layer; "bounds": effective step sizes against the three bounds, layer by layer.
    """
    import pandas as pd

    figures = {}
    measured, tasks = (
        pd.DataFrame(list(rows), columns=[field.name for field in fields(kind)])
        for rows, kind in ((indicators, IndicatorRecord), (records, TaskRecord))
    )
    at_end = measured[(measured.layer == WHOLE) & ~measured.indicator.isin(IN_OTHER_FIGURES)]
    if len(at_end):
        figures["indicators"] = _over_tasks(at_end, tasks, agents, title)
    lines = _trajectories(measured, dict(zip(tasks.task, tasks.steps, strict=True)))
    scheduled = [agent for agent in agents if _layers(lines, agent)]
    if scheduled:
        figures["step_sizes"] = _step_sizes(lines, scheduled, title)
        figures["bounds"] = _bounds(lines, scheduled, title)
    return figures


def _over_tasks(at_end: "pd.DataFrame", tasks: "pd.DataFrame", agents: Sequence[str], title: str) -> "Figure":
    last = at_end.sort_values("step", kind="stable").groupby(["agent", "seed", "task", "indicator"]).tail(1)
    panels = {"task accuracy": tasks.assign(value=tasks.accuracy)}
    panels |= {name: last[last.indicator == name] for name in at_end.indicator.unique()}
    figure = new_figure(
        3.1 * COLUMNS, 0.5 + 2.1 * -(-len(panels) // COLUMNS), f"{title} · at each task's end"
    )
    grid = figure.subplots(-(-len(panels) // COLUMNS), COLUMNS, squeeze=False).flatten()
    for axes, (name, panel) in zip(grid, panels.items(), strict=False):
        for index, agent in enumerate(agents):
            by_task = panel[panel.agent == agent].groupby("task").value.agg(list).to_dict()
            draw(axes, by_task, index, agent)
            if by_task and max(by_task) < tasks[tasks.agent == agent].task.max():
                end = max(by_task)
                mark = {"color": look(index)["color"], "label": "not defined from there on", **CROSS}
                axes.plot([end + 1], [np.mean(by_task[end])], **mark)
        axes.set_title(name.replace("_", " "), fontsize=9, loc="left")
        axes.tick_params(labelsize=8)
        tidy(axes)
    grid[0].set_ylim(0, 1.02)
    hide_from(grid, len(panels))
    for axes in grid[max(0, len(panels) - COLUMNS) : len(panels)]:
        axes.set_xlabel("task", fontsize=8)
    legend(figure)
    return figure


def _trajectories(measured: "pd.DataFrame", steps: Mapping[int, int]) -> Lines:
    """Return lines, and as the indicator `DEAD` the share of seeds in which the layer is dead."""
    measured = measured[measured.task.isin(steps)]
    measured = measured.assign(time=measured.task + measured.step / measured.task.map(steps))
    lines: Lines = {}
    for key, rows in measured.groupby(["agent", "layer", "indicator"], sort=False):
        agent, layer, indicator = map(str, key)
        medians = rows.groupby("time").value.median()
        lines[agent, layer, indicator] = medians.index.to_numpy(), medians.to_numpy()
        if indicator == "combined_bound":
            lines[agent, layer, DEAD] = dead_shares(rows.time.to_numpy(), rows.value.to_numpy())
    return lines


def _layers(lines: Lines, agent: str) -> list[str]:
    return [layer for name, layer, indicator in lines if name == agent and indicator == "step_size"]


def _step_sizes(lines: Lines, agents: Sequence[str], title: str) -> "Figure":
    figure = new_figure(8.5, 0.6 + 2.6 * len(agents), f"{title} · step sizes, median over seeds")
    for axes, agent in zip(figure.subplots(len(agents), 1, squeeze=False).flatten(), agents, strict=True):
        for index, layer in enumerate(_layers(lines, agent)):
            axes.plot(*lines[agent, layer, "step_size"], label=layer, linewidth=1.6, **look(index))
        axes.set_title(agent, fontsize=9, loc="left")
        axes.set(ylabel="step size", yscale="log")
        tidy(axes)
        axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xlabel("tasks done")
    return figure


def _bounds(lines: Lines, agents: Sequence[str], title: str) -> "Figure":
    columns = max(len(_layers(lines, agent)) for agent in agents)
    title = f"{title} · effective step size and its bounds, median over seeds"
    figure = new_figure(max(6.0, 3.6 * columns), 0.9 + 2.6 * len(agents), title)
    grid = figure.subplots(len(agents), columns, squeeze=False)
    for row, agent in zip(grid, agents, strict=True):
        hide_from(row, len(_layers(lines, agent)))
        for axes, layer in zip(row, _layers(lines, agent), strict=False):
            keys = {name: (agent, layer, name) for name in (*BOUNDS, DEAD)}
            panel = {name: lines[key] for name, key in keys.items() if key in lines}
            times, values = lines[agent, layer, "effective_step_size"]
            decided = np.isin(times, lines[agent, layer, "step_size"][0])
            against_bounds(axes, {**panel, "effective_step_size": (times[decided], values[decided])})
            axes.set_title(f"{agent} · {layer}", fontsize=9, loc="left")
            tidy(axes)
    for axes in grid[-1]:
        axes.set_xlabel("tasks done", fontsize=9)
    legend(figure, columns=4 if columns > 1 else 2)
    return figure


def against_bounds(axes: "Axes", lines: Mapping[str, Line]) -> None:
    """Draw a layer's effective step size and its bounds over time, logarithmically, and where it is dead.

    A bound of 0 (nothing may move) or `inf` (nothing bounds) has no level and is left out. Where it is NaN the layer is
    dead, which is grey, the darker the more seeds it is dead in. A line that ends for good has a cross.
    """
    shown = []
    for name, (label, style) in {"effective_step_size": EFFECTIVE, **BOUNDS}.items():
        if name not in lines:
            continue
        times, values = lines[name]
        levels = np.where((values > 0) & np.isfinite(values), values, np.nan)
        axes.plot(times, levels, label=label, **style)
        drawable = np.isfinite(levels)
        if name != "volatility_bound":
            shown.append(levels[drawable])
        alone = drawable & ~np.append(drawable[1:], False) & ~np.append(False, drawable[:-1])
        axes.plot(times[alone], levels[alone], color=style["color"], **DOT)
        if drawable.any() and np.isnan(values[-1]):
            end = np.flatnonzero(drawable)[-1]
            axes.plot(times[end], levels[end], color=style["color"], **CROSS)
    for start, end, share in _spans(*lines.get(DEAD, ((), ()))):
        axes.axvspan(start, end, color=f"{0.97 - 0.15 * share:.2f}", linewidth=0, zorder=0, label=DEAD_LABEL)
    axes.set_yscale("log")
    drawn = np.concatenate([np.array([]), *shown])
    if len(drawn):
        # The volatility bound may lie orders of magnitude above all else: it is cut.
        axes.set_ylim(drawn.min() / 2, drawn.max() * 10)


def dead_shares(times: Sequence[float] | np.ndarray, bounds: Sequence[float] | np.ndarray) -> Line:
    """Return the sorted times of combined bounds, and the share of them that is NaN at each."""
    unique, index = np.unique(np.asarray(times, dtype=float), return_inverse=True)
    return unique, np.bincount(index, weights=np.isnan(bounds)) / np.bincount(index)


def _spans(times: Sequence[float], shares: Sequence[float]) -> list[tuple[float, float, float]]:
    """Return start, end and share of the spans in which a share above 0 is dead; a span starts at the time before."""
    spans: list[tuple[float, float, float]] = []
    before = float(np.ceil(times[0]) - 1) if len(times) else 0.0
    for time, share in zip(times, shares, strict=True):
        if spans and spans[-1][1:] == (before, share):
            spans[-1] = (spans[-1][0], time, share)
        elif share > 0:
            spans.append((before, time, share))
        before = time
    return spans

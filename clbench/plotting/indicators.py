"""Indicators over tasks: next to accuracy, step-size trajectories, effective step sizes against their bounds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.indicators import WHOLE
from clbench.plotting.curves import SHARE, Limits, draw, label_seeds
from clbench.plotting.isolation import isolated
from clbench.plotting.style import (
    hide_from,
    legend,
    legend_in,
    log_scale,
    look,
    new_figure,
    panel_title,
    tidy,
)
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
LIMITS: Mapping[str, Limits] = {
    **dict.fromkeys(("hessian_rank", "dormant_units", "rho", "rho_noise", "rho_volatility"), SHARE),
    "unit_sign_entropy": (0.0, math.log(2)),
}
"""Of indicators that have an upper end; a band is cut there."""


@isolated()
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
    rows = -(-len(panels) // COLUMNS)
    figure = new_figure(3.1 * COLUMNS, 0.4 + 2.1 * rows, f"{title} · at each task's end")
    grid = figure.subplots(rows, COLUMNS, squeeze=False).flatten()
    ends = {agent: tasks[tasks.agent == agent].task.max() for agent in agents}
    labels, explanation = label_seeds(
        {agent: by_task for agent in agents if (by_task := _by_task(panels["task accuracy"], agent))}
    )
    for axes, (name, panel) in zip(grid, panels.items(), strict=False):
        limits = SHARE if name == "task accuracy" else LIMITS.get(name)
        for index, agent in enumerate(agents):
            by_task = _by_task(panel, agent)
            draw(axes, by_task, index, labels.get(agent, agent), limits)
            if by_task and max(by_task) < ends[agent]:
                end = max(by_task)
                mark = {"color": look(index)["color"], "label": "not defined from there on", **CROSS}
                axes.plot([end + 1], [np.mean(by_task[end])], **mark)
        if limits is None:
            _fit(axes)
        panel_title(axes, name.replace("_", " "), 3)
        axes.tick_params(labelsize=8)
        tidy(axes)
    grid[0].set_ylim(0, 1.02)
    hide_from(grid, len(panels))
    for axes in grid[max(0, len(panels) - COLUMNS) : len(panels)]:
        axes.set_xlabel("task", fontsize=8)
    legend(figure, explanation)
    return figure


def _by_task(panel: "pd.DataFrame", agent: str) -> dict[int, list[float]]:
    by_task: dict[int, list[float]] = panel[panel.agent == agent].groupby("task").value.agg(list).to_dict()
    return by_task


def _fit(axes: "Axes") -> None:
    """Scale a panel to its lines: a band that is far wider is cut."""
    drawn = (float(value) for line in axes.lines for value in np.asarray(line.get_ydata()))
    if values := [value for value in drawn if math.isfinite(value)]:
        low, high = min(values), max(values)
        margin = max(0.6 * (high - low), 0.3 * max(abs(low), abs(high)), 1e-9)
        bottom, top = axes.get_ylim()
        axes.set_ylim(max(bottom, low - margin), min(top, high + margin))


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
    figure = new_figure(8.5, 0.6 + 2.6 * len(agents), f"{title} · step sizes, medians over seeds")
    for axes, agent in zip(figure.subplots(len(agents), 1, squeeze=False).flatten(), agents, strict=True):
        for index, layer in enumerate(_layers(lines, agent)):
            axes.plot(*lines[agent, layer, "step_size"], label=layer, linewidth=1.6, **look(index))
        panel_title(axes, agent, 7)
        log_scale(axes)
        axes.set(ylabel="step size")
        tidy(axes)
        legend_in(axes, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xlabel("tasks done")
    return figure


def _bounds(lines: Lines, agents: Sequence[str], title: str) -> "Figure":
    columns = max(len(_layers(lines, agent)) for agent in agents)
    title = f"{title} · effective step size and its bounds, medians over seeds"
    figure = new_figure(max(6.0, 3.6 * columns), 0.6 + 2.6 * len(agents), title)
    grid = figure.subplots(len(agents), columns, squeeze=False)
    for row, agent in zip(grid, agents, strict=True):
        hide_from(row, len(_layers(lines, agent)))
        for axes, layer in zip(row, _layers(lines, agent), strict=False):
            against_bounds(axes, _panel(lines, agent, layer))
            panel_title(axes, f"{agent} · {layer}", 3.4)
            tidy(axes)
        row[0].set_ylabel("effective step size", fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("tasks done", fontsize=9)
    legend(figure)
    return figure


def _panel(lines: Lines, agent: str, layer: str) -> dict[str, Line]:
    """Return a layer's bounds, and its effective step sizes at the times of decisions."""
    keys = {name: (agent, layer, name) for name in (*BOUNDS, DEAD)}
    panel = {name: lines[key] for name, key in keys.items() if key in lines}
    if (agent, layer, "effective_step_size") in lines:
        times, values = lines[agent, layer, "effective_step_size"]
        decided = np.isin(times, lines[agent, layer, "step_size"][0])
        panel["effective_step_size"] = times[decided], values[decided]
    return panel


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
    log_scale(axes)
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

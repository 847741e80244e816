"""Accuracy over tasks: of a run's agents, and of entries next to their differences to a reference."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.plotting.isolation import isolated
from clbench.plotting.style import legend, legend_in, look, marker, new_figure, panel_title, tidy
from clbench.records import TaskRecord
from clbench.scoring import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ByTask = Mapping[int, Sequence[float]]
"""By task, a number per seed."""
Limits = tuple[float, float]
"""Where values can lie: a band is cut there."""

SHARE: Limits = (0.0, 1.0)
ACCURACY = "task accuracy (before each update)"
INTERVAL = "95 % t interval"


def curves(
    records: Sequence[TaskRecord], agents: Sequence[str], title: str, chance: float, ax: "Axes | None" = None
) -> "Figure":
    """Return the figure of task accuracy per task: means over seeds, and bands of 95 % t intervals, cut at 0 and 1.

    Args:
        records: of any agents.
        agents: whose records are drawn, in the order of the legend.
        title: what was run; not used with `ax`.
        chance: the accuracy of guessing, drawn as a line unless it is NaN.
        ax: the axes of another figure to draw in, which is returned.
    """
    accuracies: dict[str, dict[int, list[float]]] = {agent: {} for agent in agents}
    for record in records:
        if record.agent in accuracies:
            accuracies[record.agent].setdefault(record.task, []).append(record.accuracy)
    return accuracy_curves(accuracies, title, chance, ax)


@isolated()
def accuracy_curves(
    accuracies: Mapping[str, ByTask], title: str, chance: float, ax: "Axes | None" = None
) -> "Figure":
    """Return the figure of accuracies by label and task; see `curves`."""
    axes = new_figure(8.5, 4.3, title).add_subplot() if ax is None else ax
    if not math.isnan(chance):
        axes.axhline(chance, color="0.6", linewidth=1, linestyle=(0, (2, 3)), zorder=1)
        offset: dict[str, Any] = {"xytext": (-4, -10), "textcoords": "offset points", "ha": "right"}
        where: dict[str, Any] = {"xy": (1, chance), "xycoords": ("axes fraction", "data")}
        axes.annotate("chance", color="0.4", fontsize=8, **where, **offset)
    labels, explanation = label_seeds({label: by_task for label, by_task in accuracies.items() if by_task})
    for index, (label, by_task) in enumerate(accuracies.items()):
        draw(axes, by_task, index, labels.get(label, label), SHARE)
    axes.set(xlabel="task", ylabel=ACCURACY, ylim=(0, 1.02))
    tidy(axes)
    _mark_single_task(axes, accuracies)
    figure = axes.figure.figure  # not a subfigure
    if ax is None:
        legend(figure, explanation)
    else:
        legend_in(axes, explanation)
    return figure


@isolated()
def comparison(
    accuracies: Mapping[str, ByTask],
    differences: Mapping[str, Mapping[int, Estimate]],
    hows: Mapping[str, str],
    reference: str,
    title: str,
) -> "Figure":
    """Return the figure of a comparison, task by task: accuracy, and its difference to the reference's.

    Args:
        accuracies: by label, in the order of the legend, and by task: a number per seed.
        differences: by label and task; the reference's is drawn as a line at zero.
        hows: how differences are computed, by label, such as "paired, n = 3".
        reference: its label.
        title: what was run.
    """
    figure = new_figure(11, 4.3, title)
    left, right = figure.subplots(1, 2)
    labels, explanation = label_seeds(accuracies)
    for index, label in enumerate(accuracies):
        draw(left, accuracies[label], index, labels[label], SHARE)
        if label != reference:
            draw_estimates(right, differences[label], index, labels[label])
        else:
            right.axhline(0, linewidth=1.8, zorder=1.9, **look(index))
    left.set_ylim(0, 1.02)
    panel_title(left, ACCURACY, 5)
    how = "; ".join(dict.fromkeys(text for label, text in hows.items() if label != reference))
    panel_title(right, f"difference to {reference} · {how}", 5)
    for axes in (left, right):
        axes.set_xlabel("task")
        tidy(axes)
        _mark_single_task(axes, accuracies)
    legend(figure, explanation)
    return figure


def _mark_single_task(axes: "Axes", accuracies: Mapping[str, ByTask]) -> None:
    if all(set(by_task) <= {0} for by_task in accuracies.values()):
        axes.set(xlim=(0.5, 1.5), xticks=[1])


def draw(axes: "Axes", by_task: ByTask, index: int, label: str, limits: Limits | None = None) -> None:
    """Draw a line of means over seeds and its band, cut at `limits`, by default at 0 if no value is below it."""
    if limits is None:
        limits = (0.0 if all(min(values) >= 0 for values in by_task.values()) else -math.inf, math.inf)
    draw_estimates(axes, {task: estimate(values) for task, values in by_task.items()}, index, label, limits)


def draw_estimates(
    axes: "Axes",
    by_task: Mapping[int, Estimate],
    index: int,
    label: str,
    limits: Limits = (-math.inf, math.inf),
) -> None:
    """Draw a line of means and a band of their intervals, cut at `limits`; nothing if there are no tasks."""
    if not by_task:
        return
    tasks = np.array(sorted(by_task))
    bands = [by_task[task] for task in sorted(by_task)]
    low, mean, high = np.array([(band.low, band.mean, band.high) for band in bands]).T
    style = look(index)
    axes.fill_between(
        tasks + 1,
        np.clip(low, *limits),
        np.clip(high, *limits),
        facecolor=(style["color"], 0.09),
        edgecolor=(style["color"], 0.35),
        linewidth=0.5,
        zorder=1.5,  # below all lines: bands of three seeds are wide
    )
    axes.plot(tasks + 1, mean, linewidth=1.6, label=label, **style, **marker(index))


def label_seeds(values: Mapping[str, ByTask]) -> tuple[dict[str, str], str]:
    """Return legend labels, and a text for the legend that gives the number of seeds and says what a band is.

    >>> label_seeds({"a": {0: [0.1, 0.2]}, "b": {0: [0.1, 0.3]}})
    ({'a': 'a', 'b': 'b'}, 'means over 2 seeds; bands: 95 % t intervals of the means')
    >>> label_seeds({"a": {0: [0.1, 0.2, 0.4]}, "b": {0: [0.1, 0.3]}})
    ({'a': 'a, n = 3', 'b': 'b, n = 2'}, 'means over n seeds; bands: 95 % t intervals of the means')
    >>> label_seeds({"a": {0: [0.1]}})
    ({'a': 'a'}, 'one seed')
    """
    counts = {label: max(map(len, by_task.values())) for label, by_task in values.items()}
    alike = len(set(counts.values())) <= 1
    count = max(counts.values(), default=1)
    if count == 1:
        return {label: label for label in counts}, "one seed"
    labels = {label: label if alike else f"{label}, n = {counts[label]}" for label in counts}
    return labels, f"means over {count if alike else 'n'} seeds; bands: {INTERVAL}s of the means"

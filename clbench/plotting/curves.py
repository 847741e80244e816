"""Accuracy over tasks: of a run's agents, and of entries next to their differences to a reference."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.plotting.style import legend, look, new_figure, tidy
from clbench.records import TaskRecord
from clbench.scoring import Estimate, estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ByTask = Mapping[int, Sequence[float]]
"""By task, a number per seed."""


def curves(records: Sequence[TaskRecord], agents: Sequence[str], title: str, chance: float) -> "Figure":
    """Return the figure of task accuracy per task: mean over seeds and 95 % t interval, cut at 0 and 1.

    Agents are in the order of the legend; `chance`, the accuracy of guessing, is drawn as a line.
    """
    figure = new_figure(8.5, 4.5, title)
    axes = figure.add_subplot()
    axes.axhline(chance, color="0.6", linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    offset: dict[str, Any] = {"xytext": (-4, -10), "textcoords": "offset points", "ha": "right"}
    axes.annotate(
        "chance", (1, chance), xycoords=("axes fraction", "data"), color="0.4", fontsize=8, **offset
    )
    accuracies: dict[str, dict[int, list[float]]] = {agent: {} for agent in agents}
    for record in records:
        if record.agent in accuracies:
            accuracies[record.agent].setdefault(record.task, []).append(record.accuracy)
    labels, text = label_seeds({agent: by_task for agent, by_task in accuracies.items() if by_task})
    for index, (agent, by_task) in enumerate(accuracies.items()):
        draw(axes, by_task, index, labels.get(agent, agent))
    if labels:
        axes.set_title(text if text == "one seed" else f"means over seeds, {text}", fontsize=9, loc="left")
    if axes.get_legend_handles_labels()[0]:  # Matplotlib hides labels such as "__main__:Agent"
        figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    axes.set(xlabel="task", ylabel="task accuracy (before each update)", ylim=(0, 1.02))
    tidy(axes)
    return figure


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
    figure = new_figure(11, 4.6, title)
    left, right = figure.subplots(1, 2)
    labels, number = label_seeds(accuracies)
    for index, label in enumerate(accuracies):
        draw(left, accuracies[label], index, labels[label])
        if label != reference:
            draw_estimates(right, differences[label], index, labels[label])
        else:
            right.axhline(0, linewidth=1.8, zorder=1.9, **look(index))
    left.set_ylim(0, 1.02)
    left.set_title(f"task accuracy (before each update), {number}", fontsize=9, loc="left")
    how = "; ".join(dict.fromkeys(text for label, text in hows.items() if label != reference))
    right.set_title(f"difference to {reference}; {how}", fontsize=9, loc="left")
    for axes in (left, right):
        axes.set_xlabel("task")
        tidy(axes)
        if all(len(by_task) == 1 for by_task in accuracies.values()):
            axes.set(xlim=(0.5, 1.5), xticks=[1])
    legend(figure, columns=3)
    return figure


def draw(axes: "Axes", by_task: ByTask, index: int, label: str, least: float | None = None) -> None:
    """Draw a line of means over seeds and its band, cut at `least`, or at 0 if no value is below it."""
    if least is None:
        least = 0.0 if all(min(values) >= 0 for values in by_task.values()) else -math.inf
    draw_estimates(axes, {task: estimate(values) for task, values in by_task.items()}, index, label, least)


def draw_estimates(
    axes: "Axes", by_task: Mapping[int, Estimate], index: int, label: str, least: float = -math.inf
) -> None:
    """Draw a line of means and a band of their intervals, cut at `least`; nothing if there are no tasks."""
    if not by_task:
        return
    tasks = np.array(sorted(by_task))
    bands = [by_task[task] for task in sorted(by_task)]
    low, mean, high = np.array([(band.low, band.mean, band.high) for band in bands]).T
    style = look(index)
    axes.fill_between(
        tasks + 1,
        np.maximum(low, least),
        high,
        facecolor=(style["color"], 0.13),
        edgecolor=(style["color"], 0.45),
        linewidth=0.6,
        zorder=1.5,  # below all lines: bands of three seeds are wide
    )
    axes.plot(tasks + 1, mean, linewidth=1.8, marker="o", markersize=3.5, label=label, **style)


def label_seeds(values: Mapping[str, ByTask]) -> tuple[dict[str, str], str]:
    """Return legend labels, and a text for the title, that give the number of seeds and say what a band is.

    >>> label_seeds({"a": {0: [0.1, 0.2]}, "b": {0: [0.1, 0.3]}})
    ({'a': 'a', 'b': 'b'}, 'n = 2, 95 % t intervals')
    >>> label_seeds({"a": {0: [0.1, 0.2, 0.4]}, "b": {0: [0.1, 0.3]}})
    ({'a': 'a, n = 3', 'b': 'b, n = 2'}, '95 % t intervals')
    >>> label_seeds({"a": {0: [0.1]}})
    ({'a': 'a'}, 'one seed')
    """
    counts = {label: max(map(len, by_task.values())) for label, by_task in values.items()}
    if len(set(counts.values())) > 1:
        return {label: f"{label}, n = {count}" for label, count in counts.items()}, "95 % t intervals"
    count = max(counts.values(), default=1)
    return {label: label for label in counts}, "one seed" if count == 1 else f"n = {count}, 95 % t intervals"

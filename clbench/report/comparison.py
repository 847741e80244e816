"""Table, figure and CSV of a comparison."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.comparing.comparison import Comparison, Row
from clbench.intervals import ENOUGH_SEEDS
from clbench.places import SOMEWHERE, recorded
from clbench.report.console import plain_table
from clbench.scoring import Estimate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from rich.table import Table


def table(comparison: Comparison) -> "Table":
    """Return the table of each entry's score and its differences from the reference."""
    name, *others = comparison.scores
    digits = 4 if name == "slope" else 3
    titles = [name.replace("_", " ").replace(" ", "\n", 1), f"{_short(name)}\ndifference"]
    differences = (f"{_short(other)}\ndiff." for other in others)
    grid = plain_table(("\nentry", "\nn", *titles, *differences), numbers=True)
    for row in comparison.rows:
        if row.entry.label == row.reference.label:
            cells = ["reference", *("" for _ in others)]
        else:
            cells = [f"{_lines(row.differences[name], f'+.{digits}f')}\n{row.how}"]
            cells += [
                _lines(row.differences[other], "+.4f", "+.4f" if other == "slope" else "+.3f")
                for other in others
            ]
        label = row.entry.label.replace(" (", "\n(", 1)
        grid.add_row(label, str(len(row.entry.seeds)), _lines(row.scores[name], f".{digits}f"), *cells)
    return grid


def _short(score: str) -> str:
    return {"average_task_accuracy": "average", "last_tenth": "last 10 %"}.get(score, score.replace("_", " "))


def _lines(estimate: Estimate, style: str, ends: str = "") -> str:
    r"""Return mean and, below it, interval; the mean alone for a single seed.

    >>> _lines(Estimate(0.5, 0.4, 0.6), "+.1f"), _lines(Estimate(0.5, math.nan, math.nan), ".1f")
    ('+0.5\n[+0.4, +0.6]', '0.5')
    """
    mean = f"{_no_minus_zero(estimate.mean):{style}}"
    low, high = (f"{_no_minus_zero(value):{ends or style}}" for value in (estimate.low, estimate.high))
    return mean if math.isnan(estimate.low) else f"{mean}\n[{low}, {high}]"


def _no_minus_zero(value: float) -> float:
    return 0.0 if abs(value) < 0.5e-4 else value


def explanation(comparison: Comparison) -> list[str]:
    """Return the lines that define differences and intervals."""
    streams = "where the streams are the same" if comparison.mismatch else "on the same streams"
    hows = {row.how.partition(",")[0] for row in comparison.others}
    kinds = {
        "paired": f"paired: seed by seed, {streams}",
        "Welch": "Welch: as two independent groups, which share fewer than two seeds"
        + (" or have other streams" if comparison.mismatch else ""),
    }
    used = "; ".join(text for kind, text in kinds.items() if kind in hows)
    name = comparison.reference_name
    if name != comparison.reference.label:
        name += " in the same run, else in the one with most seeds in common"
    lines = [
        f"difference: the entry's score minus that of {name}, mean over n seeds [95 % t interval]; {used}"
    ]
    least = min(row.differences[comparison.scores[0]].n for row in comparison.others)
    if any(math.isnan(row.differences[comparison.scores[0]].low) for row in comparison.others):
        lines.append("one seed gives no interval: the difference may be due to chance")
    elif least < ENOUGH_SEEDS:
        lines.append(
            f"with {least} seeds intervals are wide: a difference may exist even if they include zero"
        )
    return lines


def frame(comparison: Comparison) -> "pd.DataFrame":
    """Return the table with all intervals, one row per entry."""
    import pandas as pd

    rows: pd.DataFrame = pd.DataFrame([_csv_row(row, comparison) for row in comparison.rows])
    return rows


def _csv_row(row: Row, comparison: Comparison) -> dict[str, object]:
    cells: dict[str, object] = {
        "entry": row.entry.label,
        "run": _recorded_run(row.entry.run),
        "agent": row.entry.agent,
        "reference": row.reference.label,
        "seeds": " ".join(map(str, row.seeds)),
        "compared": row.how,
        "num_tasks": comparison.num_tasks,
    }
    for name in comparison.scores:
        for key, estimate in ((name, row.scores[name]), (f"{name}_difference", row.differences[name])):
            cells |= {key: estimate.mean, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    return cells | {"not_the_same": comparison.mismatch}


def _recorded_run(run: str) -> str:
    """Return a run's folder as it is recorded, or its name alone, which `evaluate` chose."""
    return Path(run).name if recorded(run) == SOMEWHERE else recorded(run)


def figure(comparison: Comparison) -> "Figure":
    """Return accuracy curves next to the differences from the reference."""
    from clbench import plotting

    name, first = comparison.reference_name, comparison.reference.label
    rows = {
        name if row.entry.label == first else row.entry.label: row
        for row in comparison.rows
        if row in comparison.others or row.entry.label == first
    }
    accuracies = {
        label: {
            task: [tasks[task].accuracy for tasks in row.entry.seeds.values()]
            for task in range(comparison.num_tasks)
        }
        for label, row in rows.items()
    }
    differences = {label: row.by_task for label, row in rows.items()}
    hows = {label: row.how for label, row in rows.items()}
    return plotting.comparison(accuracies, differences, hows, name, comparison.title)

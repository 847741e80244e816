"""What the command prints: cells and their states, the ranking, failures."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from clbench.evaluation.report import interval
from clbench.intervals import why_ties
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.report import Report

if TYPE_CHECKING:
    from rich.console import Console


def cells_table(cells: Sequence[Cell], folder: SweepFolder) -> Table:
    """Return a table of cells, how far each is, and its folder."""
    grid = plain_table(("cell", "seeds", "state", "folder"))
    for cell in cells:
        found, facts = folder.find(cell), folder.facts(cell)
        state = str(facts["status"]) if facts else "missing"
        name = found.path.name if found else cell.folder_name
        grid.add_row(cell.label, str(len(cell.plan.spec.seeds)), state, name)
    return grid


def print_report(console: "Console", report: Report) -> None:
    """Print the ranking, stream by stream, who was left out, and what was written."""
    for on in dict.fromkeys(row.on for row in report.rows):
        same = report.selection.same
        judging = () if same else ("n", "judged")
        grid = plain_table(("rank", "cell", "n", "average task accuracy", *judging, ""))
        own = [row for row in report.rows if row.on == on]
        for row in own:
            judged = (str(row.judged.n), interval(row.judged)) if row.chosen else ("", "")
            best = f"best of {row.entry.agent}" if row.chosen else ""
            cells = (str(row.rank), row.entry.label, str(row.score.n), interval(row.score))
            grid.add_row(*cells, *(() if same else judged), best)
        console.print()
        console.print(f"{on} · {report.selection}" if on else str(report.selection), soft_wrap=True)
        console.print(grid)
        if text := why_ties([row.score.n for row in own]):
            console.print(text, soft_wrap=True)
    console.print()
    for line in (
        *(f"note: {note}" for note in report.notes),
        *(f"written: {path}" for path in report.written),
    ):
        console.print(line, soft_wrap=True)


def print_failures(sweep: Sweep, failures: Mapping[str, str], folder: SweepFolder) -> None:
    """Print a line for each cell that failed, with its log."""
    for cell in sweep.cells:
        if cell.label in failures:
            print(f"error: {cell.label}: {failures[cell.label]} ({folder.log(cell)})", file=sys.stderr)
    if failures:
        print(
            f"{len(failures)} of {len(sweep.cells)} cells failed; the same command tries them again",
            file=sys.stderr,
        )


def plain_table(titles: Sequence[str]) -> Table:
    """Return an empty table without lines, whose cells fold."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        grid.add_column(title, overflow="fold")
    return grid

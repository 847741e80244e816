"""What `clbench sweep` prints: what is to be run, the ranking, failures."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from clbench.checks import count
from clbench.engine.keyed_store import KeyedStore
from clbench.engine.progress import RunFailure
from clbench.engine.run import Run
from clbench.intervals import why_ties
from clbench.report.console import plain_table
from clbench.sweeps.cells import Sweep
from clbench.sweeps.estimate import estimate_left
from clbench.sweeps.plan import planned_run
from clbench.sweeps.report import Report

if TYPE_CHECKING:
    from rich.console import Console


def announce(
    console: "Console", sweep: Sweep, runs: Sequence[Run], store: KeyedStore, workers: int, measure: bool
) -> None:
    """Print how much there is to run, and an estimate of how long the rest takes."""
    seeds = sum(len(run.config.seeds) for run in runs)
    steps = sum(run.total_steps for run in runs)
    part = f" of {len(sweep.runs)}" if len(runs) < len(sweep.runs) else ""
    console.print(
        f"{sweep.name} · {count(len(runs), 'cell')}{part} · {count(seeds, 'run')} (cell x seed) · {steps:,} steps"
    )
    console.print(str(estimate_left(runs, store, workers, measure)))


def print_plan(console: "Console", runs: Sequence[Run], store: KeyedStore) -> None:
    """Print a table of runs, how far each is, and its folder; and what is damaged."""
    planned = [planned_run(run, store) for run in runs]
    table = plain_table(("cell", "seeds", "state", "folder"), numbers=True, texts=(0, 2, 3))
    for run in planned:
        table.add_row(run.label, str(run.seeds), run.status, run.folder.name)
    console.print(table)
    for run in planned:
        if run.error:
            console.print(f"note: {run.label} will be run again: {run.error}")


def print_report(console: "Console", report: Report) -> None:
    """Print the ranking, stream by stream, what was left out, and what was written."""
    same = report.selection.same
    for on in dict.fromkeys(row.on for row in report.rows):
        judging = () if same else ("n", "judged")
        titles = ("rank", "cell", "n", "average task accuracy", *judging, "")
        table = plain_table(titles, numbers=True, texts=(1, len(titles) - 1))
        rows = [row for row in report.rows if row.on == on]
        for row in rows:
            judged = (str(row.judged.n), str(row.judged)) if row.chosen else ("", "")
            best = f"best of {row.entry.agent}" if row.chosen else ""
            cells = (str(row.rank), row.entry.label, str(row.score.n), str(row.score))
            table.add_row(*cells, *(() if same else judged), best)
        console.print()
        console.print(f"{on} · {report.selection}" if on else str(report.selection))
        console.print(table)
        if text := why_ties([row.score.n for row in rows]):
            console.print(text)
    console.print()
    notes = [f"note: {note}" for note in report.notes]
    for line in (*notes, *(f"written: {path}" for path in report.written)):
        console.print(line)


def print_failures(runs: Sequence[Run], failures: Mapping[str, RunFailure], store: KeyedStore) -> None:
    """Print a line for each run that failed, with its log."""
    for run in runs:
        if run.label in failures:
            log = store.log(run)
            where = f" ({log})" if log else ""
            print(f"error: {run.label}: {failures[run.label].error}{where}", file=sys.stderr)
    if failures:
        print(
            f"{len(failures)} of {len(runs)} cells failed; the same command retries them",
            file=sys.stderr,
        )

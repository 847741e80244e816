"""Views of `clbench.engine.progress.Progress`: a live table, on a terminal or in a notebook, or plain lines."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from clbench.engine.progress import Progress, RunProgress, clock, say
from clbench.report.console import (
    in_notebook,
    is_live,
    is_shown,
    make_console,
    percent,
    plain_table,
    show_unknown_characters,
)

if TYPE_CHECKING:
    from rich.console import Group

FEW = 9
"""Up to so many runs, plain lines are printed for tasks, too."""
PATIENCE = 30.0
"""Seconds after which plain progress has a line in any case, once a step was done."""
ROWS = 20
"""Runs that the live table shows at a time."""
BAR = 22
"""Columns of a progress bar, where there is room."""

Show = Callable[[Iterable[RunProgress]], Progress]


def progress_display(shown: bool | None) -> Show:
    """Return what shows progress: a live table on a terminal or in a notebook, else plain lines; or nothing.

    Args:
        shown: see `is_shown`.
    """
    if not is_shown(shown):
        return Progress
    show_unknown_characters()
    if in_notebook():
        from clbench.report.notebook import NotebookProgress

        return NotebookProgress
    return LiveProgress if is_live(make_console()) else PlainProgress


class PlainProgress(Progress):
    """Prints a line when a run ends, and in between often enough to show its progress.

    If there are few runs, each has a line when all its seeds have finished a task, or have done as many steps, or when
    there was none for a while; else there is a line of totals now and then.
    """

    def __init__(self, runs: Iterable[RunProgress]) -> None:
        super().__init__(runs)
        self._printed = dict(self.runs)  # as last shown
        self._times: dict[str, float] = {}  # when

    def update(self, run: RunProgress) -> None:
        """Print a line if there is something new."""
        super().update(run)
        shown, now, few = self._printed[run.label], time.perf_counter(), len(self.runs) <= FEW
        ended = run.state != shown.state and run.state not in ("waiting", "running")
        last = self._times.setdefault(run.label if few else "", now)
        if shown.state == "waiting" and run.state == "running":
            # What it has done so far is of earlier sessions.
            shown = self._printed[run.label] = replace(run, tasks_finished=shown.tasks_finished)
        tasks_done = run.tasks_finished > shown.tasks_finished
        by_steps = _tasks(run) > _tasks(shown) or (now - last >= PATIENCE and run.steps > shown.steps)
        if ended:
            words = [run.label, *_ending(run), *([] if few else [f"({self.summary})"])]
        elif few and run.state == "running" and (tasks_done or by_steps):
            words = [run.label, *_progress(run, tasks_done)]
        elif not few and now - last >= PATIENCE:
            words = [self.summary]
        else:
            return
        self._printed[run.label], self._times[run.label if few else ""] = run, now
        say("  ".join(words))


def _tasks(run: RunProgress) -> int:
    """Return how many tasks all seeds would have finished with as many steps."""
    return run.steps * run.num_tasks // run.total if run.total else 0


def _progress(run: RunProgress, tasks_done: bool) -> Iterator[str]:
    if tasks_done:
        yield f"task {run.tasks_finished}/{run.num_tasks}"
        yield f"accuracy {run.last_accuracy:.2f}"
    else:
        yield percent(run.steps / run.total)
        if not math.isnan(run.accuracy):
            yield f"accuracy {run.accuracy:.2f}"
    yield f"{run.steps_per_second:,.0f} steps/s"
    yield f"{clock(run.seconds_left)} left"


def _ending(run: RunProgress) -> Iterator[str]:
    yield run.state
    if run.state == "done" and not math.isnan(run.average_accuracy):
        yield f"average accuracy {run.average_accuracy:.3f}, last task {run.last_accuracy:.3f}"
        yield f"{run.steps_per_second:,.0f} steps/s"
        yield clock(run.seconds)


class TableProgress(Progress):
    """A table with a row per run, of many runs those that are running, above the totals."""

    def _columns(self) -> int:
        """Return how wide the table may be."""
        return 100

    def _table(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar

        titles = ("run", "", "task", "accuracy", "average", "steps/s", "left")
        table = plain_table(titles, numbers=True)
        runs = list(self.runs.values())
        rows = runs if len(runs) <= ROWS else [run for run in runs if run.state == "running"]
        bar = BAR if self._columns() >= 80 else 4
        for run in rows[:ROWS]:
            running = run.state == "running"
            table.add_row(
                run.label,
                ProgressBar(total=run.total, completed=run.steps, width=bar),
                f"{run.task + 1}/{run.num_tasks}" if running else run.state,
                *(
                    "-" if math.isnan(value) else f"{value:.2f}"
                    for value in (run.accuracy, run.average_accuracy)
                ),
                f"{run.steps_per_second:,.0f}" if run.steps else "",
                clock(run.seconds_left) if running else f"took {clock(run.seconds)}",
            )
        if len(rows) > ROWS:
            table.add_row(f"... and {len(rows) - ROWS} more")
        return Group(table, *([self.summary] if len(runs) > 1 else []))


class LiveProgress(TableProgress):
    """The table on a terminal; what is printed meanwhile, also on standard error, is above it."""

    def __init__(self, runs: Iterable[RunProgress]) -> None:
        from rich.live import Live

        super().__init__(runs)
        self._console = make_console()
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)
        self._live.start()

    def _columns(self) -> int:
        return self._console.width

    def close(self) -> None:
        """Leave the table as it is."""
        self._live.stop()

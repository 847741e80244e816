"""Views of `clbench.engine.progress.Progress`: a live table, on a terminal or in a notebook, or plain lines."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from clbench.engine.progress import Progress, RunProgress, State, clock
from clbench.report.console import in_notebook, interactive, make_console, plain_table

if TYPE_CHECKING:
    from rich.console import Group

FEW = 9
"""Up to so many runs, plain lines are printed for tasks, too."""
ROWS = 20
"""Runs that the live table shows at a time."""

Show = Callable[[Iterable[RunProgress]], Progress]


def progress_display(shown: bool | None) -> Show:
    """Return what shows progress: a live table on a terminal or in a notebook, else plain lines; or nothing.

    Args:
        shown: whether to show it; None for where somebody watches.
    """
    if not (interactive() if shown is None else shown):
        return Progress
    if in_notebook():
        from clbench.report.notebook import NotebookProgress

        return NotebookProgress
    return LiveProgress if make_console().is_terminal else PlainProgress


class PlainProgress(Progress):
    """Prints a line when a run ends and, if there are few runs, when all seeds of one have finished a task."""

    def __init__(self, runs: Iterable[RunProgress]) -> None:
        super().__init__(runs)
        self._printed: dict[str, tuple[int, State]] = {
            label: (run.tasks_finished, run.state) for label, run in self.runs.items()
        }

    def update(self, run: RunProgress) -> None:
        """Print a line if there is something new."""
        super().update(run)
        tasks, state = self._printed[run.label]
        ended = run.state != state and run.state not in ("waiting", "running")
        few = len(self.runs) <= FEW
        if not ended and not (few and run.state == "running" and run.tasks_finished > tasks):
            return
        self._printed[run.label] = run.tasks_finished, run.state
        words = [run.label, run.state if ended else f"task {run.tasks_finished}/{run.num_tasks}"]
        if few and run.tasks_finished and run.state in ("running", "done"):
            words.append(f"accuracy {run.last_accuracy:.2f}")
            words.append(f"{run.steps_per_second:,.0f} steps/s")
            words.append(f"{clock(run.seconds_left)} left")
        elif not few:
            words.append(f"({self.summary})")
        print("  ".join(words), flush=True)


class TableProgress(Progress):
    """A table with a row per run, of many runs those that are running, above the totals."""

    def _table(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar

        table = plain_table(("run", "", "task", "accuracy", "steps/s", "left"), numbers=True)
        runs = list(self.runs.values())
        rows = runs if len(runs) <= ROWS else [run for run in runs if run.state == "running"]
        for run in rows[:ROWS]:
            running = run.state == "running"
            table.add_row(
                run.label,
                ProgressBar(total=run.total, completed=run.steps, width=22),
                f"{run.task + 1}/{run.num_tasks}" if running else run.state,
                "-" if run.accuracy != run.accuracy else f"{run.accuracy:.2f}",
                f"{run.steps_per_second:,.0f}" if run.steps else "",
                clock(run.seconds_left if running else run.seconds),
            )
        if len(rows) > ROWS:
            table.add_row(f"... and {len(rows) - ROWS} more")
        return Group(table, *([self.summary] if len(runs) > 1 else []))


class LiveProgress(TableProgress):
    """The table on a terminal."""

    def __init__(self, runs: Iterable[RunProgress]) -> None:
        from rich.live import Live

        super().__init__(runs)
        self._console = make_console()
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)
        self._live.start()

    def output(self, label: str, line: str) -> None:
        """Print the line above the table."""
        self._console.print(f"{label}: {line}", soft_wrap=True)

    def note(self, text: str) -> None:
        """Print the text above the table."""
        self._console.print(f"note: {text}", soft_wrap=True)

    def close(self) -> None:
        """Leave the table as it is."""
        self._live.stop()

"""How a sweep gets on: counted, and shown as a live table, as plain lines, or not at all."""

import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from clbench.evaluation.progress import Silent, Tally, clock, make_console

if TYPE_CHECKING:
    from rich.console import Group

FINISHED, FAILED, ELSEWHERE, RUNNING, WAITING = "done", "failed", "running elsewhere", "running", "waiting"
ROWS = 20  # cells shown at a time


@dataclass(frozen=True)
class Standing:
    """How a cell gets on: what its tally says, small enough to be sent from another machine."""

    steps: int
    task: int
    num_tasks: int
    accuracy: float
    steps_per_second: float
    seconds_left: float | None

    @classmethod
    def of(cls, tally: Tally) -> "Standing":
        """Return how a tally stands."""
        return cls(**{item.name: getattr(tally, item.name) for item in fields(cls)})


class Board:
    """Counts cells and steps; shows nothing but what agents print, on standard error.

    Args:
        sizes: steps of each cell's learners, by label.
        done: labels of the cells that were finished before.
    """

    def __init__(self, sizes: dict[str, int], done: Sequence[str]) -> None:
        self._sizes = sizes
        self.states = {label: FINISHED if label in done else WAITING for label in sizes}
        self.failures: dict[str, str] = {}
        self._standings: dict[str, Standing] = {}
        self._before: dict[str, int] = {}
        self._started = time.perf_counter()

    def update(self, label: str, standing: Standing) -> None:
        """Take note of how a cell gets on."""
        self._before.setdefault(label, standing.steps)
        self._standings[label] = standing
        if self.states[label] == WAITING:
            self.states[label] = RUNNING

    def wait(self, label: str) -> None:
        """Take note that a cell waits again, since its worker was lost."""
        self.states[label] = WAITING

    def end(self, label: str, state: str, why: str = "") -> None:
        """Take note that nothing more is done of a cell: it is done, has failed, or runs elsewhere."""
        self.states[label] = state
        if state == FAILED:
            self.failures[label] = why

    def output(self, label: str, line: str) -> None:
        """Pass on a line that a cell's process wrote."""
        print(f"{label}: {line}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Pass on something that people should know."""
        print(f"note: {text}", file=sys.stderr)

    def close(self) -> None:
        """There is nothing to end."""

    @property
    def steps_per_second(self) -> float:
        """Steps of single seeds' learners per second of wall time, start-up of processes and all."""
        steps = sum(one.steps - self._before[label] for label, one in self._standings.items())
        seconds = time.perf_counter() - self._started
        return steps / seconds if seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the rate so far; None before there is one."""
        left = sum(
            size - (self._standings[label].steps if label in self._standings else 0)
            for label, size in self._sizes.items()
            if self.states[label] in (WAITING, RUNNING)
        )
        return left / self.steps_per_second if self.steps_per_second else None

    @property
    def summary(self) -> str:
        """Counts, rate and time left in one line."""
        counts = Counter(self.states.values())
        kinds = (FINISHED, RUNNING, WAITING, FAILED, ELSEWHERE)
        parts = [f"{counts[kind]} {kind}" for kind in kinds if counts[kind] or kind in (FINISHED, FAILED)]
        rate = f"{self.steps_per_second:,.0f} steps/s"
        return " · ".join([*parts, rate, f"{clock(self.seconds_left)} left"])


class LineBoard(Board):
    """A plain line whenever a cell ends."""

    def end(self, label: str, state: str, why: str = "") -> None:
        """Print how it ended, and the counts."""
        super().end(label, state, why)
        print(f"{label}  {state}  ({self.summary})", flush=True)


class LiveBoard(Board):
    """A table of the cells that are running, over the counts."""

    def __init__(self, sizes: dict[str, int], done: Sequence[str]) -> None:
        from rich.live import Live

        super().__init__(sizes, done)
        self._console = make_console()
        self._live = Live(console=self._console, get_renderable=self._table, refresh_per_second=4)
        self._live.start()

    def _table(self) -> "Group":
        from rich.console import Group
        from rich.table import Table

        grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for title in ("cell", "task", "accuracy", "steps/s", "left"):
            grid.add_column(title, justify="left" if title == "cell" else "right", no_wrap=True)
        running = [label for label, state in list(self.states.items()) if state == RUNNING]
        for label in running[:ROWS]:
            grid.add_row(label, *_row(self._standings[label]))
        if len(running) > ROWS:
            grid.add_row(f"... and {len(running) - ROWS} more")
        return Group(grid, self.summary)

    def output(self, label: str, line: str) -> None:
        """Print the line above the table."""
        self._console.print(f"{label}: {line}", soft_wrap=True)

    def note(self, text: str) -> None:
        """Print the text above the table."""
        self._console.print(f"note: {text}", soft_wrap=True)

    def close(self) -> None:
        """Leave the counts as they are."""
        self._live.stop()


def _row(standing: Standing) -> list[str]:
    accuracy = "-" if standing.accuracy != standing.accuracy else f"{standing.accuracy:.2f}"
    where = f"{standing.task + 1}/{standing.num_tasks}"
    return [where, accuracy, f"{standing.steps_per_second:,.0f}", clock(standing.seconds_left)]


class CellDisplay(Silent):
    """Shows one cell's session on the sweep's board."""

    def __init__(self, board: Board, label: str) -> None:
        self._board, self._label = board, label

    def update(self, tally: Tally) -> None:
        """Pass it on."""
        self._board.update(self._label, Standing.of(tally))

    def output(self, name: str, line: str) -> None:
        """Pass it on."""
        self._board.output(self._label, line)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._board.note(f"{self._label}: {text}")


def default_board(sizes: dict[str, int], done: Sequence[str]) -> Board:
    """Return a live table for a terminal, else plain lines."""
    kind: Any = LiveBoard if make_console().is_terminal else LineBoard
    board: Board = kind(sizes, done)
    return board

"""What happens on a node of a cluster: a cell is run as on one machine, and its news are sent."""

import contextlib
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from clbench.errors import OutputError
from clbench.evaluation.jobs import introduce
from clbench.loading import load_agent
from clbench.sweeping.board import Board, Standing
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.local import Local

PERIOD = 0.25  # seconds between news of how a cell gets on


@dataclass(frozen=True)
class Desk:
    """Where the command was given: other machines take on its folder and find modules where it does.

    Attributes:
        folder: the working folder.
        path: where modules are looked for.
        command: as it was typed.
    """

    folder: str
    path: tuple[str, ...]
    command: tuple[str, ...]

    @classmethod
    def here(cls) -> "Desk":
        """Return this process's."""
        return cls(os.getcwd(), tuple(sys.path), tuple(sys.argv))

    def take(self) -> None:
        """Let this process be as that one; a folder that is not here is missed only by who looks for files in it."""
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        sys.path += [place for place in self.path if place not in sys.path]
        sys.argv[:] = self.command


def run_cell(launcher: Local, sweep: Sweep, cell: Cell, folder: SweepFolder, desk: Desk, news: Any) -> None:
    """Run a cell on this node.

    Args:
        launcher: runs it.
        sweep: that it is of.
        cell: without its classes.
        folder: the sweep's.
        desk: of the process that started the sweep.
        news: actor of the queue for what its board is to be told.
    """
    desk.take()
    # Ray cancels by SIGINT, which the processes of a cluster begun in a shell's background ignore.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and current_thread() is main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    plan = cell.plan
    introduce(plan.spec.stream.id, plan.modules, plan.stream_class)
    classes = {agent.name: load_agent(agent.reference) for agent in plan.spec.agents}
    whole = replace(cell, plan=replace(plan, classes=classes))
    with (
        contextlib.closing(_Reporter(news, lambda: place.put(whole))) as reporter,
        _workplace(folder, whole, reporter) as place,
    ):
        launcher(sweep, [whole], place, reporter)


@contextlib.contextmanager
def _workplace(folder: SweepFolder, cell: Cell, board: Board) -> Iterator[SweepFolder]:
    """Give the folder to run a cell in: the sweep's, or of one at a URL, a copy on this node."""
    if folder.store is None:
        if not folder.path.is_dir():
            board.note(f"{cell.label}: the node is {platform.node()}")  # its name is shown, and kept nowhere
            raise OutputError(f"a node has no '{folder.path}': share it, or let out be a URL")
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="clbench-") as scratch:
        copy = SweepFolder(Path(scratch), folder.store)
        copy.fetch([cell], states=True)
        try:
            yield copy
        finally:
            copy.put(cell)


class _Reporter(Board):
    """Sends on what a board is told; how a cell gets on, every now and then and at its end.

    It does not wait for answers, but at the end: while a task waits for Ray, its CPU is given to another.

    Args:
        news: see `run_cell`.
        put: keeps what the cell has, where others find it; called after a task, for a tenth of the time at most.
    """

    def __init__(self, news: Any, put: Callable[[], None]) -> None:
        super().__init__({}, [])
        self._news, self._sent = news, 0.0
        self._put, self._task, self._next = put, 0, 0.0
        self._held: tuple[str, Standing] | None = None
        self._last: list[Any] = []

    def update(self, label: str, standing: Standing) -> None:
        """Send it if it is time."""
        self._held = label, standing
        started = time.monotonic()
        if started - self._sent > PERIOD:
            self._flush()
        if standing.task > self._task and started > self._next:
            self._put()
            self._task, self._next = standing.task, time.monotonic() + 10 * (time.monotonic() - started)

    def end(self, label: str, state: str, why: str = "") -> None:
        """Send it, after the last standing."""
        self._flush()
        self._send("end", label, state, why)

    def output(self, label: str, line: str) -> None:
        """Send it."""
        self._send("output", label, line)

    def note(self, text: str) -> None:
        """Send it."""
        self._send("note", text)

    def close(self) -> None:
        """Return when all has arrived."""
        import ray

        ray.get(self._last)

    def _flush(self) -> None:
        if self._held is not None:
            self._send("update", *self._held)
            self._held, self._sent = None, time.monotonic()

    def _send(self, name: str, *arguments: Any) -> None:
        self._last = [self._news.put_nowait.remote((name, arguments))]  # they are taken in turn

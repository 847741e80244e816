"""What happens on a node of a cluster: a run is carried out as on one machine, and its progress is sent."""

import contextlib
import os
import pickle
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any

from clbench.engine.keyed_store import KeyedStore
from clbench.engine.local import LocalPool
from clbench.engine.progress import Progress, RunProgress
from clbench.engine.run import Run
from clbench.errors import OutputError

PERIOD = 0.25
"""Seconds between reports of a run's progress."""


@dataclass(frozen=True)
class DriverContext:
    """The process that started the runs: nodes use its working folder and find modules where it does.

    Attributes:
        folder: working folder.
        path: where modules are looked for.
        command: the command line.
    """

    folder: str
    path: tuple[str, ...]
    command: tuple[str, ...]

    @classmethod
    def current(cls) -> "DriverContext":
        """Return that of this process."""
        return cls(os.getcwd(), tuple(sys.path), tuple(sys.argv))

    def apply(self) -> None:
        """Make this process like that one; a missing working folder matters only to who looks for files in it."""
        with contextlib.suppress(OSError):
            os.chdir(self.folder)
        sys.path += [folder for folder in self.path if folder not in sys.path]
        sys.argv[:] = self.command


def run_on_node(
    pool: LocalPool,
    pickled: bytes,
    store: KeyedStore,
    context: DriverContext,
    queue: Any,  # noqa: ANN401 - a handle of Ray's
) -> None:
    """Carry out a run on this node.

    Args:
        pool: carries it out.
        pickled: the run; its classes may be found only in `context`.
        store: where its folder is.
        context: of the process that started the runs.
        queue: actor of the queue for its progress.
    """
    context.apply()
    # Ray cancels by SIGINT, which the processes of a cluster started in a shell's background ignore.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN and current_thread() is main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run: Run = pickle.loads(pickled)
    with (
        contextlib.closing(_Reporter(run, queue, lambda: here.put(run))) as reporter,
        _folder_here(store, run, reporter) as here,
    ):
        pool([run], here, reporter)


@contextlib.contextmanager
def _folder_here(store: KeyedStore, run: Run, progress: Progress) -> Iterator[KeyedStore]:
    """Yield the store that the run is carried out in: the shared folder, or of one at a URL, a copy on this node."""
    if store.remote is None:
        if not store.path.is_dir():
            progress.note(
                f"{run.label}: the node is {platform.node()}"
            )  # its name is shown, and not recorded
            raise OutputError(f"'{store.path}' does not exist on a node: share the folder, or make out a URL")
        yield store
        return
    with tempfile.TemporaryDirectory(prefix="clbench-") as scratch:
        copy = store.at(Path(scratch))
        copy.fetch([run], checkpoints=True)
        try:
            yield copy
        finally:
            copy.put(run)


class _Reporter(Progress):
    """Sends a run's progress, every now and then and at its end.

    It does not wait for answers until the end: while a task waits for Ray, its CPU is given to another.

    Args:
        run: the run.
        queue: see `run_on_node`.
        put: copies the run's folder to where others find it; called after a task, for at most a tenth of the time.
    """

    def __init__(self, run: Run, queue: Any, put: Callable[[], None]) -> None:  # noqa: ANN401 - Ray's
        super().__init__([RunProgress(run.label, 0)])
        self._queue, self._sent = queue, 0.0
        self._put, self._task, self._next_put = put, 0, 0.0
        self._pending: RunProgress | None = None
        self._last: list[Any] = []

    def update(self, run: RunProgress) -> None:
        """Send it if it is time, or if the run has ended."""
        super().update(run)
        self._pending = run
        started = time.monotonic()
        if started - self._sent > PERIOD or run.state not in ("waiting", "running"):
            self._flush()
        if run.task > self._task and started > self._next_put:
            self._put()
            self._task, self._next_put = run.task, time.monotonic() + 10 * (time.monotonic() - started)

    def fail(self, label: str, error: str, traceback: str = "") -> None:
        """Send it."""
        self._flush()
        self._send("fail", label, error, traceback)

    def output(self, label: str, line: str) -> None:
        """Send it."""
        self._send("output", label, line)

    def note(self, text: str) -> None:
        """Send it."""
        self._send("note", text)

    def close(self) -> None:
        """Return when everything has arrived."""
        import ray

        self._flush()
        ray.get(self._last)

    def _flush(self) -> None:
        if self._pending is not None:
            self._send("update", self._pending)
            self._pending, self._sent = None, time.monotonic()

    def _send(self, method: str, *arguments: Any) -> None:
        self._last = [self._queue.put_nowait.remote((method, arguments))]  # they are taken in turn

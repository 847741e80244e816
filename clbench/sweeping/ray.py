"""Cells on a Ray cluster: each is a task, which runs its cell on some node as on one machine."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clbench import machine
from clbench.errors import OptionError
from clbench.evaluation.interrupting import Interrupted, Interruption, interruptible
from clbench.evaluation.jobs import introduce
from clbench.loading import load_agent
from clbench.sweeping.board import RUNNING, WAITING, Board, Standing
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided, fail, line, on_accelerator
from clbench.sweeping.local import Local

LOSSES = 5  # workers that a cell may lose
PATIENCE = 180.0  # seconds; a file server keeps the locks of a machine that is gone, NFS by default for 90
PERIOD = 0.25  # seconds between news
STORE = 100 << 20  # bytes of a cluster's object store, in which a sweep keeps next to nothing


@dataclass(frozen=True)
class Ray:
    """Runs cells on the nodes of a Ray cluster, which share the sweep's folder.

    A cell takes a CPU for each of its jobs that run at a time, or one GPU. If its worker or the whole node is lost, it
    goes on from its newest states wherever there is room.

    Attributes:
        address: of the cluster; None to start one on this machine.
        workers: processes at a time of a cluster that is started; None for as many as there are cores.
        accept_changes: go on with cells although agent or stream have changed since they began.
    """

    address: str | None = None
    workers: int | None = None
    accept_changes: bool = False

    def __post_init__(self) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise OptionError(f'Ray cannot be used ({error}): pip install "clbench[ray]"') from error
        if self.address is not None and self.workers is not None:
            raise OptionError("workers: of a Ray cluster there are as many as its nodes have CPUs")

    def workers_for(self, cells: Sequence[Cell]) -> int:
        """Return how many processes run jobs at a time: as many as the cluster has CPUs, or accelerators."""
        with self._connected():
            return max(1, sum(_resources("GPU" if any(map(on_accelerator, cells)) else "CPU")))

    def __call__(self, sweep: Sweep, cells: Sequence[Cell], folder: SweepFolder, board: Board) -> None:
        """Run the cells."""
        with self._connected():
            crew = _Crew(replace(sweep, cells=()), folder, board, self.accept_changes)
            for cell in divided(cells, self.workers_for(cells)):
                crew.send(cell)
            with interruptible() as interruption:
                crew.follow(interruption)
        if interruption.signal is not None:
            raise Interrupted("the sweep was broken off", interruption.signal)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Be in the cluster; one that this process is in already is stayed in.

        Raises:
            OptionError: there is none at the address.
        """
        import ray

        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster of ours tells nobody
        own: dict[str, Any] = {
            "num_cpus": self.workers or machine.cores(),
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
        before = signal.getsignal(signal.SIGTERM)
        try:
            try:
                ray.init(
                    self.address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({} if self.address else own),
                )
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise OptionError(f"no Ray cluster can be reached at '{self.address}': {error}") from error
            # What Ray's debugger does while it is open: else messages on lost nodes come between ours.
            ray._private.worker._worker_logs_enabled = False
            yield
        finally:
            ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray has put one of its own in its place


def _resources(kind: str) -> list[int]:
    """Return how many "CPU" or "GPU" each living node has."""
    import ray

    return [int(node["Resources"].get(kind, 0)) for node in ray.nodes() if node["Alive"]]


@dataclass
class _Crew:
    """Sends cells to the cluster, passes on their news, and sends those again whose worker was lost."""

    sweep: Sweep
    folder: SweepFolder
    board: Board
    accept_changes: bool
    running: dict[Any, tuple[Cell, int]] = field(
        default_factory=dict
    )  # by task, with the workers it has lost

    def __post_init__(self) -> None:
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.news = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def send(self, cell: Cell, losses: int = 0) -> None:
        """Let the cluster run a cell as soon as a node has room for it."""
        import ray

        if cell.plan.spec.device.startswith("cuda"):
            workers, needs = 1, {"num_cpus": 1, "num_gpus": 1}
        else:
            workers = max(1, min(cell.plan.division.workers, max(_resources("CPU"), default=1)))
            needs = {"num_cpus": workers}
        launcher = Local(workers, self.accept_changes, PATIENCE if losses else 0.0)
        folder = SweepFolder(self.folder.path.resolve(), self.folder.store)
        # Classes go by their names: a class of an agent's file is known to this process only.
        bare = replace(cell, plan=replace(cell.plan, classes={}))
        run = ray.remote(run_cell).options(**needs, max_retries=0, name=cell.label)
        task = run.remote(launcher, self.sweep, bare, folder, Desk.here(), self.news.actor)
        self.running[task] = (cell, losses)

    def follow(self, interruption: Interruption) -> None:
        """Follow the cells until all have ended, or, after a signal, have kept their states and ended."""
        import ray

        stopping = False
        while self.running:
            if interruption.signal is not None and not stopping:
                stopping = True
                for task in self.running:
                    ray.cancel(task)  # a cell that runs takes it for Ctrl-C
            ended, _ = ray.wait(list(self.running), timeout=PERIOD)
            for name, arguments in self.news.get_nowait_batch(self.news.size()):
                getattr(self.board, name)(*arguments)
            for task in ended:
                self._end(task, stopping)

    def _end(self, task: Any, stopping: bool) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        cell, losses = self.running.pop(task)
        self.folder.fetch([cell])
        try:
            ray.get(task)
        except RayTaskError as error:  # before the cell began, or the disk is full
            fail(cell, [(line(error.cause or error), str(error))], self.folder, self.board)
        except RayError as error:
            if stopping or self.board.states[cell.label] not in (WAITING, RUNNING):
                return
            if losses == LOSSES:
                why = f"lost {LOSSES + 1} workers, the last one so: {line(error)}"
                fail(cell, [(why, str(error))], self.folder, self.board)
                return
            self.board.wait(cell.label)
            self.board.note(f"{cell.label}: its worker was lost; it goes on elsewhere from its newest state")
            self.send(cell, losses + 1)


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
        """Let this process be as that one."""
        os.chdir(self.folder)
        sys.path += [place for place in self.path if place not in sys.path]
        sys.argv[:] = self.command


def run_cell(launcher: Local, sweep: Sweep, cell: Cell, folder: SweepFolder, desk: Desk, news: Any) -> None:
    """Run a cell on this node: the body of a task.

    Args:
        launcher: runs it.
        sweep: that it is of.
        cell: without its classes.
        folder: the sweep's.
        desk: of the process that started the sweep.
        news: actor of the queue for what its board is to be told.
    """
    desk.take()
    plan = cell.plan
    introduce(plan.spec.stream.id, plan.modules, plan.stream_class)
    classes = {agent.name: load_agent(agent.name) for agent in plan.spec.agents}
    whole = replace(cell, plan=replace(plan, classes=classes))
    with (
        _workplace(folder, whole) as place,
        contextlib.closing(_Reporter(news, lambda: place.put(whole))) as reporter,
    ):
        launcher(sweep, [whole], place, reporter)


@contextlib.contextmanager
def _workplace(folder: SweepFolder, cell: Cell) -> Iterator[SweepFolder]:
    """Give the folder to run a cell in: the sweep's, or of one at a URL, a copy on this node."""
    if folder.store is None:
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

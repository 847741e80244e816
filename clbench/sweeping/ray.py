"""Cells on a Ray cluster: each is a task on some node, and sent again if that is lost."""

import contextlib
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clbench import machine
from clbench.errors import OptionError
from clbench.evaluation.interrupting import Interrupted, Interruption, interruptible
from clbench.evaluation.progress import count
from clbench.sweeping.board import RUNNING, WAITING, Board
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided, fail, line, on_accelerator
from clbench.sweeping.local import Local
from clbench.sweeping.node import PERIOD, Desk, run_cell

LOSSES = 5  # workers that a cell may lose
PATIENCE = 180.0  # seconds; a file server keeps the locks of a machine that is gone, NFS by default for 90
STORE = 100 << 20  # bytes of a cluster's object store, in which a sweep keeps next to nothing


@dataclass(frozen=True)
class Ray:
    """Runs cells on the nodes of a Ray cluster, which share the sweep's folder or its URL.

    A cell takes a CPU for each of its jobs that run at a time, or one GPU. If its worker or the whole node is lost, it
    goes on from its newest states wherever there is room.

    Attributes:
        address: of the cluster; None to start one on this machine.
        workers: processes at a time of a cluster that is started; None for as many as there are cores.
        accept_changes: go on with cells although agent or stream have changed since they began.
        log: names of trackers that follow the cells.
    """

    address: str | None = None
    workers: int | None = None
    accept_changes: bool = False
    log: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise OptionError(f'Ray cannot be used ({error}): pip install "clbench[ray]"') from error
        if self.address is not None and self.workers is not None:
            raise OptionError("workers: of a Ray cluster there are as many as its nodes have CPUs")

    def workers_for(self, cells: Sequence[Cell]) -> int:
        """Return how many processes run jobs at a time: as many as the cluster has CPUs, or GPUs."""
        import ray

        kind = "GPU" if any(map(on_accelerator, cells)) else "CPU"
        if self.address is None and kind == "CPU" and not ray.is_initialized():
            return self._cores
        with self._connected():
            return max(1, sum(_resources(kind)))

    @property
    def _cores(self) -> int:
        """Of a cluster of our own."""
        return self.workers or machine.cores()

    def __call__(self, sweep: Sweep, cells: Sequence[Cell], folder: SweepFolder, board: Board) -> None:
        """Run the cells."""
        if not cells:
            return
        with self._connected(), interruptible() as interruption:
            crew = _Crew(replace(sweep, cells=()), folder, board, self)
            for cell in divided(cells, self.workers_for(cells)):
                crew.send(cell)
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
            "num_cpus": self._cores,
            "object_store_memory": STORE,
            "include_dashboard": False,
        }
        before = signal.getsignal(signal.SIGTERM)
        try:
            try:
                _knock(self.address or "")
                ray.init(
                    self.address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({} if self.address else own),
                )
            except (OSError, RuntimeError, ValueError) as error:
                raise OptionError(f"no Ray cluster can be reached at '{self.address}': {error}") from error
            # What Ray's debugger does while it is open: else messages on lost nodes come between ours.
            ray._private.worker._worker_logs_enabled = False
            yield
        finally:
            ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray has put one of its own in its place


def _knock(address: str) -> None:
    """Raise OSError if nobody is at an address of the form host:port, for which Ray would look for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


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
    launcher: Ray
    running: dict[Any, tuple[Cell, int]] = field(default_factory=dict)  # by task; how many workers it lost

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
        own = self.launcher
        launcher = Local(workers, own.accept_changes, own.log, PATIENCE if losses else 0.0)
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
                why = f"lost {count(losses + 1, 'worker')}, the last one so: {line(error)}"
                fail(cell, [(why, str(error))], self.folder, self.board)
                return
            self.board.wait(cell.label)
            self.board.note(f"{cell.label}: its worker was lost; it goes on elsewhere from its newest state")
            self.send(cell, losses + 1)

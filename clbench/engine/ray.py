"""Runs on a Ray cluster: each is a task on some node, and sent again if that is lost."""

import contextlib
import logging
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from clbench import machine
from clbench.checks import count
from clbench.engine.interrupting import Interrupted, Interruption, interruptible
from clbench.engine.keyed_store import KeyedStore
from clbench.engine.local import LocalPool, as_requested, spread
from clbench.engine.node import PERIOD, DriverContext, run_on_node
from clbench.engine.progress import Progress
from clbench.engine.run import Run
from clbench.engine.session import Options, one_line
from clbench.errors import OptionError, WriteError

if TYPE_CHECKING:
    import ray

LOSSES = 5  # workers that a run may lose
PATIENCE = 180.0  # seconds; a file server keeps the locks of a machine that is gone, NFS by default for 90
OBJECT_STORE = 100 << 20  # bytes; next to nothing is kept in it


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """Runs on the nodes of a Ray cluster, which share the runs' folder or its URL.

    A run takes a CPU for each of its jobs that run at a time, or one GPU. If its worker or the whole node is lost, it
    resumes from its newest checkpoints wherever there is room.

    Attributes:
        address: of the cluster; None to start one on this machine.
        workers: processes at a time of a cluster that is started; None for one per core.
        options: how runs are carried out.
    """

    address: str | None = None
    workers: int | None = None
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        try:
            import ray  # noqa: F401
        except ImportError as error:
            raise OptionError(f'Ray cannot be used ({error}): pip install "clbench[ray]"') from error
        if self.address is not None and self.workers is not None:
            raise OptionError("workers: cannot be set for a Ray cluster, which uses all its CPUs")

    def workers_for(self, runs: Sequence[Run]) -> int:
        """Return how many processes run jobs at a time: one per CPU, or GPU, of the cluster."""
        import ray

        kind = "GPU" if any(run.on_accelerator for run in runs) else "CPU"
        if self.address is None and kind == "CPU" and not ray.is_initialized():
            return self._cores
        with self._connected():
            return max(1, sum(_resources(kind)))

    @property
    def _cores(self) -> int:
        """Of a cluster that is started here."""
        return self.workers or machine.cores()

    def __call__(self, runs: Sequence[Run], store: KeyedStore, progress: Progress) -> None:
        """Carry out the runs.

        Raises:
            Interrupted: by a signal, with all checkpoints saved.
        """
        if not runs:
            return
        with self._connected(), interruptible() as interruption:
            tasks = _Tasks(store, progress, self.options)
            for run in spread(runs, self.workers_for(runs)):
                tasks.send(run)
            tasks.follow(interruption)
        if interruption.signal is not None:
            raise Interrupted("interrupted", interruption.signal)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """Connect to the cluster, unless this process is connected already.

        Raises:
            OptionError: there is no cluster at the address.
        """
        import ray

        if ray.is_initialized():
            yield
            return
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that we start reports to nobody
        local: dict[str, Any] = {
            "num_cpus": self._cores,
            "object_store_memory": OBJECT_STORE,
            "include_dashboard": False,
        }
        before = signal.getsignal(signal.SIGTERM)
        try:
            try:
                _check_reachable(self.address or "")
                ray.init(
                    self.address or "local",
                    log_to_driver=False,
                    logging_level=logging.CRITICAL,
                    **({} if self.address else local),
                )
            except (OSError, RuntimeError, ValueError) as error:
                raise OptionError(f"no Ray cluster can be reached at '{self.address}': {error}") from error
            with contextlib.suppress(AttributeError):
                # As Ray's debugger does while it is open: messages about lost nodes would end up among our output.
                ray._private.worker._worker_logs_enabled = False
            yield
        finally:
            ray.shutdown()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGTERM, before)  # Ray has replaced it


def _check_reachable(address: str) -> None:
    """Raise OSError if nothing listens at an address host:port, where Ray would keep trying for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _resources(kind: str) -> list[int]:
    """Return how many of a kind, "CPU" or "GPU", each living node has."""
    import ray

    nodes: Callable[[], list[dict[str, Any]]] = ray.nodes
    return [int(node["Resources"].get(kind, 0)) for node in nodes() if node["Alive"]]


class _Tasks:
    """Sends runs to the cluster, passes on their progress, and sends those again whose worker was lost."""

    def __init__(self, store: KeyedStore, progress: Progress, options: Options) -> None:
        import ray
        from ray.util.queue import Queue
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._store, self._progress, self._options = store, progress, options
        self._running: dict[ray.ObjectRef[None], tuple[Run, int]] = {}  # by task; how many workers it lost
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def send(self, run: Run, losses: int = 0) -> None:
        """Let the cluster carry out a run as soon as a node has room for it."""
        import ray

        if run.config.device.startswith("cuda"):
            workers, needs = 1, {"num_cpus": 1, "num_gpus": 1}
        else:
            workers = max(1, min(run.parallelism.workers, max(_resources("CPU"), default=1)))
            needs = {"num_cpus": workers}
        options = replace(self._options, patience=PATIENCE) if losses else self._options
        pool = LocalPool(workers=workers, schedule=as_requested, options=options)
        store = self._store.at(self._store.path.resolve())
        remote = ray.remote(run_on_node).options(**needs, max_retries=0, name=run.label)
        task = remote.remote(pool, pickle.dumps(run), store, DriverContext.current(), self._queue.actor)
        self._running[task] = (run, losses)

    def follow(self, interruption: Interruption) -> None:
        """Follow the runs until all have ended, or, after a signal, have saved their checkpoints and ended."""
        import ray

        stopping = False
        while self._running:
            if interruption.signal is not None and not stopping:
                stopping = True
                for task in self._running:
                    ray.cancel(task)  # a run that is under way takes it for Ctrl-C
            ended, _ = ray.wait(list(self._running), timeout=PERIOD)
            for method, arguments in self._queue.get_nowait_batch(self._queue.size()):
                getattr(self._progress, method)(*arguments)
            for task in ended:
                self._end(task, stopping)

    def _end(self, task: "ray.ObjectRef[None]", stopping: bool) -> None:
        import ray
        from ray.exceptions import RayError, RayTaskError

        run, losses = self._running.pop(task)
        self._store.fetch([run])
        try:
            ray.get(task)
        except RayTaskError as error:  # before the run started, or the disk is full
            self._fail(run, one_line(error.cause or error), str(error))
        except RayError as error:
            if stopping or self._progress.runs[run.label].state not in ("waiting", "running"):
                return
            if losses == LOSSES:
                why = f"lost {count(losses + 1, 'worker')}, the last one to: {one_line(error)}"
                self._fail(run, why, str(error))
                return
            self._progress.set_state(run.label, "waiting")
            self._progress.note(
                f"{run.label}: its worker was lost; it resumes elsewhere from its newest checkpoint"
            )
            self.send(run, losses + 1)

    def _fail(self, run: Run, error: str, traceback: str) -> None:
        with contextlib.suppress(WriteError, OSError):
            self._store.create(run).write_log(f"{error}\n\n{traceback}")
        self._progress.fail(run.label, error, traceback)

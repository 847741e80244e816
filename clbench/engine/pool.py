"""Jobs in worker processes, a few at a time; their events as one stream."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import IO, Protocol, cast

from clbench.engine.events import LAST, Event, Failed, Note, Output, decode
from clbench.engine.job import Job
from clbench.jsondata import to_json

Batch = Mapping[int, Job]
"""Jobs that run in lockstep, by number."""

# Settings of a worker's libraries, unless the user's environment has others.
ENVIRONMENT = {
    # Threads that wait for each other soon fall asleep. By default they spin, which makes a step fifty
    # times slower on a machine that has other work to do; on an idle one this costs a tenth.
    "GOMP_SPINCOUNT": "10000",
    # glibc keeps memory instead of giving it back after every step: page faults cost a tenth of a step.
    "MALLOC_TOP_PAD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(512 << 20),
    "MALLOC_MMAP_THRESHOLD_": str(512 << 20),
    "KINETO_LOG_LEVEL": "99",  # PyTorch's profiler says when it starts and stops
}

# Not `-m`, which looks into the working folder first: it may hold an agent's file with a name such as random.py.
START = """
import json, sys
sys.path[:] = json.loads(sys.argv[2])
from clbench.engine.worker import main
main()
"""


class Worker(Protocol):
    """What the pool needs of a worker process; `subprocess.Popen` has it."""

    pid: int
    stdin: IO[str]
    stdout: IO[str]
    stderr: IO[str]

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal; raise `subprocess.TimeoutExpired` after `timeout` seconds."""


def spawn(threads: int) -> Worker:
    """Start a worker in a fresh interpreter, in a new session, with a number of threads for its libraries."""
    process = subprocess.Popen(
        [sys.executable, "-c", START, "clbench.engine.worker", json.dumps(_module_path())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**ENVIRONMENT, **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        start_new_session=True,  # Ctrl-C is for the parent, which ends its workers cleanly
    )
    return cast(Worker, process)  # all three are pipes


def _module_path() -> list[str]:
    """Return where this process looks for modules; like Python, without entries that are not texts."""
    return [entry for entry in sys.path if isinstance(entry, str)]


GRACE = 5.0
"""Seconds that a worker gets to exit after its last event."""


@dataclass(frozen=True)
class _Exited:
    """A worker process is gone; `unfinished` are jobs of a batch of several that it left without a word."""

    first: int
    unfinished: Batch


class _Wake:
    """The pool was asked to stop."""


class Pool:
    """Runs each batch of jobs in a process, at most `workers` at a time.

    Besides a job's own events there are `Output` for each line that its process wrote to standard output or standard
    error, and `Failed` when the process dies.

    Args:
        batches: each is taken when a worker is free for it.
        workers: processes at a time.
        start: starts a worker process, given its number of threads.
    """

    def __init__(
        self,
        batches: Iterable[Batch],
        workers: int,
        start: Callable[[int], Worker] = spawn,
    ) -> None:
        self._waiting, self._workers, self._start = iter(batches), workers, start
        self._retries: list[Batch] = []  # jobs of a batch whose process died
        self._inbox: queue.SimpleQueue[tuple[int, Event] | _Exited | _Wake] = queue.SimpleQueue()
        self._running: dict[int, Worker] = {}
        self._listeners: list[threading.Thread] = []
        self._stopping = False

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield (job's number, event) until no job is left."""
        while self._fill():
            item = self._inbox.get()
            if isinstance(item, _Wake):
                self._ask_to_stop()
            elif isinstance(item, _Exited):
                self._running.pop(item.first)
                self._retries += [
                    {number: replace(job.from_newest_checkpoint(), retried=True)}
                    for number, job in item.unfinished.items()
                ]
            else:
                yield item

    def stop(self) -> None:
        """Let every job save a checkpoint after the step in progress, and end; may be called by a signal handler."""
        self._stopping = True
        self._inbox.put(_Wake())

    def close(self) -> None:
        """End all processes at once."""
        for process in self._running.values():
            _end(process)
        for listener in self._listeners:
            listener.join()

    def _fill(self) -> bool:
        """Start jobs while there are free workers; tell whether any job is running."""
        while not self._stopping and len(self._running) < self._workers:
            batch = self._retries.pop(0) if self._retries else next(self._waiting, None)
            if batch is None:
                break
            self._launch(batch)
        return bool(self._running)

    def _launch(self, batch: Batch) -> None:
        first, jobs = next(iter(batch)), list(batch.values())
        process = self._running[first] = self._start(jobs[0].config.threads)
        _write(process, json.dumps({"jobs": to_json(jobs), "path": _module_path()}))
        listener = threading.Thread(target=self._listen, args=(batch, process), daemon=True)
        self._listeners.append(listener)
        listener.start()

    def _ask_to_stop(self) -> None:
        for process in self._running.values():
            _write(process, "stop")

    def _listen(self, batch: Batch, process: Worker) -> None:
        """Put a worker's events into the inbox until it is gone."""
        numbers = list(batch)
        unfinished = dict(batch)
        output = threading.Thread(target=self._forward, args=(numbers[0], process.stderr), daemon=True)
        output.start()
        for line in process.stdout:
            if not line.endswith("\n"):  # killed in the middle of a line
                break
            index, data = json.loads(line)
            event = decode(data)
            self._inbox.put((numbers[index], event))
            if isinstance(event, LAST):
                del unfinished[numbers[index]]
            # Not until the end of the stream: something that the agent started may hold it open.
            if not unfinished:
                break
        try:
            code = process.wait(timeout=None if unfinished else GRACE)
        except subprocess.TimeoutExpired:
            code = 0
        _end(process)
        output.join(GRACE)
        for stream in (process.stdin, process.stdout, *(() if output.is_alive() else (process.stderr,))):
            with contextlib.suppress(OSError):
                stream.close()
        for number, job in unfinished.items():
            cause = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            error = (
                f"{job}: the worker process {cause}{' (out of memory?)' if code == -signal.SIGKILL else ''}"
            )
            alone = len(batch) == 1
            self._inbox.put((number, Failed(error) if alone else Note(f"{error}; retrying it alone")))
        self._inbox.put(_Exited(numbers[0], unfinished if len(batch) > 1 else {}))

    def _forward(self, number: int, stream: IO[str]) -> None:
        for line in stream:
            self._inbox.put((number, Output(line.rstrip("\n"))))


class JobPool(Protocol):
    """Something that runs batches of jobs: see `Pool`."""

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield (job's number, event) until no job is left."""
        ...

    def stop(self) -> None:
        """Let every job end after the step in progress."""
        ...

    def close(self) -> None:
        """Release everything at once."""
        ...


PoolFactory = Callable[[Iterable[Batch], int], JobPool]
_factory: ContextVar[PoolFactory] = ContextVar("pool", default=Pool)


def make_pool(batches: Iterable[Batch], workers: int) -> JobPool:
    """Return a pool of the kind that `use_pool` has set, `Pool` by default."""
    return _factory.get()(batches, workers)


@contextlib.contextmanager
def use_pool(factory: PoolFactory) -> Iterator[None]:
    """Run jobs in other pools within the block: `Pool` with another `start`, or another class.

    >>> from functools import partial
    >>> with use_pool(partial(Pool, start=spawn)):
    ...     pool = make_pool([], workers=1)
    """
    token = _factory.set(factory)
    try:
        yield
    finally:
        _factory.reset(token)


def _write(process: Worker, line: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # it has died; its listener reports it
        process.stdin.write(line + "\n")
        process.stdin.flush()


def _end(process: Worker) -> None:
    """End a worker and whatever it started."""
    with contextlib.suppress(OSError):  # it has ended
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGTERM)
    process.wait()

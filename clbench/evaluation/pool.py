"""Jobs in worker processes, a few at a time; their messages as one stream."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import IO, Protocol

from clbench.evaluation.jobs import Job, Message, describe_job, gone_on_with, run_jobs
from clbench.specs import plain

# What a worker's libraries are told, unless the user's environment says otherwise.
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


class Worker(Protocol):
    """What the pool needs of a worker process; `subprocess.Popen` has it."""

    pid: int
    stdin: IO[str] | None
    stdout: IO[str] | None
    stderr: IO[str] | None

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, negative for a signal; raise `subprocess.TimeoutExpired` after `timeout` seconds."""
        ...


def spawn(threads: int) -> Worker:
    """Start a worker in a fresh interpreter, in a session of its own.

    Args:
        threads: that its libraries may use.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "clbench.evaluation.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**ENVIRONMENT, **os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)},
        start_new_session=True,  # Ctrl-C is for the parent, which ends its workers cleanly
    )


# From (job, message); no message: the process is gone; no job either: stop.
_Inbox = queue.SimpleQueue[tuple[int | None, Message | None]]

GRACE = 5.0  # seconds that a worker gets to leave after its last message


def run_inline(
    groups: Iterable[Mapping[int, Job]], classes: Mapping[str, type], stop: Callable[[], bool]
) -> Generator[tuple[int, Message], None, None]:
    """Run jobs in this process, one group after another: for classes that no other process could import."""
    for group in groups:
        if stop():
            return
        indices = list(group)
        for place, message in run_jobs(list(group.values()), classes, stop):
            yield indices[place], message


class Pool:
    """Each group of jobs in a process of its own, at most `workers` at a time.

    Beside a job's own messages there are "output" (a line that the process wrote to standard output
    or standard error) and, when a process ends without a word, "failed".

    Args:
        groups: jobs that run in lockstep, by their indices; each group is taken when there is a worker for it.
        workers: processes at a time.
        start: starts a worker process, given its number of threads.
    """

    def __init__(
        self,
        groups: Iterable[Mapping[int, Job]],
        workers: int,
        start: Callable[[int], Worker] = spawn,
    ) -> None:
        self._waiting, self._workers, self._start = iter(groups), workers, start
        self._alone: list[Mapping[int, Job]] = []  # jobs of a process that ended without a word
        self._inbox: _Inbox = queue.SimpleQueue()
        self._running: dict[int, Worker] = {}
        self._listeners: list[threading.Thread] = []
        self._stopping = False

    def messages(self) -> Iterator[tuple[int, Message]]:
        """Yield (job index, message) until no job is left."""
        while self._fill():
            index, message = self._inbox.get()
            if index is None:
                self._pass_on_the_stop()
            elif message is None:
                self._running.pop(index)
            elif message["kind"] == "left":
                self._alone.append({index: gone_on_with(message["job"])})
                yield index, {"kind": "note", "text": message["text"]}
            else:
                yield index, message

    def stop(self) -> None:
        """Let every job keep its state after the step in progress, and end; may be called by a signal handler."""
        self._stopping = True
        self._inbox.put((None, None))  # wakes `messages`

    def close(self) -> None:
        """End all processes at once."""
        for process in self._running.values():
            _end(process)
        for listener in self._listeners:
            listener.join()

    def _fill(self) -> bool:
        """Start jobs while there are free workers; tell whether any job is running."""
        while not self._stopping and len(self._running) < self._workers:
            group = self._alone.pop(0) if self._alone else next(self._waiting, None)
            if group is None:
                break
            self._launch(group)
        return bool(self._running)

    def _launch(self, jobs: Mapping[int, Job]) -> None:
        process = self._running[next(iter(jobs))] = self._start(next(iter(jobs.values())).threads)
        _hand_over(list(jobs.values()), process)
        arguments = (jobs, process, self._inbox)
        self._listeners.append(threading.Thread(target=_listen, args=arguments, daemon=True))
        self._listeners[-1].start()

    def _pass_on_the_stop(self) -> None:
        for process in self._running.values():
            assert process.stdin is not None
            with contextlib.suppress(OSError, ValueError):  # it is ending, or has ended
                process.stdin.write("stop\n")
                process.stdin.flush()


class JobPool(Protocol):
    """What evaluations, sweeps and verifications need of a pool: see `Pool`."""

    def messages(self) -> Iterator[tuple[int, Message]]:
        """Yield (job index, message) until no job is left."""
        ...

    def stop(self) -> None:
        """Let every job end after the step in progress."""
        ...

    def close(self) -> None:
        """Release everything at once."""
        ...


PoolFactory = Callable[[Iterable[Mapping[int, Job]], int], JobPool]
_factory: ContextVar[PoolFactory] = ContextVar("pool", default=Pool)


def make_pool(groups: Iterable[Mapping[int, Job]], workers: int) -> JobPool:
    """Return a pool of the kind that `use_pool` says, by default `Pool`."""
    return _factory.get()(groups, workers)


@contextlib.contextmanager
def use_pool(factory: PoolFactory) -> Iterator[None]:
    """Run jobs in other pools within the block: `Pool` with another `start`, or a class with its methods.

    >>> from functools import partial
    >>> with use_pool(partial(Pool, start=spawn)):
    ...     pool = make_pool([], workers=1)
    """
    token = _factory.set(factory)
    try:
        yield
    finally:
        _factory.reset(token)


def _hand_over(jobs: Sequence[Job], process: Worker) -> None:
    assert process.stdin is not None
    with contextlib.suppress(OSError):  # it died at once; _listen says so
        process.stdin.write(json.dumps({"jobs": plain(jobs), "path": sys.path}) + "\n")
        process.stdin.flush()


def _listen(jobs: Mapping[int, Job], process: Worker, inbox: "_Inbox") -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    first, left = next(iter(jobs)), list(jobs)
    chatter = threading.Thread(target=_forward, args=(first, process.stderr, inbox), daemon=True)
    chatter.start()
    for line in process.stdout:
        if not line.endswith("\n"):  # killed in the middle of a word
            break
        place, message = json.loads(line)
        index = list(jobs)[place]
        inbox.put((index, message))
        if message["kind"] in ("done", "stopped", "failed"):
            left.remove(index)
        # Not until the end of the stream: something that the agent started may hold it open.
        if not left:
            break
    try:
        code = process.wait(timeout=None if left else GRACE)
    except subprocess.TimeoutExpired:
        code = 0
    _end(process)
    chatter.join(GRACE)
    if not chatter.is_alive():
        process.stderr.close()
    process.stdout.close()
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()
    for index in left:
        cause = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == -9:
            cause += " (out of memory?)"
        error = f"{describe_job(jobs[index])}: the worker process {cause}"
        if len(jobs) == 1:
            inbox.put((index, {"kind": "failed", "error": error, "traceback": ""}))
        else:  # another job's fault, perhaps
            inbox.put((index, {"kind": "left", "job": jobs[index], "text": f"{error}; it goes on alone"}))
    inbox.put((first, None))


def _end(process: Worker) -> None:
    """End a worker and whatever it started."""
    with contextlib.suppress(OSError):  # it has ended
        if hasattr(os, "killpg"):
            os.killpg(process.pid, signal.SIGKILL)
        else:
            os.kill(process.pid, signal.SIGTERM)
    process.wait()


def _forward(index: int, stream: IO[str], inbox: "_Inbox") -> None:
    for line in stream:
        inbox.put((index, {"kind": "output", "line": line.rstrip("\n")}))

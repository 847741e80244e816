"""Worker processes that are forked from one that has imported PyTorch, which else takes each of them seconds.

What runs in them, their pipes, session, exit codes and signals are those of `python -m clbench.engine.worker`,
which the tests of the command lines start.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import threading
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd

from tests.processes import MARK

LOADED = ["clbench.engine.execution", "clbench.envs.single", "agents.perlayer", "pytest"]
_lock = threading.Lock()
_workers = []  # those that may be running


def context():
    """What forks: a process of its own, with a single thread, that outlives the test which needs it first."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(LOADED)
    mark = os.environ.pop(MARK, None)
    try:
        forkserver.ensure_running()
    finally:
        if mark is not None:
            os.environ[MARK] = mark
    return made


class Worker:
    """What the pool needs of `subprocess.Popen`."""

    def __init__(self, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
        with _lock:  # no other worker may inherit an end of these
            theirs_in, ours_in = os.pipe()
            ours_out, theirs_out = os.pipe()
            ours_err, theirs_err = os.pipe()
            theirs = (theirs_in, theirs_out, theirs_err)
            self._process = context().Process(target=_work, args=(_Ends(theirs), environment, os.getcwd()))
            self._process.start()
            for end in theirs:
                os.close(end)
        self.pid = self._process.pid
        self.stdin = os.fdopen(ours_in, "w", encoding="utf-8")
        self.stdout = os.fdopen(ours_out, encoding="utf-8", errors="replace")
        self.stderr = os.fdopen(ours_err, encoding="utf-8", errors="replace")
        _workers.append(self)

    def wait(self, timeout=None):
        """Its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return self._process.exitcode


def end_all():
    """Kill the workers that are running, with whatever they have started, and close the pipes to all."""
    while _workers:
        worker = _workers.pop()
        if worker._process.is_alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(worker.pid, signal.SIGKILL)
        worker._process.join()
        for pipe in (worker.stdin, worker.stdout, worker.stderr):
            with contextlib.suppress(OSError):  # nobody reads what was still to be written
                pipe.close()


class _Ends:
    """File descriptors on their way into another process."""

    def __init__(self, numbers):
        self.numbers = numbers

    def __reduce__(self):
        return _opened, tuple(map(DupFd, self.numbers))


def _opened(*ends):
    return [end.detach() for end in ends]


def _work(ends, environment, folder):
    os.setsid()
    for number, end in enumerate(ends):
        os.dup2(end, number)
        os.close(end)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    from clbench.engine.worker import main

    main()

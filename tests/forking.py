"""Worker processes that are forked from one that has imported PyTorch, which else takes each of them seconds.

What runs in them, their pipes, session, exit codes and signals are those of `python -m clbench.evaluation.worker`,
which the tests of the command lines start.
"""

import multiprocessing
import os
import signal
import subprocess
import threading
from multiprocessing.reduction import DupFd

LOADED = ["clbench.evaluation.jobs", "clbench.envs.single", "agents.perlayer", "pytest"]
_lock = threading.Lock()


def context():
    """What forks: a process of its own, with a single thread."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(LOADED)
    return found


class Worker:
    """What the pool needs of `subprocess.Popen`."""

    def __init__(self, threads):
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
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

    def wait(self, timeout=None):
        """Its exit code."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("worker", timeout)
        return self._process.exitcode


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
    from clbench.evaluation.worker import main

    main()

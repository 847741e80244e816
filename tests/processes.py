"""Processes that tests start: how they are started, found, waited for and ended."""

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid

import psutil

MARK = "CLBENCH_TEST_PROCESS"


def new_mark():
    """A value of the environment variable `MARK` that no other test has."""
    return uuid.uuid4().hex


def reset_sigint():
    """In a child process: let Ctrl-C count, though a shell's background jobs ignore it, and these tests may be one."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def start_python(*arguments, **options):
    """Start `python ARGUMENTS` as a user would, with options of `subprocess.Popen`."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, *arguments], preexec_fn=reset_sigint, **{**pipes, **options})


def run_python(*arguments, **options):
    """Run `python ARGUMENTS` to its end, with options of `subprocess.run`."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=600, **options)


def descendants(pid):
    """Children of a process, and theirs."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def worker_processes(parent):
    """Ids of the worker processes that the process `parent` has started."""
    found = set()
    for process in descendants(parent):
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if "clbench.engine.worker" in process.cmdline():
                found.add(process.pid)
    return found


def wait_until(condition, seconds=120, process=None):
    """Wait for a condition and return what it gives; fail if it takes too long, or if `process` ends before."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        if process is not None and process.poll() is not None:
            raise AssertionError(f"it has ended with {process.returncode}: {process.communicate()}")
        time.sleep(0.02)
    return found


def ends(pid, within=30.0):
    """Whether a process is gone soon; one that only waits to be reaped is."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def end_marked(mark):
    """Kill every process that has inherited the mark, whoever its parent is by now."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == mark:
                process.kill()


def end(process):
    """End a process started by `subprocess`, if need be, and close its pipes."""
    with process:  # waits
        if process.poll() is None:
            process.kill()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()

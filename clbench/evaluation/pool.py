"""Jobs in worker processes, a few at a time; their messages as one stream."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import IO

from clbench.evaluation.jobs import Job, Message, describe_job, run_job
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
}


GRACE = 5.0  # seconds that a worker gets to leave after its last message


def run_inline(
    jobs: Sequence[Job], classes: Mapping[str, type]
) -> Generator[tuple[int, Message], None, None]:
    """Run jobs in this process, one after another: for classes that no other process could import."""
    for index, job in enumerate(jobs):
        for message in run_job(job, classes[job.agent.name]):
            yield index, message


def run_in_processes(jobs: Sequence[Job], workers: int) -> Generator[tuple[int, Message], None, None]:
    """Run each job in a process of its own, at most `workers` at a time; yield (job index, message).

    Beside a job's own messages there are "output" (a line that the process wrote to standard output
    or standard error) and, when a process ends without a word, "failed". Closing the generator ends all processes.
    """
    inbox: queue.Queue[tuple[int, Message | None]] = queue.Queue()
    waiting: list[int] = list(range(len(jobs)))
    running: dict[int, subprocess.Popen[str]] = {}
    listeners: list[threading.Thread] = []
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                index = waiting.pop(0)
                running[index] = _start(jobs[index])
                listeners.append(
                    threading.Thread(
                        target=_listen, args=(index, jobs[index], running[index], inbox), daemon=True
                    )
                )
                listeners[-1].start()
            index, message = inbox.get()
            if message is None:
                running.pop(index)
            else:
                yield index, message
    finally:
        for process in running.values():
            _end(process)
        for listener in listeners:
            listener.join()


def _start(job: Job) -> subprocess.Popen[str]:
    threads = str(job.threads)
    process = subprocess.Popen(
        [sys.executable, "-m", "clbench.evaluation.worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**ENVIRONMENT, **os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads},
        # Ctrl-C is for the parent, which ends its workers in order.
        start_new_session=True,
    )
    assert process.stdin is not None
    try:
        with process.stdin as stdin:
            json.dump({"job": plain(job), "path": sys.path}, stdin)
    except BrokenPipeError:  # it died at once; _listen says so
        pass
    return process


def _listen(
    index: int, job: Job, process: subprocess.Popen[str], inbox: "queue.Queue[tuple[int, Message | None]]"
) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    chatter = threading.Thread(target=_forward, args=(index, process.stderr, inbox), daemon=True)
    chatter.start()
    finished = False
    for line in process.stdout:
        if not line.endswith("\n"):  # killed in the middle of a word
            break
        message = json.loads(line)
        inbox.put((index, message))
        # Not until the end of the stream: something that the agent started may hold it open.
        if finished := message["kind"] in ("done", "failed"):
            break
    try:
        code = process.wait(timeout=GRACE if finished else None)
    except subprocess.TimeoutExpired:
        code = 0
    _end(process)
    chatter.join(GRACE)
    if not chatter.is_alive():
        process.stderr.close()
    process.stdout.close()
    if not finished:
        cause = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if code == -9:
            cause += " (out of memory?)"
        error = f"{describe_job(job)}: the worker process {cause}"
        inbox.put((index, {"kind": "failed", "error": error, "traceback": ""}))
    inbox.put((index, None))


def _end(process: subprocess.Popen[str]) -> None:
    """End a worker and whatever it started."""
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _forward(index: int, stream: IO[str], inbox: "queue.Queue[tuple[int, Message | None]]") -> None:
    for line in stream:
        inbox.put((index, {"kind": "output", "line": line.rstrip("\n")}))

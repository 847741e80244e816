"""A worker process: jobs to run in lockstep come as a line of JSON on standard input, messages go as lines of JSON to
standard output.

A second line asks it to stop after the step in progress. When standard input ends, its parent is gone, and it ends too.
"""

import json
import os
import signal
import sys
import threading
from typing import IO


def main() -> None:
    """Run the jobs; whatever the agent prints goes to standard error, and what it reads is empty."""
    orders = os.fdopen(os.dup(0), "r", encoding="utf-8")
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    # As the parent reads it, whatever the locale.
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        for number in (1, 2)
    )
    request = json.loads(orders.readline())
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a job, by a batch system
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(orders, stop), daemon=True).start()
    sys.path[:] = request["path"]
    import numpy as np
    import torch

    for kind in (np.float32, np.float64):
        np.finfo(kind)  # NumPy 2.2 and older look at denormals once, and warn if they are gone
    # Moments of silent units decay into denormal numbers, far below Adam's eps and slow to compute with.
    # Set before any other thread exists, since threads inherit it.
    torch.set_flush_denormal(True)
    from clbench.evaluation.jobs import Job, run_jobs

    jobs = [Job.from_json(job) for job in request["jobs"]]
    torch.set_num_threads(jobs[0].threads)
    for message in run_jobs(jobs, stop=stop.is_set):
        print(json.dumps(message), file=messages, flush=True)


def _listen(orders: IO[str], stop: threading.Event) -> None:
    if orders.readline():
        stop.set()
        orders.readline()
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)  # with whatever the agent has started
    os._exit(1)


if __name__ == "__main__":
    main()

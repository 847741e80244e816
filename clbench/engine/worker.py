"""A worker process: it reads a batch of jobs as a line of JSON from standard input and writes events as lines of JSON
to standard output.

A second line asks it to stop after the step in progress. When standard input closes, its parent is gone, and it exits.
"""

import json
import os
import signal
import sys
import threading
from typing import IO


def main() -> None:
    """Run the batch; what the agent prints goes to standard error, and its standard input is empty."""
    requests = os.fdopen(os.dup(0), "r", encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    devnull = os.open(os.devnull, os.O_RDONLY)
    os.dup2(devnull, 0)
    os.close(devnull)
    os.dup2(2, 1)
    # In the encoding that the parent reads, whatever the locale.
    sys.stdout, sys.stderr = (
        os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        for number in (1, 2)
    )
    request = json.loads(requests.readline())
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):  # sent to all processes of a job, by a batch system
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=_listen, args=(requests, stop), daemon=True).start()
    sys.path[:] = request["path"]
    import numpy as np
    import torch

    for kind in (np.float32, np.float64):
        np.finfo(kind)  # NumPy 2.2 and older look at denormals once, and warn if they are gone
    # Moments of silent units decay into denormal numbers, far below Adam's eps and slow to compute with.
    # Set before any other thread exists, since threads inherit it.
    torch.set_flush_denormal(True)
    from clbench.engine.events import encode
    from clbench.engine.execution import run_jobs
    from clbench.engine.job import Job
    from clbench.jsondata import from_json

    jobs = from_json(list[Job], request["jobs"], "jobs")
    torch.set_num_threads(jobs[0].config.threads)
    for index, event in run_jobs(jobs, stop=stop.is_set):
        print(json.dumps([index, encode(event)]), file=events, flush=True)


def _listen(requests: IO[str], stop: threading.Event) -> None:
    if requests.readline():
        stop.set()
        requests.readline()
    if hasattr(os, "killpg"):
        os.killpg(0, signal.SIGKILL)  # with whatever the agent has started
    os._exit(1)


if __name__ == "__main__":
    main()

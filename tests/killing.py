"""Run a job to its end, killing it (-9) at random moments: `python -m tests.killing JOB.json SEED`.

A moment is a number of function calls, Python's and C's, counted from a child's first event: the same seed kills at
the same places in the code, however fast the machine is. Prints, as JSON, how often the job was killed and whether its
records are those of an uninterrupted job. Processes are forked from this one: none has to import anything again.
"""

import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from clbench.engine.events import Finished, Started
from clbench.engine.execution import run_jobs
from clbench.engine.job import Job
from clbench.jsondata import from_json
from clbench.records import Progress
from clbench.results import Checkpoints


def counting(calls, limit=None):
    """A profile function that counts calls in `calls[0]`, and kills the process at the limit."""

    def count(frame, event, argument):
        calls[0] += 1
        if calls[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def child(job, limit):
    """Run a job in another process, which is killed after `limit` calls; return its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        for _ in run_jobs([job]):
            if sys.getprofile() is None:  # it has restored its state, which takes longer from task to task
                sys.setprofile(counting([0], limit))
    finally:
        os._exit(0)


def timeless(record):
    """A record as JSON data, without the time that it took."""
    return {name: value for name, value in record.items() if name != "seconds"}


def main():
    torch.set_num_threads(1)
    job = from_json(Job, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    chance = random.Random(int(sys.argv[2]))
    checkpoints = Checkpoints(Path(job.checkpoints))
    for _ in range(2):  # whatever is loaded late is loaded in the first, once for all children
        calls = [0]
        sys.setprofile(counting(calls))
        events = [event for _, event in run_jobs([replace(job, checkpoints="")])]
        sys.setprofile(None)
    *records, last = [event for event in events if not isinstance(event, (Progress, Started))]
    assert last == Finished()
    expected = [timeless({"event": type(one).__name__, **vars(one)}) for one in records]
    kills, newest = 0, None
    while newest is None or newest[1]["steps"] < job.total_steps:
        limit = chance.randrange(1, calls[0] // 3)
        _, status = os.waitpid(child(replace(job, checkpoint=str(newest[0]) if newest else ""), limit), 0)
        kills += os.WIFSIGNALED(status)
        newest = checkpoints.newest()
    resumed = [timeless(record) for record in newest[1]["records"]]
    files = [path.name for path in checkpoints.folder.iterdir() if path.suffix == ".state"]
    print(
        json.dumps({"kills": kills, "same": resumed == expected, "count": len(expected), "files": len(files)})
    )


if __name__ == "__main__":
    main()

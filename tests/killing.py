"""Run a job to its end, killing it (-9) at random moments: `python -m tests.killing JOB.json SEED`.

A moment is a number of function calls, Python's and C's, counted from a child's first message: the same seed kills at
the same places in the code, however fast the machine is. Prints, as JSON, how often the job was killed and whether what
it yielded is what an uninterrupted job yields. Processes are forked from this one: none has to import anything again.
"""

import json
import os
import random
import signal
import sys
from dataclasses import replace
from pathlib import Path

import torch

from clbench.evaluation.jobs import Job, run_jobs
from clbench.results import States


def counting(calls, limit=None):
    """A profile function that counts calls in `calls[0]`, and kills the process at the limit."""

    def count(frame, event, argument):
        calls[0] += 1
        if calls[0] == limit:
            os.kill(os.getpid(), signal.SIGKILL)

    return count


def child(job, path, limit):
    """Run a job in a process of its own, which is killed after `limit` calls; its records go to `path`."""
    pid = os.fork()
    if pid:
        return pid
    try:
        with path.open("w", encoding="utf-8") as file:
            for _, message in run_jobs([job]):
                if sys.getprofile() is None:  # it has loaded its state, which takes longer from task to task
                    sys.setprofile(counting([0], limit))
                if message["kind"] not in ("glimpse", "started"):
                    print(json.dumps(message), file=file, flush=True)
    finally:
        os._exit(0)


def timeless(message):
    """A message without what time it took."""
    return {key: value for key, value in message.items() if key != "seconds"}


def main():
    torch.set_num_threads(1)
    job = Job.from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    chance = random.Random(int(sys.argv[2]))
    cut, states = Path(job.states) / "cut", States(Path(job.states))
    for _ in range(2):  # whatever is loaded late is loaded in the first, once for all children
        calls = [0]
        sys.setprofile(counting(calls))
        expected = [timeless(message) for _, message in run_jobs([replace(job, states="")])]
        sys.setprofile(None)
    expected = [message for message in expected if message["kind"] not in ("glimpse", "started")]
    kills, kept = 0, None
    while kept is None or kept[1]["steps"] < job.total_steps:
        limit = chance.randrange(1, calls[0] // 3)
        pid = child(replace(job, resume=str(kept[0]) if kept else ""), cut, limit)
        _, status = os.waitpid(pid, 0)
        kills += os.WIFSIGNALED(status)
        kept = states.newest()
    resumed = [timeless(message) for message in kept[1]["records"]]
    assert expected.pop() == {"kind": "done"}
    files = [path.name for path in Path(job.states).iterdir() if path.suffix == ".state"]
    print(
        json.dumps({"kills": kills, "same": resumed == expected, "count": len(expected), "files": len(files)})
    )


if __name__ == "__main__":
    main()

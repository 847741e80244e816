"""Run a job to its end, killing it (-9) at random moments: `python -m tests.killing JOB.json SEED`.

Prints, as JSON, how often it was killed and the messages of the resumed and of an uninterrupted job.
Processes are forked from this one, so that none has to import anything again.
"""

import json
import os
import random
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from clbench.evaluation.jobs import Job, run_jobs
from clbench.results import States


def child(job, path):
    """Run a job in a process of its own; its records go to `path`."""
    pid = os.fork()
    if pid:
        return pid
    try:
        with path.open("w", encoding="utf-8") as file:
            for _, message in run_jobs([job]):
                if message["kind"] not in ("glimpse", "started"):
                    print(json.dumps(message), file=file, flush=True)
    finally:
        os._exit(0)


def timeless(message):
    """A message without what time it took."""
    return {key: value for key, value in message.items() if key != "seconds"}


def main():
    torch.set_num_threads(1)
    job, chance = (
        Job.from_json(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))),
        random.Random(int(sys.argv[2])),
    )
    cut = Path(job.states) / "cut"
    for _ in range(2):  # whatever is loaded late is loaded in the first, once for all children
        started = time.perf_counter()
        expected = [timeless(message) for _, message in run_jobs([replace(job, states="")])]
        duration = time.perf_counter() - started
    expected = [message for message in expected if message["kind"] not in ("glimpse", "started")]
    kills, states = 0, States(Path(job.states))
    while True:
        found = states.newest()
        pid = child(replace(job, resume=str(found[0]) if found else ""), cut)
        time.sleep(chance.uniform(0, duration / 3))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        kept = states.newest()
        if kept is not None and kept[1]["steps"] == job.total_steps:
            break
        kills += 1
    resumed = [timeless(message) for message in kept[1]["records"]]
    assert expected.pop() == {"kind": "done"}
    files = [path.name for path in Path(job.states).iterdir() if path.suffix == ".state"]
    print(
        json.dumps({"kills": kills, "same": resumed == expected, "count": len(expected), "files": len(files)})
    )


if __name__ == "__main__":
    main()

"""A worker process: one job as JSON on standard input, messages as JSON lines on standard output."""

import json
import os
import sys


def main() -> None:
    """Run the job; whatever the agent prints goes to standard error."""
    request = json.load(sys.stdin)
    messages = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path[:] = request["path"]
    import numpy as np
    import torch

    for kind in (np.float32, np.float64):
        np.finfo(kind)  # NumPy 2.2 and older look at denormals once, and warn if they are gone
    # Moments of silent units decay into denormal numbers, far below Adam's eps and slow to compute with.
    # Set before any other thread exists, since threads inherit it.
    torch.set_flush_denormal(True)
    from clbench.evaluation.jobs import Job, run_job

    job = Job.from_json(request["job"])
    torch.set_num_threads(job.threads)
    for message in run_job(job):
        print(json.dumps(message), file=messages, flush=True)


if __name__ == "__main__":
    main()

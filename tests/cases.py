"""Small settings that many tests share."""

import os
import subprocess
import time
from pathlib import Path

import clbench

SHORT = {"num_tasks": 2, "epochs_per_task": 2, "num_samples": 300, "batch_size": 100}
IDS = ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]


def short_env(id: str = "RandomLabelMNIST-v0", **overrides: object):
    return clbench.make(id, **{**SHORT, **overrides})


def short_vec(num_envs: int, id: str = "RandomLabelMNIST-v0", **overrides: object):
    return clbench.make_vec(id, num_envs, **{**SHORT, **overrides})


def worker_processes(parent: int) -> set[int]:
    """Ids of the worker processes that the process `parent` has started."""
    listing = subprocess.run(
        ["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True
    ).stdout
    rows = [line.split(None, 2) for line in listing.splitlines()]
    return {
        int(pid) for pid, ppid, args in rows if int(ppid) == parent and "clbench.evaluation.worker" in args
    }


def ends(pid: int, within: float = 10.0) -> bool:
    """Whether a process is gone soon; one that only waits to be reaped is."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        listing = subprocess.run(
            ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        if listing.stdout.strip()[:1] in ("", "Z"):
            return True
        time.sleep(0.05)
    return False


def full_mnist() -> Path | None:
    """The folder with the real MNIST that the environment names, if any."""
    named = os.environ.get("CLBENCH_DATA_DIR")
    return Path(named) if named else None

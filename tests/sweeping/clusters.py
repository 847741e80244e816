"""Ray clusters on this machine, and how one of their nodes is killed."""

import os
import signal
import subprocess
import time
from pathlib import Path


def start():
    """A cluster with one node of one CPU, which takes others for dead after some seconds without an answer."""
    from ray.cluster_utils import Cluster

    health = {"period_ms": 1000, "timeout_ms": 5000, "failure_threshold": 3, "initial_delay_ms": 1000}
    config = {f"health_check_{name}": value for name, value in health.items()}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": config}
    return Cluster(initialize_head=True, head_node_args=head)


def wait_for(what, seconds=90):
    """The first answer that is something."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def descendants(pid):
    """Ids of a process's children, and theirs."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    rows = [tuple(map(int, row.split())) for row in listing.splitlines()]
    found = [pid]
    for one in found:
        found += [child for child, parent in rows if parent == one]
    return found[1:]


def finished_tasks(folder):
    """How many tasks a run folder has."""
    table = folder / "tasks.csv"
    return len(table.read_text().splitlines()) - 1 if table.exists() else 0


def holding(pids):
    """Of some processes the one that holds a run folder with three finished tasks, and the folder."""
    for pid in pids:
        try:
            held = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        except OSError:  # it has ended
            continue
        for path in held:
            if path.endswith("/state/lock") and finished_tasks(Path(path).parent.parent) >= 3:
                return pid, Path(path).parent.parent
    return None


def raylet(node):
    """The id of the process that runs a node's workers."""
    return node.all_processes["raylet"][0].process.pid


def kill(node, killed):
    """Kill a node with all its processes as soon as it has got somewhere; add the cell's folder and its tasks."""
    _, folder = wait_for(lambda: holding(descendants(raylet(node))))
    for pid in [raylet(node), *descendants(raylet(node))]:
        os.kill(pid, signal.SIGKILL)
    killed += [folder, finished_tasks(folder)]


def kill_worker(node):
    """Kill a node's worker as soon as it has got somewhere."""
    pid, _ = wait_for(lambda: holding(descendants(raylet(node))))
    os.kill(pid, signal.SIGKILL)

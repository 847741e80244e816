"""Ray clusters on this machine, and how one of their nodes or workers is killed."""

import contextlib
from pathlib import Path

import psutil

from tests.processes import descendants, wait_until
from tests.sweeps.cases import finished_tasks


def start():
    """Return a cluster with one node of one CPU, which gives up on nodes that do not answer for some seconds."""
    from ray.cluster_utils import Cluster

    health = {"period_ms": 1000, "timeout_ms": 5000, "failure_threshold": 3, "initial_delay_ms": 1000}
    config = {f"health_check_{name}": value for name, value in health.items()}
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": config}
    return Cluster(initialize_head=True, head_node_args=head)


def holder(node):
    """Return the process on a node that has locked a run folder with three finished tasks, and the folder; or None."""
    for process in descendants(raylet(node)):
        with contextlib.suppress(psutil.Error):  # it has ended
            for path in [Path(file.path) for file in process.open_files()]:
                if path.parts[-2:] == ("state", "lock") and finished_tasks(path.parent.parent) >= 3:
                    return process, path.parent.parent
    return None


def raylet(node):
    """Return the id of the process that runs a node's workers."""
    return node.all_processes["raylet"][0].process.pid


def kill(node, killed):
    """Kill a node with all its processes once a run on it has three tasks; add the run's folder and its tasks."""
    _, folder = wait_until(lambda: holder(node), seconds=300)
    for process in [psutil.Process(raylet(node)), *descendants(raylet(node))]:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    killed += [folder, finished_tasks(folder)]


def kill_worker(node):
    """Kill a node's worker once its run has three tasks."""
    process, _ = wait_until(lambda: holder(node), seconds=300)
    process.kill()

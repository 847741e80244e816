"""One sweep of 24 cells three ways: `python -m tests.sweeping.everywhere`, some minutes.

On this machine, over two Ray nodes of which one is killed, and in three shards at once: all must give the same frame.
Prints what happened, and fails if they do not.
"""

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import clbench
from tests.sweeping.clusters import kill, start
from tests.sweeping.conftest import TINY, frame

SWEEP = """
[[grid]]
agent = ["agents.vanilla", "agents.l2", "agents.crelu", "agents.reset"]
env = ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]
arguments.step_size = [1e-4, 1e-3, 1e-2]
"""
SETTINGS = {
    **TINY,
    "name": "everywhere",
    "num_tasks": 10,
    "epochs_per_task": 4,
    "num_samples": 500,
    "seeds": 2,
}


def command(file, out, *more):
    """A sweep by the command line, in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "clbench.sweep", str(file), "--out", str(out), *more],
        stdout=subprocess.DEVNULL,
    )


def result(folder):
    """The frame of a sweep's folder, its number of cells, and of those that were gone on with."""
    results = clbench.load_results(folder)
    resumed = sum('"resumed"' in path.read_text() for path in folder.rglob("run.json"))
    return frame(results), len(results.runs), resumed


def main():
    """Run all three and compare them."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        file = folder / "everywhere.toml"
        file.write_text("\n".join([*(f"{key} = {value!r}" for key, value in SETTINGS.items()), SWEEP]))
        frames = {}
        for way in ("local", "ray", "shards"):
            started, out = time.perf_counter(), folder / way
            if way == "local":
                running = [command(file, out)]
            elif way == "shards":
                running = [command(file, out, "--shard", f"{i}/3", "--workers", "1") for i in (1, 2, 3)]
            else:
                cluster, killed = start(), []
                node = cluster.add_node(num_cpus=1)
                running = [command(file, out, "--launcher", "ray", "--ray-address", cluster.address)]
                killer = threading.Thread(target=kill, args=(node, killed))
                killer.start()
            codes = [process.wait() for process in running]
            if way == "ray":
                killer.join()
                cluster.shutdown()
                print(f"killed a node after {killed[1]} finished tasks of {killed[0].name}")
            frames[way], cells, resumed = result(out / "everywhere")
            print(
                f"{way}: exit codes {codes}, {cells} cells, {resumed} resumed, {len(frames[way])} tasks, "
                f"{time.perf_counter() - started:.0f} s",
                flush=True,
            )
        same = all(frames["local"].equals(frames[way]) for way in frames)
        print("all three give the same frame" if same else "the frames differ")
        return not same


if __name__ == "__main__":
    sys.exit(main())

"""Memory of an evaluation and all its processes (Linux): `python -m benchmarks.memory [evaluate's arguments]`.

Samples the proportional set size, in which pages that processes share count once, and prints the peak.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

DEFAULT = ["agents.vanilla", "--protocol", "standard", "--tasks", "1", "--epochs", "2", "--quiet"]


def main() -> None:
    """Run the evaluation and watch it."""
    arguments = sys.argv[1:] or DEFAULT
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "clbench.evaluate", *arguments, "--out", out]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_set, family(process.pid))))
            time.sleep(0.05)
    print(f"peak of all processes: {peak / 1024:,.0f} MiB  ({' '.join(arguments)})")
    sys.exit(process.returncode)


def family(root: int) -> list[int]:
    """Return a process and all its descendants."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
    members = [root]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def proportional_set(pid: int) -> int:
    """Return a process's proportional set size in KiB, 0 if it is gone."""
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()

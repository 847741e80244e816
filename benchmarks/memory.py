"""Memory of an evaluation and all its processes (h; Linux only).

Sampled is the proportional set size, in which pages that processes share count once.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import family

COMMAND = ["agents.vanilla", "--protocol", "standard", "--tasks", "1", "--epochs", "2", "--quiet"]


def peak_of_an_evaluation() -> dict[str, object]:
    """Run three seeds of `standard`, cut short, and return the peak of all processes together in MiB."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "clbench.evaluate", *COMMAND, "--out", out]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_set, family(process.pid))))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"`{' '.join(command[1:])}` failed: set CLBENCH_DATA_DIR to a folder with MNIST")
    return {"command": " ".join(["python", *command[1:-2]]), "peak_mib": round(peak / 1024)}


def proportional_set(pid: int) -> int:
    """Return a process's proportional set size in KiB, 0 if it is gone."""
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

"""S seeds in lockstep against S by themselves, evaluations of three seeds (f), and an evaluation's memory (h)."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.loops import apart, ours
from benchmarks.measuring import Row, compare, family, milliseconds, ratio_row, setting, take_turns
from clbench.machine import cores, threads

COMMAND = ["agents.vanilla", "--tasks", "2", "--indicators", "none", "--quiet"]
STANDARD = ["agents.vanilla", "--protocol", "standard", "--tasks", "1", "--epochs", "2", "--quiet"]


def rows(rounds: int, device: str) -> Iterator[Row]:
    with threads(1):
        for seeds in (1, 3, 9, 27):
            loops = {
                "S seeds in lockstep": ours(seeds=seeds, device=device),
                "S seeds apart": apart(seeds, device),
            }
            times = take_turns(loops, max(5, rounds // 3), max(2, 30 // seeds), device)
            yield compare("lockstep", setting(seeds, device), times, "S seeds apart", "S seeds in lockstep")


def evaluations(rounds: int, device: str) -> Iterator[Row]:
    """Compare `evaluate` on three seeds with one seed after another: all cores each, and one core each.

    Starting up and drawing figures count; one after another they come three times.
    """
    if device != "cpu":
        return
    evaluate(["0,"])  # compiles what there is to compile
    ways: dict[str, tuple[Callable[[], Any] | None, str]] = {"all cores each": (None, "")}
    if hasattr(os, "sched_setaffinity"):
        ways["one core each"] = (on_one_core, ">= 1.6")
    together: list[float] = []
    apart: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(max(2, rounds // 5)):
        together.append(milliseconds(lambda: evaluate(["0,1,2"])))
        for name, (limit, _) in ways.items():
            apart[name].append(milliseconds(lambda: evaluate(["0,", "1,", "2,"], limit)))  # noqa: B023
    for name, (_, target) in ways.items():
        yield ratio_row(
            "evaluate",
            f"{cores()} cores, ms a run",
            zip(apart[name], together, strict=True),
            f"three seeds one after another, {name}",
            "three seeds in one run",
            target=target,
        )


def evaluate(seeds: list[str], preexec_fn: Callable[[], Any] | None = None) -> None:
    for listed in seeds:
        with tempfile.TemporaryDirectory() as out:
            subprocess.run(
                [sys.executable, "-m", "clbench.evaluate", *COMMAND, "--seeds", listed, "--out", out],
                check=True,
                stdout=subprocess.DEVNULL,
                preexec_fn=preexec_fn,
            )


def on_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def peak_of_an_evaluation() -> dict[str, object]:
    """Run three seeds of `standard`, cut short, and return the peak of all processes together in MiB (Linux only)."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "clbench.evaluate", *STANDARD, "--out", out]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(proportional_set, family(process.pid))))
            time.sleep(0.05)
    if process.returncode:
        raise SystemExit(f"`{' '.join(command[1:])}` failed: set CLBENCH_DATA_DIR to a folder with MNIST")
    return {"command": " ".join(["python", *command[1:-2]]), "peak_mib": round(peak / 1024)}


def proportional_set(pid: int) -> int:
    """Return a process's KiB, in which pages that processes share count once; 0 if it is gone."""
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)

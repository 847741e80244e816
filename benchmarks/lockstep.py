"""S seeds in lockstep against S separate runs (f): in one process, and by the command line on all cores."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.loops import apart, ours
from benchmarks.measuring import Row, compare, ratio_row, seconds, take_turns, threads

COMMAND = ["agents.vanilla", "--tasks", "3", "--epochs", "40", "--indicators", "none", "--quiet"]


def rows(rounds: int, device: str) -> Iterator[Row]:
    """Measure steps, then whole evaluations of three seeds."""
    with threads(1):
        for seeds in (1, 3, 9, 27):
            loops = {"lockstep": ours(seeds=seeds, device=device), "apart": apart(seeds, device)}
            times = take_turns(loops, max(3, rounds // 3), max(2, 30 // seeds), device)
            setting = f"S={seeds}, {'1 thread' if device == 'cpu' else device}"
            yield compare("lockstep", setting, times, "apart", "lockstep")
    if device == "cpu":
        yield from evaluations(max(2, rounds // 6))


def evaluations(rounds: int) -> Iterator[Row]:
    """Compare `evaluate` on three seeds with one after another, on all cores each and on one core each."""
    evaluate(["0"])  # compiles what there is to compile
    together, all_cores, one_core = [], [], []
    for _ in range(rounds):
        together.append(seconds(lambda: evaluate(["0,1,2"])) * 1e3)
        all_cores.append(seconds(lambda: evaluate(["0,", "1,", "2,"])) * 1e3)
        one_core.append(seconds(lambda: evaluate(["0,", "1,", "2,"], preexec_fn=on_one_core)) * 1e3)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    setting = f"evaluate, {cores} cores"
    for name, base in (("one core each", one_core), ("all cores each", all_cores)):
        yield ratio_row(
            "lockstep",
            setting,
            zip(base, together, strict=True),
            f"three seeds one after another, {name}",
            "three seeds in one run",
            target=">= 1.6" if name == "one core each" else "",
        )


def evaluate(seeds: list[str], preexec_fn: Callable[[], Any] | None = None) -> None:
    """Run an evaluation for each list of seeds."""
    for listed in seeds:
        with tempfile.TemporaryDirectory() as out:
            subprocess.run(
                [sys.executable, "-m", "clbench.evaluate", *COMMAND, "--seeds", listed, "--out", out],
                check=True,
                stdout=subprocess.DEVNULL,
                preexec_fn=preexec_fn,
            )


def on_one_core() -> None:
    """Confine this process to the first of its cores."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

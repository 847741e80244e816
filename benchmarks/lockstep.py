"""S seeds in lockstep against S by themselves, and whole evaluations of three seeds against one after another (f)."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.loops import apart, ours
from benchmarks.measuring import Row, compare, milliseconds, ratio_row, setting, take_turns
from clbench.machine import cores, threads

COMMAND = ["agents.vanilla", "--tasks", "2", "--indicators", "none", "--quiet"]


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

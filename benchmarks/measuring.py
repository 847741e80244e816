"""Alternates variants of the same work, so that other load on the machine affects all equally."""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from clbench.machine import wait_for

Loop = Iterator[object]

CLOCKS = ("wall", "cpu")


@dataclass(frozen=True)
class Row:
    """A ratio: how many times as long (or as large) `what` is as `against`, median and quartiles over rounds.

    Attributes:
        setting: seeds, threads, device.
        clock: "wall" or "cpu" time of the process and its workers.
        unit_ms: median of the numerator, milliseconds.
    """

    section: str
    what: str
    against: str
    setting: str
    clock: str
    ratio: float
    low: float
    high: float
    unit_ms: float
    target: str = ""


Times = Mapping[str, Mapping[str, list[float]]]
"""By clock and variant: milliseconds a step, a number for each round."""


def take_turns(
    variants: Mapping[str, Loop], rounds: int, steps: int, device: str = "cpu", workers: str = ""
) -> Times:
    """Advance each variant by `steps`, again and again; the first round warms up and is not counted.

    `workers` names the variant whose worker processes are the children of this one: what they do is its CPU time, even
    if they do it ahead, in the turns of others.
    """
    found: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in variants} for clock in CLOCKS}
    others = 0.0
    for turn in range(rounds + 1):
        first = turn % len(variants)  # so that none always follows the same one
        for name, loop in [*variants.items()][first:] + [*variants.items()][:first]:
            started = (time.perf_counter(), time.process_time())
            for _ in range(steps):
                next(loop)
            wait_for(device)
            wall, cpu = (
                now - then
                for now, then in zip((time.perf_counter(), time.process_time()), started, strict=True)
            )
            if name == workers:
                before, others = others, sum(cpu_seconds(pid) for pid in family(os.getpid())[1:])
                cpu += others - before
            if turn:
                found["wall"][name].append(wall / steps * 1e3)
                found["cpu"][name].append(cpu / steps * 1e3)
    return found


def compare(
    section: str, setting: str, times: Times, what: str, against: str, clock: str = "wall", target: str = ""
) -> Row:
    """Return the ratio of two variants of the same turns, as `take_turns` timed them."""
    pairs = zip(times[clock][what], times[clock][against], strict=True)
    return ratio_row(section, setting, pairs, what, against, clock, target)


def ratio_row(
    section: str,
    setting: str,
    pairs: Iterable[tuple[float, float]],
    what: str,
    against: str,
    clock: str = "wall",
    target: str = "",
) -> Row:
    pairs = list(pairs)
    ratios = [own / base for own, base in pairs]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    median, unit = statistics.median(ratios), statistics.median(own for own, _ in pairs)
    median, low, high, unit = (float(f"{value:.4g}") for value in (median, low, high, unit))
    return Row(section, what, against, setting, clock, median, low, high, unit, target)


def milliseconds(action: Callable[[], object], device: str = "cpu") -> float:
    """Return how long an action takes until it is done on its device."""
    started = time.perf_counter()
    action()
    wait_for(device)
    return (time.perf_counter() - started) * 1e3


def setting(seeds: int, device: str, count: int = 1) -> str:
    """Return seeds and device in words, of a CPU its threads.

    >>> setting(3, "cpu", 2), setting(1, "cuda")
    ('S=3, 2 threads', 'S=1, cuda')
    """
    where = f"{count} thread{'s' if count > 1 else ''}" if device == "cpu" else device
    return f"S={seeds}, {where}"


def family(root: int) -> list[int]:
    """Return a process and all its descendants; on systems without /proc, the process alone."""
    parents = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(folder.name)] = int(_fields(folder)[1])
    members = [root]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process, 0 if it is gone."""
    try:
        fields = _fields(Path("/proc") / str(pid))
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _fields(folder: Path) -> list[str]:
    """What a process's `stat` has after its name: state, parent, ..."""
    return (folder / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()

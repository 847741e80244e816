"""Values of what `python -m benchmarks` has measured."""

import json
from functools import cache
from typing import Any

from clbench.report.console import percent
from values.base import DOCS, decimal, value


@cache
def benchmark() -> dict[str, Any]:
    """Return what `python -m benchmarks` has measured."""
    benchmarks: dict[str, Any] = json.loads((DOCS / "benchmarks" / "cpu.json").read_text(encoding="utf-8"))
    return benchmarks


@value
def ratio(what: str, setting: str = "S=1, 1 thread", clock: str = "wall", digits: int = 2) -> str:
    """Return how many times as long something takes as what it is compared with."""
    return decimal(ratio_of(what, setting, clock), digits)


@value
def share(what: str, digits: int) -> str:
    """Return such a ratio in percent."""
    return f"{decimal(100 * ratio_of(what, 'S=1, 1 thread', 'wall'), digits)} %"


def ratio_of(what: str, setting: str, clock: str) -> float:
    """Return the ratio of a row of the benchmark."""
    sought = (what, setting, clock)
    for row in benchmark()["rows"]:
        if (row["what"], row["setting"], row["clock"]) == sought:
            return float(row["ratio"])
    raise LookupError(f"nothing was measured as {', '.join(sought)}")


@value
def operators(*names: str) -> str:
    """Return the share of PyTorch's operators in a step's CPU time."""
    return percent(sum(benchmark()["operators"][f"aten::{name}"] for name in names))


@value
def peak_memory() -> str:
    """Return the memory of all processes of a run, in MiB."""
    return f"{benchmark()['memory']['peak_mib']:,} MiB"


@value
def processor() -> str:
    """Return what speed was measured on."""
    return str(benchmark()["hardware"]["processor"])

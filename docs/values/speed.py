"""Values of what `python -m benchmarks` has measured."""

import json
from functools import cache
from typing import Any

from clbench.report.console import percent
from values.base import DOCS, decimal, value


@cache
def benchmark() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "benchmarks" / "cpu.json").read_text(encoding="utf-8"))
    return found


@value
def ratio(what: str, setting: str = "S=1, 1 thread", clock: str = "wall", digits: int = 2) -> str:
    return decimal(ratio_of(what, setting, clock), digits)


@value
def share(what: str, digits: int) -> str:
    return f"{decimal(100 * ratio_of(what, 'S=1, 1 thread', 'wall'), digits)} %"


def ratio_of(what: str, setting: str, clock: str) -> float:
    sought = (what, setting, clock)
    for row in benchmark()["rows"]:
        if (row["what"], row["setting"], row["clock"]) == sought:
            return float(row["ratio"])
    raise LookupError(f"nothing was measured as {', '.join(sought)}")


@value
def operators(*names: str) -> str:
    return percent(sum(benchmark()["operators"][f"aten::{name}"] for name in names))


@value
def peak_memory() -> str:
    return f"{benchmark()['memory']['peak_mib']:,} MiB"


@value
def processor() -> str:
    return str(benchmark()["hardware"]["processor"])

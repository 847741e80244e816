"""Measure everything side by side in one run, print a table, write it as JSON: `python -m benchmarks`.

Takes about a quarter of an hour on two cores; other work on the machine widens the spreads.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import indicators, learners, lockstep, memory, steps
from benchmarks.measuring import Row
from clbench.evaluation.pool import ENVIRONMENT
from clbench.machine import hardware, versions

SECTIONS: dict[str, Callable[[int, str], Iterator[Row]]] = {
    "steps": steps.rows,
    "learners": learners.rows,
    "lockstep": lockstep.rows,
    "indicators": indicators.rows,
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", choices=[*SECTIONS, "memory"], action="append", help="a section; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--out", type=Path, help="folder for DEVICE.json (default: docs/benchmarks; with --only nowhere)"
    )
    options = parser.parse_args()
    wanted = options.only or [*SECTIONS, "memory"]
    rows: list[Row] = []
    print(heading(), flush=True)
    for name, section in SECTIONS.items():
        if name in wanted:
            for row in section(options.rounds, options.device):
                rows.append(row)
                print(line(row), flush=True)
    facts: dict[str, Any] = {
        "command": ["python", "-m", "benchmarks", *sys.argv[1:]],
        "hardware": hardware(options.device),
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "versions": versions(),
        "rows": [asdict(row) for row in rows],
    }
    if options.device.startswith("cuda"):
        facts["busy"] = {
            f"S={seeds}": round(steps.busy_share(options.device, seeds), 3) for seeds in (1, 3, 27)
        }
        print("share of time that the device computes:", facts["busy"])
    elif "memory" in wanted and Path("/proc/self/smaps_rollup").exists():
        facts["memory"] = memory.peak_of_an_evaluation()
        print(f"peak of all processes: {facts['memory']['peak_mib']:,} MiB  ({facts['memory']['command']})")
    folder = options.out or (None if options.only else Path("docs/benchmarks"))
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{options.device.partition(':')[0]}.json"
        path.write_text(json.dumps(facts, indent=1) + "\n")
        print(path)


def heading() -> str:
    """Return the table's head."""
    return f"{'':10} {'':38}  {'':32} {'setting':18} {'clock':5} {'ratio':>8}  {'quartiles':^17} {'ms':>9}  target"


def line(row: Row) -> str:
    """Return a row of the table."""
    spread = f"{row.low:.3g} to {row.high:.3g}"
    return (
        f"{row.section:10} {row.what:38} / {row.against:31} {row.setting:18} {row.clock:5} {row.ratio:8.3g}  "
        f"{spread:^17} {row.unit_ms:9.2f}  {row.target}"
    )


if __name__ == "__main__":
    # As the workers of an evaluation have it; read by libraries when a process starts.
    if any(name not in os.environ for name in ENVIRONMENT):
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], {**ENVIRONMENT, **os.environ}
        )
    main()

"""Measure everything side by side in one run, print a table, write it as JSON: `python -m benchmarks`.

Takes about a quarter of an hour on two cores; other work on the machine widens the spreads.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

import clbench
from benchmarks import indicators, learners, lockstep, memory, steps
from benchmarks.measuring import Row
from clbench.engine.pool import ENVIRONMENT
from clbench.machine import hardware, versions
from clbench.places import recorded

DOCS = Path("docs/benchmarks")
SECTIONS: dict[str, Callable[[int, str], Iterator[Row]]] = {
    "steps": steps.rows,
    "learners": learners.rows,
    "lockstep": lockstep.rows,
    "evaluate": lockstep.evaluations,
    "indicators": indicators.rows,
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only",
        choices=[*SECTIONS, "operators", "memory", "busy"],
        action="append",
        help="a section; may be repeated",
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--out", type=Path, help="folder for DEVICE.json (default: docs/benchmarks; with --only nowhere)"
    )
    options = parser.parse_args()
    torch.set_flush_denormal(True)  # as workers do
    on_gpu, folder = options.device.startswith("cuda"), options.out or (None if options.only else DOCS)
    wanted = options.only or [*SECTIONS, *(["busy"] if on_gpu else ["operators", "memory"])]
    if "memory" in wanted:
        clbench.load_images("torchvision")  # complains now if they are not there
    rows: list[Row] = []
    facts: dict[str, Any] = {
        "command": ["python", "-m", "benchmarks", *map(recorded, sys.argv[1:])],
        "hardware": hardware(options.device),
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "versions": versions(),
        "rows": rows,
    }
    print(heading(), flush=True)
    for name in wanted:
        if name == "busy":
            shares = {f"S={seeds}": steps.busy_share(options.device, seeds) for seeds in (1, 3, 27)}
            facts["busy"] = {name: round(share, 3) for name, share in shares.items()}
            print("share of time that the device computes:", facts["busy"])
        elif name == "operators":
            facts["operators"] = steps.operator_shares(options.device)
            print("shares of a step on two threads:", facts["operators"])
        elif name == "memory":
            facts["memory"] = memory.peak_of_an_evaluation()
            print(
                f"peak of all processes: {facts['memory']['peak_mib']:,} MiB  ({facts['memory']['command']})"
            )
        else:
            for row in SECTIONS[name](options.rounds, options.device):
                rows.append(row)
                print(line(row), flush=True)
        if folder is not None:  # after each section: a later one may fail
            write(folder, options.device.partition(":")[0], facts)


def write(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    """Write the results as JSON and as a page."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {**facts, "rows": [asdict(row) for row in facts["rows"]]}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(page(facts), encoding="utf-8")


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


def page(facts: Mapping[str, Any]) -> str:
    """Return the table in Markdown, with the command and the machine."""
    machine, packages = facts["hardware"], facts["versions"]
    place = machine.get("accelerator") or f"{machine['processor']}, {machine['cores']} cores"
    head = (
        f"# What clbench costs\n\nMade by `{' '.join(facts['command'])}` on {place} ({machine['platform']}), "
        f"Python {packages['python']}, torch {packages['torch']}.\n\n"
        "How many times as long the first takes as the second: medians over rounds, in which all take turns, and "
        "quartiles; ms is the median of the first, for a step unless it says otherwise.\n\n"
        "| section | first | second | setting | clock | ratio | quartiles | ms | target |\n"
        f"{'|---' * 9}|\n"
    )
    lines = [
        f"| {row.section} | {row.what} | {row.against} | {row.setting} | {row.clock} | {row.ratio:.3g} "
        f"| {row.low:.3g} to {row.high:.3g} | {row.unit_ms:.4g} | {row.target} |"
        for row in facts["rows"]
    ]
    notes = []
    if "memory" in facts:
        notes.append(
            f"All processes of `{facts['memory']['command']}` together: {facts['memory']['peak_mib']:,} MiB at most."
        )
    if "operators" in facts:
        shares = ", ".join(f"`{name}` {100 * share:.1f} %" for name, share in facts["operators"].items())
        notes.append(
            f"Operators' shares of our step's CPU time, S = 1 on two threads, by PyTorch's profiler: {shares}."
        )
    if "busy" in facts:
        notes.append(f"Share of time that the device computes: {facts['busy']}.")
    return head + "\n".join(lines) + "\n" + "".join(f"\n{note}\n" for note in notes)


if __name__ == "__main__":
    # As the workers of an evaluation have it; read by libraries when a process starts.
    if any(name not in os.environ for name in ENVIRONMENT):
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], {**ENVIRONMENT, **os.environ}
        )
    main()

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
from benchmarks import indicators, lockstep, steps
from benchmarks.measuring import Row
from clbench.engine.pool import ENVIRONMENT
from clbench.errors import ClbenchError
from clbench.machine import hardware, versions
from clbench.places import recorded

DOCS = Path("docs/benchmarks")
SECTIONS: dict[str, Callable[[int, str], Iterator[Row]]] = {
    "steps": steps.rows,
    "learners": steps.learners,
    "lockstep": lockstep.rows,
    "evaluate": lockstep.evaluations,
    "indicators": indicators.rows,
}
EXTRAS: dict[str, Callable[[str], Any]] = {
    "memory": lambda _: lockstep.peak_of_an_evaluation(),
    "operators": steps.operator_shares,
    "busy": steps.busy_shares,
}
HEADING = f"""\
| section | first | second | setting | clock | ratio | quartiles | ms | target |
{"|---" * 9}|"""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", choices=[*SECTIONS, *EXTRAS], action="append", help="a section; may be repeated"
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
        try:
            clbench.load_images("torchvision")  # needed last
        except ClbenchError as error:
            parser.exit(2, f"error: {error}; or leave out the memory with --only\n")
    rows: list[Row] = []
    facts: dict[str, Any] = {
        "command": ["python", "-m", "benchmarks", *map(recorded, sys.argv[1:])],
        "hardware": hardware(options.device),
        "load_before": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "versions": versions(),
        "rows": rows,
    }
    print(HEADING, flush=True)
    for name in wanted:
        if name in EXTRAS:
            facts[name] = EXTRAS[name](options.device)
            print(note(name, facts[name]), flush=True)
        for row in SECTIONS[name](options.rounds, options.device) if name in SECTIONS else ():
            rows.append(row)
            print(line(row), flush=True)
        if folder is not None:  # after each section: a later one may fail
            write(folder, options.device.partition(":")[0], facts)


def write(folder: Path, name: str, facts: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    data = {**facts, "rows": [asdict(row) for row in facts["rows"]]}
    (folder / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    (folder / f"{name}.md").write_text(page(facts), encoding="utf-8")


def line(row: Row) -> str:
    return (
        f"| {row.section} | {row.what} | {row.against} | {row.setting} | {row.clock} | {row.ratio:.3g} "
        f"| {row.low:.3g} to {row.high:.3g} | {row.unit_ms:.4g} | {row.target} |"
    )


def note(name: str, fact: Any) -> str:  # noqa: ANN401  # whatever an extra returns
    if name == "memory":
        return f"All processes of `{fact['command']}` together: {fact['peak_mib']:,} MiB at most."
    if name == "operators":
        shares = ", ".join(f"`{name}` {100 * share:.1f} %" for name, share in fact.items())
        return f"Operators' shares of our step's CPU time, S = 1 on two threads, by PyTorch's profiler: {shares}."
    return f"Share of time that the device computes: {fact}."


def page(facts: Mapping[str, Any]) -> str:
    """Return the table in Markdown, with the command and the machine."""
    machine, packages = facts["hardware"], facts["versions"]
    place = machine.get("accelerator") or f"{machine['processor']}, {machine['cores']} cores"
    head = (
        f"# What clbench costs\n\nMade by `{' '.join(facts['command'])}` on {place} ({machine['platform']}), "
        f"Python {packages['python']}, torch {packages['torch']}.\n\n"
        "How many times as long the first takes as the second: medians over rounds, in which all take turns, and "
        "quartiles; ms is the median of the first, for a step unless it says otherwise.\n\n"
    )
    notes = [f"\n{note(name, facts[name])}\n" for name in EXTRAS if name in facts]
    return head + "\n".join([HEADING, *map(line, facts["rows"])]) + "\n" + "".join(notes)


if __name__ == "__main__":
    # As the workers of an evaluation have it; read by libraries when a process starts.
    if any(name not in os.environ for name in ENVIRONMENT):
        os.execve(
            sys.executable, [sys.executable, "-m", "benchmarks", *sys.argv[1:]], {**ENVIRONMENT, **os.environ}
        )
    main()

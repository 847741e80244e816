"""What the peers did, as a CSV file and as a page."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from benchmarks.peers.running import SHORT, STREAM, Row
from clbench.observing import ALL

COLUMNS = "| learner | accuracy, first and last task | indicators | scheduler | resumed |"


def write(folder: Path, rows: Sequence[Row], versions: Mapping[str, str]) -> None:
    """Write peers.csv and peers.md."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "peers.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(asdict, rows))
    (folder / "peers.md").write_text(page(rows, versions), encoding="utf-8", newline="\n")


def read(path: Path) -> list[Row]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Row(**{**row, "first": float(row["first"]), "last": float(row["last"])})
            for row in csv.DictReader(file)
        ]


def page(rows: Sequence[Row], versions: Mapping[str, str]) -> str:
    stream = ", ".join(f"{name}={value}" for name, value in SHORT.items())
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    head = (
        "# Learners of other projects\n\n"
        f"Made by `python -m benchmarks.peers`: {STREAM}, {stream}, seed 0, each learner's default constants, untuned. "
        f"Versions: {used}.\n"
    )
    return "\n".join([head, table(rows), *map(details, rows)]) + "\n"


def table(rows: Sequence[Row]) -> str:
    """Return a Markdown table with a line per learner."""
    lines = [COLUMNS, f"{'|---' * COLUMNS.count(' | ')}|---|"]
    for row in rows:
        measured = len(row.measured.split(", ")) if row.measured else 0
        scheduled = row.scheduled.partition(":")[0]
        accuracy = "-" if math.isnan(row.first) else f"{row.first:.3f}, {row.last:.3f}"
        cells = [
            f"[`{row.learner}`]({row.project})",
            accuracy,
            f"{measured} of {len(ALL)}",
            scheduled,
            row.resumed.partition(":")[0],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def details(row: Row) -> str:
    said = {"Undefined": row.undefined or "none", "Scheduled": row.scheduled, "Resumed": row.resumed}
    lines = "\n".join(f"- {name}: {text}" for name, text in said.items())
    where = f"[{row.project.removeprefix('https://')}]({row.project}) at `{row.commit[:12]}`"
    return f"\n## {row.peer}\n\n{where}, `{row.learner}`.\n\n{lines}"

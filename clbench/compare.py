"""`python -m clbench.compare RUN ...`: agents of one run or several compared seed by seed."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.command_line import Parser, run_command
from clbench.comparing import Comparison, Entry, Row, compare
from clbench.errors import OptionError
from clbench.intervals import ENOUGH_SEEDS
from clbench.places import SOMEWHERE, recorded
from clbench.report.console import make_console
from clbench.results import find_runs
from clbench.results.files import write_text_whole, write_whole
from clbench.scoring import SCORES, Estimate

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.table import Table

SUFFIXES = (".png", ".pdf", ".svg")
DESCRIPTION = """\
Compare agents of one run or several with a reference, seed by seed on the same streams if they share seeds.
Runs of different streams, data or protocols are refused; --mix compares them and marks the output "not the same"."""
EPILOG = """\
examples:
  python -m clbench.compare results/RandomLabelMNIST-v0-quick-1
  python -m clbench.compare results/*-quick-* --reference agents.vanilla --out comparison.png
  python -m clbench.compare results --agent agents.l2 --agent agents.perlayer --csv comparison.csv

exit codes: 0 done; 1 a file could not be written; 2 nothing to compare
"""


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="python -m clbench.compare",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("runs", nargs="*", metavar="RUN", help="run folder, or a folder with run folders in it")
    add(
        "--agent",
        action="append",
        default=[],
        metavar="NAME",
        help="compare only this agent; may be repeated",
    )
    add("--reference", metavar="RUN|AGENT", help="compare with this entry (default: the first)")
    add("--score", default=SCORES[0], metavar="NAME", help=f"{', '.join(SCORES)} (default: %(default)s)")
    add("--out", metavar="FILE", help=f"write a figure ({', '.join(SUFFIXES)})")
    add("--csv", metavar="FILE", help="write the table, with all intervals")
    add("--mix", action="store_true", help="compare runs with different settings, over the tasks they share")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    import pandas as pd

    parser = build_parser()
    options = parser.read(arguments)
    if not options.runs:
        parser.error("no run given: name at least one run folder")
    if options.out is not None and Path(options.out).suffix not in SUFFIXES:
        raise OptionError(f"--out '{options.out}': the name of a figure must end in {', '.join(SUFFIXES)}")
    entries = [Entry.from_run(run) for run in find_runs(*options.runs)]
    comparison = compare(entries, options.reference, options.score, options.agent, options.mix)
    written = []  # first, since the reader of what is printed may stop early
    if options.csv is not None:
        rows = pd.DataFrame([_csv_row(row, comparison) for row in comparison.rows])
        write_text_whole(Path(options.csv), rows.to_csv(index=False, lineterminator="\n"))
        written.append(options.csv)
    if options.out is not None:
        kind = Path(options.out).suffix[1:]
        write_whole(Path(options.out), lambda path: figure(comparison).savefig(path, format=kind))
        written.append(options.out)
    _print(comparison, written)
    return 0


def _print(comparison: Comparison, written: Sequence[str]) -> None:
    console = make_console(wide=True)
    console.print(comparison.title, soft_wrap=True)
    console.print()
    console.print(table(comparison))
    console.print()
    notes = [f"note: {note}" for note in comparison.notes]
    for line in (*explanation(comparison), *notes, *(f"written: {name}" for name in written)):
        console.print(line, soft_wrap=True)


def table(comparison: Comparison) -> "Table":
    """Return the table of each entry's score and its differences from the reference."""
    from rich.table import Table

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("\nentry", overflow="fold")
    name, *others = comparison.scores
    digits = 4 if name == "slope" else 3
    titles = [name.replace("_", " ").replace(" ", "\n", 1), f"{_short(name)}\ndifference"]
    for title in ("\nn", *titles, *(f"{_short(other)}\ndiff." for other in others)):
        grid.add_column(title, justify="right", no_wrap=True)
    for row in comparison.rows:
        if row.entry.label == comparison.reference.label:
            cells = ["reference", *("" for _ in others)]
        else:
            cells = [f"{_lines(row.differences[name], f'+.{digits}f')}\n{row.how}"]
            cells += [f"{_no_minus_zero(row.differences[other].mean):+.4f}" for other in others]
        label = row.entry.label.replace(" (", "\n(", 1)
        grid.add_row(label, str(len(row.entry.seeds)), _lines(row.scores[name], f".{digits}f"), *cells)
    return grid


def _short(score: str) -> str:
    return {"average_task_accuracy": "average", "last_tenth": "last 10 %"}.get(score, score.replace("_", " "))


def _lines(estimate: Estimate, style: str) -> str:
    r"""Return mean and, below it, interval; the mean alone for a single seed.

    >>> _lines(Estimate(0.5, 0.4, 0.6), "+.1f"), _lines(Estimate(0.5, math.nan, math.nan), ".1f")
    ('+0.5\n[+0.4, +0.6]', '0.5')
    """
    ends = (estimate.mean, estimate.low, estimate.high)
    mean, low, high = (f"{_no_minus_zero(value):{style}}" for value in ends)
    return mean if math.isnan(estimate.low) else f"{mean}\n[{low}, {high}]"


def _no_minus_zero(value: float) -> float:
    return 0.0 if abs(value) < 0.5e-4 else value


def explanation(comparison: Comparison) -> list[str]:
    """Return the lines that define differences and intervals."""
    streams = "though not on the same streams" if comparison.mismatch else "on the same streams"
    hows = {row.how.partition(",")[0] for row in comparison.others}
    kinds = {
        "paired": f"paired: seed by seed, {streams}",
        "Welch": "Welch: as two groups, since they do not share two seeds",
    }
    used = "; ".join(text for kind, text in kinds.items() if kind in hows)
    lines = [
        f"difference: the entry's score minus that of {comparison.reference.label}, mean over n seeds "
        f"[95 % t interval]; {used}"
    ]
    least = min(row.differences[comparison.scores[0]].n for row in comparison.others)
    if any(math.isnan(row.differences[comparison.scores[0]].low) for row in comparison.others):
        lines.append("with one seed there is no interval: the difference may be due to chance")
    elif least < ENOUGH_SEEDS:
        lines.append(
            f"with {least} seeds intervals are wide: a difference may exist even if they include zero"
        )
    return lines


def _csv_row(row: Row, comparison: Comparison) -> dict[str, object]:
    cells: dict[str, object] = {
        "entry": row.entry.label,
        "run": _recorded_run(row.entry.run),
        "agent": row.entry.agent,
        "reference": comparison.reference.label,
        "seeds": " ".join(map(str, row.seeds)),
        "compared": row.how,
        "num_tasks": comparison.num_tasks,
    }
    for name in comparison.scores:
        for key, estimate in ((name, row.scores[name]), (f"{name}_difference", row.differences[name])):
            cells |= {key: estimate.mean, f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    return cells | {"not_the_same": comparison.mismatch}


def _recorded_run(run: str) -> str:
    """Return a run's folder as it is recorded, or its name alone, which `evaluate` chose."""
    return Path(run).name if recorded(run) == SOMEWHERE else recorded(run)


def figure(comparison: Comparison) -> "Figure":
    """Return accuracy curves next to the differences from the reference."""
    from clbench import plotting

    hows = {row.entry.label: row.how for row in comparison.rows}
    accuracies = {
        row.entry.label: {
            task: [tasks[task].accuracy for tasks in row.entry.seeds.values()]
            for task in range(comparison.num_tasks)
        }
        for row in comparison.rows
    }
    differences = {row.entry.label: row.by_task for row in comparison.rows}
    return plotting.comparison(accuracies, differences, hows, comparison.reference.label, comparison.title)


if __name__ == "__main__":
    sys.exit(main())

"""The command line of `python -m clbench.reproduce`."""

import argparse
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.checks import check_choice, check_count, names_in
from clbench.command_line import Parser, run_command, seeds_in
from clbench.errors import OptionError
from clbench.evaluation.progress import make_wide_console
from clbench.evaluation.session import load_data
from clbench.loading import parse_setting
from clbench.reproduce.cells import needed
from clbench.reproduce.figure import Figure
from clbench.reproduce.figures import FIGURES
from clbench.reproduce.making import make_figure
from clbench.reproduce.report import PAGE, number, tally, with_interval, write_report
from clbench.reproduce.scale import LENGTHS, Scale
from clbench.specs import PROTOCOLS
from clbench.sweeping.api import run_missing
from clbench.sweeping.board import default_board
from clbench.sweeping.cli import announce
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.local import Local
from clbench.sweeping.tables import cells_table, plain_table, print_failures

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from clbench.reproduce.claims import Judgement

DESCRIPTION = """\
Make the source paper's figures anew and judge its claims: run what is missing, draw, write data and report.
Runs are shared between figures, found again, and gone on with."""
EPILOG = """\
FIGURE: {figures}, or all; list shows what they are, claims judges what is there and runs nothing.

examples:
  python -m clbench.reproduce list
  python -m clbench.reproduce 4-bottom --dry-run
  python -m clbench.reproduce all
  python -m clbench.reproduce all --report
  python -m clbench.reproduce 4-bottom 5 --protocol paper --out docs/reproduction --runs results/reproduction/runs

exit codes: 0 done; 1 a run failed, all else is done; 2 nothing was started;
130 interrupted by Ctrl-C, 143 ended by SIGTERM, both after the step in progress: the same command goes on
"""
LIST, CLAIMS, ALL = "list", "claims", "all"


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="python -m clbench.reproduce",
        description=DESCRIPTION,
        epilog=EPILOG.format(figures=", ".join(FIGURES)),
    )
    add = parser.add_argument
    add("what", nargs="*", metavar="FIGURE", help="figures, all, list or claims")
    add("--protocol", default="quick", metavar="NAME", help=f"{', '.join(PROTOCOLS)} (default: %(default)s)")
    add("--seeds", metavar="N|A,B,...", help="how many, or which (default: the protocol's, 3)")
    add(
        "--out",
        default="results/reproduction",
        metavar="DIR",
        help="where figures, data and report are written (default: %(default)s)",
    )
    add("--runs", metavar="DIR", help="where runs are kept and found again (default: runs/ in --out)")
    add("--indicators", default="", metavar="LIST", help="module:function, measured beside all others")
    add("--source", metavar="NAME", help="embedded (5,000 images) or torchvision (60,000)")
    add("--data-dir", metavar="DIR", help="folder with MNIST/raw/, for the source torchvision")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes at a time (default: cores, or 1 on an accelerator)",
    )
    add("--dry-run", action="store_true", help="say what would run and how long it takes; start nothing")
    add("--report", action="store_true", help="run nothing; figures and report of the runs that are finished")
    add("--accept-changes", action="store_true", help="go on with runs although the code has changed")
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help=f"another length than the protocol's: {', '.join(LENGTHS)}",
    )
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    parser = build_parser()
    options = parser.read(arguments)
    scale, console, out = _scale(options), make_wide_console(), Path(options.out)
    if not options.what:
        parser.error(f"name figures: {', '.join(FIGURES)}, or {ALL}, {LIST}, {CLAIMS}")
    for name in {LIST, CLAIMS} & set(options.what):
        if len(options.what) > 1 or options.dry_run or options.report:
            parser.error(f"{name} runs nothing: it goes with no figure, --dry-run or --report")
    if options.what == [LIST]:
        console.print(_list(scale))
        return 0
    if options.what == [CLAIMS]:
        _report(console, out, FIGURES.values())
        return 0
    for name in options.what:
        check_choice("figure", name, (*FIGURES, ALL))
    figures = [figure for name, figure in FIGURES.items() if {name, ALL} & set(options.what)]
    wanted = needed(figures, scale)
    cells, folder = wanted.sweep.cells, SweepFolder(Path(options.runs) if options.runs else out / "runs")
    workers = None if options.workers is None else check_count("workers", options.workers)
    launcher = Local(workers, options.accept_changes)
    announce(console, wanted.sweep, cells, folder, launcher.workers_for(cells), options.dry_run)
    if options.dry_run:
        console.print(cells_table(cells, folder))
        return 0
    again = f"python -m clbench.reproduce {shlex.join(arguments)}"
    failures: dict[str, str] = {}
    if not options.report:
        _, missing = folder.sorted_out(cells)
        if missing:
            load_data(missing[0].plan)  # without images all would fail, each alone
        failures = run_missing(wanted.sweep, cells, folder, launcher, default_board, again)
    made = [
        path for figure in figures for path in make_figure(figure, wanted.of[figure.name], folder, scale, out)
    ]
    for path in made:
        console.print(f"written: {path}", soft_wrap=True)
    if made:
        _report(console, out, figures)
    elif options.report:
        raise OptionError(f"--report: '{folder.path}' has no finished run of {', '.join(options.what)}")
    print_failures(wanted.sweep, failures, folder)
    return 1 if failures else 0


def _scale(options: argparse.Namespace) -> Scale:
    changes: dict[str, Any] = dict(map(parse_setting, options.set))
    for name in ("source", "data_dir"):
        if getattr(options, name) is not None:
            changes[name] = getattr(options, name)
    own = tuple(names_in(options.indicators)) if options.indicators else ()
    for name in own:
        if ":" not in name:
            raise OptionError(
                f"--indicators '{name}': ours are measured anyway; one of your own is file.py:function or "
                "module:function"
            )
    seeds = seeds_in(options.seeds)
    roots = tuple(seeds) if isinstance(seeds, list) else seeds
    return Scale(options.protocol, roots, changes, options.device, own)


def _list(scale: Scale) -> "Table":
    """Return a table of the figures; every cell is checked on the way."""
    found = plain_table(("figure", "runs", "claims", "what it shows"))
    of = needed(FIGURES.values(), scale).of
    for name, figure in FIGURES.items():
        found.add_row(name, str(len(of[name])), str(len(figure.claims)), figure.title)
    return found


def _report(console: "Console", out: Path, figures: Iterable[Figure]) -> None:
    """Write the report of all that is there; show the claims of `figures`."""
    rows = write_report(tuple(FIGURES.values()), out)
    shown = {claim.name for figure in figures for claim in figure.claims}
    if shown:
        console.print(_claims([row for row in rows if row.claim in shown]))
    console.print(f"\n{tally(rows)}\nwritten: {out / PAGE}", soft_wrap=True)


def _claims(rows: "Sequence[Judgement]") -> "Table":
    found = plain_table(("claim", "published", "ours", "protocol", "verdict"))
    for row in rows:
        ours = with_interval(row.ours, row.low, row.high)
        found.add_row(row.claim, number(row.published), ours, row.protocol, row.verdict)
    return found

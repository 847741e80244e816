"""The command line of the study, `python -m clbench.reproduce`."""

import argparse
import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clbench import PROTOCOLS, load_images
from clbench.command_line import Parser, seeds_in
from clbench.errors import OptionError
from studies.noise_curvature.catalog import FIGURES
from studies.noise_curvature.figure import Figure
from studies.noise_curvature.frames import Key
from studies.noise_curvature.report import PAGE, count_verdicts, number, with_interval, write_report
from studies.noise_curvature.runs import Run, distinct, estimate_work, find_runs, run_missing
from studies.noise_curvature.scale import LENGTHS, Scale, check_name
from studies.noise_curvature.tables import make_figure

COMMAND = "python -m clbench.reproduce"
DESCRIPTION = """\
Reproduce the source paper's figures and judge its claims: run what is missing, draw, write data and report.
Figures share runs; finished runs are kept, unfinished ones are resumed."""
EPILOG = """\
FIGURE: {figures}, or all; list describes them, claims judges what has been made and runs nothing.

examples:
  python -m clbench.reproduce list
  python -m clbench.reproduce 4-bottom --dry-run
  python -m clbench.reproduce all
  python -m clbench.reproduce all --report
  python -m clbench.reproduce 4-bottom 5 --protocol paper --out docs/reproduction --runs results/reproduction/runs

exit codes: 0 done; 1 a run failed, all else is done; 2 nothing was started;
130 interrupted by Ctrl-C, 143 ended by SIGTERM, both after the step in progress: the same command continues
"""
LIST, CLAIMS, ALL = "list", "claims", "all"


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(prog=COMMAND, description=DESCRIPTION, epilog=EPILOG.format(figures=", ".join(FIGURES)))
    add = parser.add_argument
    add("what", nargs="*", metavar="FIGURE", help="figures, all, list or claims")
    add("--protocol", default="quick", metavar="NAME", help=f"{', '.join(PROTOCOLS)} (default: %(default)s)")
    add("--seeds", metavar="N|A,B,...", help="how many, or which (default: the protocol's, 3)")
    add(
        "--out",
        default="results/reproduction",
        metavar="DIR",
        help="folder of the results (default: %(default)s)",
    )
    add("--runs", metavar="DIR", help="folder of the runs (default: runs/ in --out)")
    add("--indicators", default="", metavar="LIST", help="file.py:function, measured besides all others")
    add("--source", metavar="NAME", help="embedded (5,000 images) or torchvision (60,000)")
    add("--data-dir", metavar="DIR", help="folder with MNIST/raw/, for the source torchvision")
    add("--device", default="auto", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    add("--workers", type=int, metavar="N", help="processes (default: cores, or 1 on an accelerator)")
    add("--dry-run", action="store_true", help="say what would run and how long it takes; start nothing")
    add("--report", action="store_true", help="run nothing; make figures and report from finished runs")
    add("--accept-changes", action="store_true", help="resume runs although the code has changed")
    lengths = f"a length other than the protocol's: {', '.join(LENGTHS)}"
    add("--set", action="append", default=[], metavar="NAME=VALUE", help=lengths)
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: Sequence[str]) -> int:
    """Return the exit code of the command line.

    Raises:
        KeyboardInterrupt: by a signal; says how to continue.
    """
    parser = build_parser()
    options = parser.read(arguments)
    scale, console = _scale(options), Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # nothing is cut off in a file or a pipe
    if not options.what:
        parser.error(f"name figures: {', '.join(FIGURES)}, or {ALL}, {LIST}, {CLAIMS}")
    for name in {LIST, CLAIMS} & set(options.what):
        if len(options.what) > 1 or options.dry_run or options.report:
            parser.error(f"{name} runs nothing: it cannot go with a figure, --dry-run or --report")
    if options.what == [LIST]:
        runs = _find_runs(FIGURES.values(), scale, Path(options.out))  # checks all of them
        rows = [(name, len(runs[name]), len(figure.claims), figure.title) for name, figure in FIGURES.items()]
        console.print(_table(("figure", "runs", "claims", "what it shows"), rows))
        return 0
    if options.what == [CLAIMS]:
        _report(console, Path(options.out), FIGURES.values())
        return 0
    for name in options.what:
        check_name("figure", name, (*FIGURES, ALL))
    figures = [figure for name, figure in FIGURES.items() if {name, ALL} & set(options.what)]
    try:
        return _reproduce(console, figures, scale, options)
    except KeyboardInterrupt as error:
        error.args = (f"finished tasks are kept; continue with: {COMMAND} {shlex.join(arguments)}",)
        raise


def _scale(options: argparse.Namespace) -> Scale:
    changes: dict[str, Any] = {}
    for setting in options.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise OptionError(f"--set '{setting}' is not of the form NAME=VALUE")
        changes[name] = int(value) if value.isdecimal() else value
    images = {"source": options.source, "data_dir": options.data_dir}
    changes |= {name: value for name, value in images.items() if value is not None}
    indicators = tuple(name.strip() for name in options.indicators.split(",") if name.strip())
    for name in indicators:
        if ":" not in name:
            raise OptionError(
                f"--indicators '{name}': clbench's are measured anyway; give custom ones as file.py:function"
            )
    seeds = seeds_in(options.seeds)
    listed = tuple(seeds) if isinstance(seeds, list) else seeds
    return Scale(options.protocol, listed, changes, options.device, indicators)


def _find_runs(figures: Collection[Figure], scale: Scale, folder: Path) -> dict[str, dict[Key, Run]]:
    """Return the runs that figures need, by figure and key in it, with their present state."""
    runs: dict[str, dict[Key, Run]] = {figure.name: {} for figure in figures}
    requests = {
        (figure.name, key): request for figure in figures for key, request in figure.requests(scale).items()
    }
    for (name, key), run in find_runs(requests, folder).items():
        runs[name][key] = run
    return runs


def _reproduce(
    console: Console, figures: Collection[Figure], scale: Scale, options: argparse.Namespace
) -> int:
    """Return the exit code of running what is missing, if wanted, and of making figures and report.

    Raises:
        OptionError: a report is wanted of runs none of which is finished.
    """
    out = Path(options.out)
    folder = Path(options.runs) if options.runs else out / "runs"
    runs = distinct(run for named in _find_runs(figures, scale, folder).values() for run in named.values())
    seeds = sum(run.seeds for run in runs)
    steps, left = estimate_work(runs, folder, options.workers, measure=options.dry_run)
    number = f"{len(runs)} run{'s' * (len(runs) != 1)}"
    console.print(f"{number} · {seeds} seeds in all · {steps:,} steps\n{left}", soft_wrap=True)
    if options.dry_run:
        rows = [(run.label, run.seeds, run.status, run.folder.name) for run in runs]
        console.print(_table(("run", "seeds", "state", "folder"), rows))
        return 0
    failures: Mapping[str, str] = {}
    if not options.report:
        if not all(run.is_complete for run in runs):  # without images each of them would fail
            source = scale.changes.get("source", PROTOCOLS[scale.protocol].source)
            load_images(source, scale.changes.get("data_dir"))
        failures = run_missing(runs, folder, options.workers, options.accept_changes)
    present = _find_runs(figures, scale, folder)
    made = [path for figure in figures for path in make_figure(figure, present[figure.name], scale, out)]
    for path in made:
        console.print(f"written: {path}", soft_wrap=True)
    if made:
        _report(console, out, figures)
    elif options.report:
        raise OptionError(f"--report: '{folder}' has no finished run of {', '.join(options.what)}")
    for run in runs:
        if run.label in failures:
            log = run.folder / "failures.log"
            print(f"error: {run.label}: {failures[run.label]} ({log})", file=sys.stderr)
    if failures:
        text = f"{len(failures)} of {len(runs)} runs failed; the same command tries them again"
        print(text, file=sys.stderr)
    return 1 if failures else 0


def _report(console: Console, out: Path, figures: Iterable[Figure]) -> None:
    """Write the report of everything in `out`; show the claims of `figures`."""
    judgements = write_report(FIGURES.values(), out)
    names = {claim.name for figure in figures for claim in figure.claims}
    rows = []
    for judgement in judgements:
        claim, value = judgement.claim, judgement.measured.value
        if claim.name in names:
            ours = with_interval(value.mean, value.low, value.high)
            rows.append((claim.name, number(claim.published), ours, judgement.protocol, judgement.verdict))
    if rows:
        console.print(_table(("claim", "published", "ours", "protocol", "verdict"), rows))
    console.print(f"\n{count_verdicts(judgements)}\nwritten: {out / PAGE}", soft_wrap=True)


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table without lines whose cells wrap."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    return table

"""The command line of `python -m clbench.sweep`."""

import re
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clbench.command_line import Parser, run_command
from clbench.errors import OptionError
from clbench.evaluation.progress import count, make_wide_console
from clbench.sweeping.api import LAUNCHERS, checked_selection, choose_launcher, run_missing, shard_of
from clbench.sweeping.board import Board, default_board
from clbench.sweeping.cells import Cell, Sweep, read_sweep
from clbench.sweeping.estimate import amount_left, steps_of
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided
from clbench.sweeping.report import make_report
from clbench.sweeping.tables import cells_table, print_failures, print_report

if TYPE_CHECKING:
    from rich.console import Console

DESCRIPTION = """\
Run what is missing of a sweep: agents with arguments on streams, each combination in a run folder of its own.
Cells that are finished are left alone, unfinished ones are gone on with, failed ones are tried again."""
EPILOG = """\
examples:
  python -m clbench.sweep examples/sweep.toml --dry-run
  python -m clbench.sweep examples/sweep.toml --select-seeds 0,1 --report-seeds 2,3,4
  python -m clbench.sweep examples/sweep.toml --shard 2/8
  python -m clbench.sweep examples/sweep.toml --launcher ray --ray-address 10.0.0.1:6379

exit codes: 0 done; 1 a cell failed, all else is done; 2 nothing was started;
130 interrupted by Ctrl-C, 143 ended by SIGTERM, both after the step in progress: the same command goes on
"""


def build_parser() -> Parser:
    """Return the parser."""
    parser = Parser(
        prog="python -m clbench.sweep",
        description=DESCRIPTION,
        epilog=EPILOG,
    )
    add = parser.add_argument
    add("file", metavar="SWEEP.toml", help="settings, [[grid]] and [[cell]] tables")
    add(
        "--out",
        default="results",
        metavar="DIR|URL",
        help="where the sweep's folder is made (default: %(default)s); a URL, such as s3://..., with Ray only",
    )
    add("--dry-run", action="store_true", help="say what would run and how long it takes; start nothing")
    add("--report", action="store_true", help="rank what is finished; run nothing")
    add("--shard", metavar="I/N", help="run every N-th cell of the file only, from the I-th")
    add(
        "--workers",
        type=int,
        metavar="N",
        help="processes at a time (default: cores, or 1 on an accelerator)",
    )
    add(
        "--launcher",
        default="local",
        metavar="|".join(LAUNCHERS),
        help="run cells on this machine (default), or on the nodes of a Ray cluster, which share DIR",
    )
    add("--ray-address", metavar="ADDRESS", help="the cluster's (default: one is started on this machine)")
    add("--select-seeds", metavar="A,B,...", help="seeds on which the best cell of each agent is chosen ...")
    add("--report-seeds", metavar="C,D,...", help="... and others, on which it is judged")
    add(
        "--accept-changes",
        action="store_true",
        help="go on with unfinished cells although agent or stream have changed",
    )
    add("--log", metavar="LIST", help="experiment trackers, with commas: tensorboard, wandb, mlflow")
    add("--quiet", action="store_true", help="print the sweep's folder, nothing else")
    add("--debug", action="store_true", help="show tracebacks")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    return run_command(_main, arguments)


def _main(arguments: Sequence[str]) -> int:
    options = build_parser().read(arguments)
    if options.report and options.dry_run:
        raise OptionError(
            "--report and --dry-run go apart: one ranks what is finished, the other says what is left"
        )
    sweep = read_sweep(options.file)
    selection = checked_selection(sweep, _seeds(options.select_seeds), _seeds(options.report_seeds))
    cells = shard_of(sweep.cells, _shard(options.shard))
    folder, console, failures = (
        SweepFolder.of(sweep, options.out),
        make_wide_console(),
        dict[str, str](),
    )
    if not options.report:
        launcher = choose_launcher(
            options.launcher,
            options.workers,
            options.ray_address,
            options.accept_changes,
            options.log,
            options.out,
        )
        if not options.quiet:
            announce(console, sweep, cells, folder, launcher.workers_for(cells), options.dry_run)
        if options.dry_run:
            console.print(cells_table(cells, folder))
            return 0
        failures = run_missing(
            sweep,
            cells,
            folder,
            launcher,
            Board if options.quiet else default_board,
            f"python -m clbench.sweep {shlex.join(arguments)}",
        )
    report = make_report(sweep, folder, selection)
    if options.quiet:
        print(folder.path)
    else:
        print_report(console, report)
    print_failures(sweep, failures, folder)
    return 1 if failures else 0


def announce(
    console: "Console", sweep: Sweep, cells: Sequence[Cell], folder: SweepFolder, workers: int, measure: bool
) -> None:
    """Print how much there is to run, and an estimate of how long what is left takes."""
    runs = sum(len(cell.plan.spec.seeds) for cell in cells)
    steps = sum(map(steps_of, cells))
    part = f" of {len(sweep.cells)}" if len(cells) < len(sweep.cells) else ""
    console.print(
        f"{sweep.name} · {count(len(cells), 'cell')}{part} · {count(runs, 'run')} (cell x seed) · {steps:,} steps",
        soft_wrap=True,
    )
    console.print(str(amount_left(divided(cells, workers), folder, workers, measure)), soft_wrap=True)


def _seeds(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.rstrip(",").split(",")]
    except ValueError:
        raise OptionError(f"'{text}': name seeds with commas, such as 0,1") from None


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if found is None:
        raise OptionError(f"--shard '{text}': give I/N, such as 1/4")
    return int(found[1]), int(found[2])

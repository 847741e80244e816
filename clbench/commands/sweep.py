"""The command `clbench sweep`."""

import re
import shlex
import sys
from typing import Any

import click

from clbench.commands import options as shared
from clbench.errors import OptionError

EPILOG = """\b
examples:
  clbench sweep examples/sweep.toml --dry-run
  clbench sweep examples/sweep.toml --select-seeds 0,1 --report-seeds 2,3,4
  clbench sweep examples/sweep.toml --shard 2/8
  clbench sweep examples/sweep.toml --launcher ray --ray-address 10.0.0.1:6379

exit codes: 0 done; 1 a cell failed, the others are done; 2 nothing was started; 130 interrupted by Ctrl-C, 143
by SIGTERM (the same command continues)
"""


def seed_list(text: str | None) -> list[int] | None:
    """Return comma-separated seeds."""
    if text is None:
        return None
    try:
        return [int(part) for part in text.rstrip(",").split(",")]
    except ValueError:
        raise OptionError(f"'{text}': give comma-separated seeds, such as 0,1") from None


def shard(text: str | None) -> tuple[int, int] | None:
    """Return I and N of "I/N"."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None:
        raise OptionError(f"--shard '{text}': give I/N, such as 1/4")
    return int(match[1]), int(match[2])


@click.command("sweep", epilog=EPILOG)
@click.argument("file", type=shared.PATH, metavar="SWEEP.toml")
@shared.together(
    shared.path(
        "--out",
        "where the sweep's folder is created (default: results); with Ray also a URL, such as s3://...",
        "DIR|URL",
        default="results",
    ),
    click.option("--dry-run", is_flag=True, help="print what would run and how long it would take"),
    click.option("--report", is_flag=True, help="rank complete cells; run nothing"),
    shared.text("--shard", "run only every N-th cell, starting with the I-th", "I/N"),
    shared.whole("--workers", "number of processes (default: one per core, or 1 on an accelerator)"),
    shared.text(
        "--launcher",
        "run cells on this machine (default) or on the nodes of a Ray cluster that share DIR",
        "local|ray",
        default="local",
    ),
    shared.text("--ray-address", "address of the cluster (default: start one on this machine)", "ADDRESS"),
    shared.text("--select-seeds", "seeds on which to choose each agent's best cell ...", "A,B,..."),
    shared.text("--report-seeds", "... and other seeds on which to judge it", "C,D,..."),
    shared.ACCEPT_CHANGES,
    shared.LOG,
    shared.FIGURES,
    shared.QUIET,
    shared.DEBUG,
)
def command(
    file: str, dry_run: bool, report: bool, quiet: bool, debug: bool, log: str | None, **options: Any
) -> int:
    """Run a sweep: agents with arguments on streams, each combination in a separate run folder.

    Complete cells are skipped, unfinished ones resumed, failed ones retried.
    """  # noqa: DOC501 - it is the command's help
    from clbench.engine.figures import check_formats
    from clbench.engine.progress import RunFailure
    from clbench.report.console import make_console
    from clbench.sweeps.api import checked_selection, choose_executor, run_cells, shard_of
    from clbench.sweeps.cells import read_sweep
    from clbench.sweeps.report import make_report
    from clbench.sweeps.store import open_store
    from clbench.sweeps.tables import announce, print_failures, print_plan, print_report

    if report and dry_run:
        raise OptionError("--report and --dry-run are mutually exclusive: one ranks, the other plans")
    sweep, formats = read_sweep(file), check_formats(options.pop("figures"))
    selection = checked_selection(
        sweep, seed_list(options.pop("select_seeds")), seed_list(options.pop("report_seeds"))
    )
    runs = shard_of(sweep.runs, shard(options.pop("shard")))
    again = f"clbench sweep {shlex.join(_arguments())}"
    store, console = open_store(sweep, options["out"], again), make_console()
    failures: dict[str, RunFailure] = {}
    if not report:
        executor = choose_executor(**options)
        if not quiet:
            announce(console, sweep, runs, store, executor.workers_for(runs), measure=dry_run)
        if dry_run:
            print_plan(console, runs, store)
            return 0
        failures = dict(run_cells(sweep, runs, store, executor, log, formats, shown=not quiet))
    ranking = make_report(sweep, store, selection, formats)
    if quiet:
        print(store.path)
    else:
        print_report(console, ranking)
    print_failures(sweep.runs, failures, store)
    return 1 if failures else 0


def _arguments() -> list[str]:
    """Return the arguments of the command as typed."""
    arguments = sys.argv[1:]
    return arguments[1:] if arguments[:1] == ["sweep"] else arguments

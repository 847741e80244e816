"""The command `clbench reproduce`."""

import shlex
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from clbench import PROTOCOLS, load_images
from clbench.commands import options as shared
from clbench.errors import OptionError
from clbench.report.console import make_console, plain_table
from studies.noise_curvature.claims import Figure
from studies.noise_curvature.figures import FIGURES
from studies.noise_curvature.frames import Key
from studies.noise_curvature.report import PAGE, count_verdicts, number, with_interval, write_report
from studies.noise_curvature.runs import Request, find_runs, run_missing
from studies.noise_curvature.scale import LENGTHS, Scale, check_name
from studies.noise_curvature.tables import make_figure

COMMAND = "clbench reproduce"
EPILOG = f"""\b
FIGURE: {", ".join(FIGURES)}, or all. list describes them; claims judges finished figures without running anything.

\b
examples:
  {COMMAND} list
  {COMMAND} 4-bottom --dry-run
  {COMMAND} all
  {COMMAND} all --report
  {COMMAND} 4-bottom 5 --protocol paper --out docs/reproduction --runs results/reproduction/runs

exit codes: 0 done; 1 a run failed, the others are done; 2 nothing was started; 130 interrupted by Ctrl-C, 143
by SIGTERM (the same command continues)
"""
LIST, CLAIMS, ALL = "list", "claims", "all"


@click.command("reproduce", epilog=EPILOG)
@click.argument("figures", nargs=-1, metavar="FIGURE...")
@shared.together(
    shared.PROTOCOL,
    shared.SEEDS,
    shared.path(
        "--out",
        "where the results are written (default: results/reproduction)",
        "DIR",
        default="results/reproduction",
    ),
    shared.path("--runs", "folder of the runs (default: runs/ in --out)", "DIR"),
    shared.text(
        "--indicators",
        "custom indicators as file.py:function, measured in addition to all others",
        "LIST",
        default="",
    ),
    shared.SOURCE,
    shared.DATA_DIR,
    shared.DEVICE,
    shared.WORKERS,
    click.option("--dry-run", is_flag=True, help="print what would run and how long it would take"),
    click.option("--report", is_flag=True, help="make figures and report from complete runs; run nothing"),
    shared.ACCEPT_CHANGES,
    shared.settings("--set", f"override the protocol's {', '.join(LENGTHS)}"),
    shared.DEBUG,
)
def command(figures: tuple[str, ...], debug: bool, **options: Any) -> int:
    """Reproduce the source paper's figures and judge its claims.

    Figures share runs; complete runs are skipped, unfinished ones resumed.
    """  # noqa: DOC501 - it is the command's help
    scale, console, out = _scale(options), make_console(), Path(options.pop("out"))
    if not figures:
        raise OptionError(f"name figures: {', '.join(FIGURES)}, or {ALL}, {LIST}, {CLAIMS}")
    for name in {LIST, CLAIMS} & set(figures):
        if len(figures) > 1 or options["dry_run"] or options["report"]:
            raise OptionError(f"{name} cannot be combined with a figure, --dry-run or --report")
    if figures == (LIST,):
        find_runs(_requests(FIGURES.values(), scale), out)  # checks all of them
        rows = [
            (name, len(figure.requests(scale)), len(figure.claims), figure.title)
            for name, figure in FIGURES.items()
        ]
        console.print(_table(("figure", "runs", "claims", "what it shows"), rows))
        return 0
    if figures == (CLAIMS,):
        _report(console, out, FIGURES.values())
        return 0
    for name in figures:
        check_name("figure", name, (*FIGURES, ALL))
    chosen = [figure for name, figure in FIGURES.items() if {name, ALL} & set(figures)]
    try:
        return _reproduce(console, chosen, scale, out, **options)
    except KeyboardInterrupt as error:
        again = shlex.join(sys.argv[1:]).removeprefix("reproduce ")
        error.args = (f"finished tasks are kept; continue with: {COMMAND} {again}",)
        raise


def _scale(options: dict[str, Any]) -> Scale:
    changes = shared.parse_settings(options.pop("set"), dict.fromkeys(LENGTHS, 1))
    images = {name: options.pop(name) for name in ("source", "data_dir")}
    changes |= {name: value for name, value in images.items() if value is not None}
    indicators = tuple(name.strip() for name in options.pop("indicators").split(",") if name.strip())
    for name in indicators:
        if ":" not in name:
            raise OptionError(
                f"--indicators '{name}': bundled indicators are always measured; give custom ones as file.py:function"
            )
    seeds = options.pop("seeds")
    listed = tuple(seeds) if isinstance(seeds, list) else seeds
    return Scale(options.pop("protocol"), listed, changes, options.pop("device"), indicators)


def _requests(figures: Iterable[Figure], scale: Scale) -> dict[tuple[str, Key], Request]:
    return {
        (figure.name, key): request for figure in figures for key, request in figure.requests(scale).items()
    }


def _reproduce(
    console: Console,
    figures: Collection[Figure],
    scale: Scale,
    out: Path,
    *,
    runs: str | None,
    workers: int | None,
    dry_run: bool,
    report: bool,
    accept_changes: bool,
    **_: object,
) -> int:
    folder = Path(runs) if runs else out / "runs"
    requests = _requests(figures, scale)
    known, left = find_runs(requests, folder, workers, measure=dry_run)
    needed = list({run.key: run for run in known.values()}.values())
    seeds, steps = sum(run.seeds for run in needed), sum(run.steps for run in needed)
    number = f"{len(needed)} run{'s' * (len(needed) != 1)}"
    console.print(f"{number} · {seeds} seeds in all · {steps:,} steps\n{left}")
    if dry_run:
        rows = [(run.label, run.seeds, run.status, run.folder.name) for run in needed]
        console.print(_table(("run", "seeds", "state", "folder"), rows))
        return 0
    failures: Mapping[str, str] = {}
    if not report:
        if not all(run.is_complete for run in needed):  # without images each of them would fail
            source = scale.changes.get("source", PROTOCOLS[scale.protocol].source)
            load_images(source, scale.changes.get("data_dir"))
        failures = run_missing(needed, folder, workers, accept_changes)
    known = find_runs(requests, folder)[0]
    made = []
    for figure in figures:
        made += make_figure(
            figure, {key: run for (name, key), run in known.items() if name == figure.name}, scale, out
        )
    for path in made:
        console.print(f"written: {path}")
    if made:
        _report(console, out, figures)
    elif report:
        raise OptionError(
            f"--report: '{folder}' has no finished run of {', '.join(figure.name for figure in figures)}"
        )
    if not failures:
        return 0
    failed = {run.label: run.folder / "failures.log" for run in needed if run.label in failures}
    lines = [f"error: {label}: {failures[label]} ({log})" for label, log in failed.items()]
    lines.append(f"{len(failures)} of {len(needed)} runs failed; the same command retries them")
    print("\n".join(lines), file=sys.stderr)
    return 1


def _report(console: Console, out: Path, figures: Iterable[Figure]) -> None:
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
    console.print(f"\n{count_verdicts(judgements)}\nwritten: {out / PAGE}")


def _table(titles: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    table = plain_table(titles)
    for row in rows:
        table.add_row(*map(str, row))
    return table

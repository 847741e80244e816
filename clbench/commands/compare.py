"""The command `clbench compare`."""

import itertools
from pathlib import Path

import click

from clbench.commands import options as shared
from clbench.errors import OptionError
from clbench.scoring import SCORES

SUFFIXES = (".png", ".pdf", ".svg")
EPILOG = """\b
examples:
  clbench compare results/RandomLabelMNIST-v0-quick-1
  clbench compare results/*-quick-* --reference agents.vanilla --out comparison.png
  clbench compare results --agent agents.l2 --agent agents.perlayer --csv comparison.csv

exit codes: 0 done; 1 a file could not be written; 2 nothing to compare
"""


@click.command("compare", epilog=EPILOG)
@click.argument("runs", nargs=-1, type=shared.PATH, metavar="RUN...")
@shared.together(
    shared.text("--agent", "compare only this agent; may be repeated", "NAME", multiple=True),
    shared.path("--reference", "compare with this entry (default: the first)", "RUN|AGENT"),
    shared.text("--score", f"{', '.join(SCORES)} (default: {SCORES[0]})", "NAME", default=SCORES[0]),
    shared.path("--out", f"write a figure ({', '.join(SUFFIXES)})", "FILE"),
    shared.path("--csv", "write the table, with all intervals", "FILE"),
    click.option(
        "--mix", is_flag=True, help="compare runs with different settings, over the tasks they share"
    ),
    shared.DEBUG,
)
def command(
    runs: tuple[str, ...],
    agent: tuple[str, ...],
    reference: str | None,
    score: str,
    out: str | None,
    csv: str | None,
    mix: bool,
    debug: bool,
) -> None:
    """Compare agents of one or several runs with a reference, paired by seed if they share seeds.

    RUN is a run folder or any parent folder. Runs of different streams, data or protocols are
    refused if they are named, and else left out; --mix compares them and marks the output "not the
    same".
    """  # noqa: DOC501 - it is the command's help
    from clbench.comparing import Entry, compare
    from clbench.plotting import as_bytes
    from clbench.plotting.isolation import optional
    from clbench.report import comparison as report
    from clbench.report.console import make_console
    from clbench.results import StoredRun, find_runs
    from clbench.results.files import write_text_whole, write_whole

    if not runs:
        raise OptionError("no run given: name at least one run folder (--help shows all options)")
    if out is not None and Path(out).suffix not in SUFFIXES:
        raise OptionError(f"--out '{out}': the name of a figure must end in {', '.join(SUFFIXES)}")
    found = [find_runs(given) for given in runs]
    stored: dict[tuple[Path, str], StoredRun] = {}
    for run in itertools.chain(*found):  # one that is named twice counts once
        stored.setdefault((run.folder.path.resolve(), run.agent), run)
    entries = [Entry.from_records(run.group, run.manifest, run.read_tasks()) for run in stored.values()]
    groups = [{run.group for run in each} for each in found]
    named = {group for each in groups if len(each) == 1 for group in each}
    comparison = compare(entries, reference, score, agent, mix, named)
    # Files first, since the reader of what is printed may stop early.
    if csv is not None:
        write_text_whole(Path(csv), report.frame(comparison).to_csv(index=False, lineterminator="\n"))
    notes = [f"note: {note}" for note in comparison.notes]
    written = [csv] if csv is not None else []
    if out is not None:
        kind = Path(out).suffix[1:]
        drawing = b""
        with optional(lambda text: notes.append(f"note: {text}"), f"no figure '{out}'"):
            drawing = as_bytes(report.figure(comparison), kind)
        if drawing:
            write_whole(Path(out), lambda path: path.write_bytes(drawing))
            written.append(out)
    console = make_console()
    console.print(comparison.title)
    console.print()
    console.print(report.table(comparison))
    console.print()
    for line in (*report.explanation(comparison), *notes, *(f"written: {name}" for name in written)):
        console.print(line)

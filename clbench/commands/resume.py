"""The command `clbench resume`."""

from pathlib import Path
from typing import Any

import click

from clbench.commands import options as shared

EPILOG = """\b
example:
  clbench resume results/RandomLabelMNIST-v0-quick-1

exit codes: see clbench evaluate --help
"""


@click.command("resume", epilog=EPILOG)
@click.argument("folder", type=shared.PATH, metavar="FOLDER")
@shared.together(
    shared.whole("--workers", "number of processes (default: as before)"),
    shared.path("--data-dir", "folder of the same images (default: as recorded)", "DIR"),
    shared.text("--log", "experiment trackers (default: as before; none turns them off)", "LIST"),
    shared.text("--figures", "formats of figures: png, pdf, svg, none (default: as before)", "LIST"),
    shared.PROFILE,
    shared.ACCEPT_CHANGES,
    shared.QUIET,
    shared.DEBUG,
)
def command(folder: str, **options: Any) -> int:
    """Resume the unfinished runs of the evaluation in FOLDER.

    On the same machine, results equal those of an uninterrupted run.
    """
    return resume(Path(folder), **options)


def resume(folder: Path, *, quiet: bool, debug: bool, **options: Any) -> int:
    """Resume the runs in a folder and print their results; return the exit code."""
    from clbench.api import resume_folder
    from clbench.commands.evaluate import report

    evaluation = resume_folder(folder, shown=not quiet, **options)
    return report(evaluation, quiet, debug)

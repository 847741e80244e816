"""The command `clbench list`."""

import click

from clbench.checks import check_choice
from clbench.commands import options as shared


@click.command("list")
@click.argument("what", required=False, metavar="[streams|protocols|agents]")
@shared.DEBUG
def command(what: str | None, debug: bool) -> None:
    """List streams, protocols and agents."""
    from clbench.report.console import make_console
    from clbench.report.tables import LISTS, print_list

    if what is not None:
        check_choice("list", what, LISTS)
    print_list(make_console(), what)

"""Consoles and cells that all tables share."""

import io
import math
import sys
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

UNLIMITED = 10_000
"""Columns of a file or a pipe."""
NARROWEST = 12
"""Columns that a text has at least beside numbers, which are never cut."""


def show_unknown_characters() -> None:
    """Let standard output, if it does not know a character such as "·", show "?" instead of raising an error."""
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        sys.stdout.reconfigure(errors="replace")


def make_console() -> "Console":
    """Return a console that prints text as it is: no markup, and lines are neither wrapped nor cut."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, force_jupyter=False)
    if not console.file.isatty():
        console.width = UNLIMITED
    return console


def is_live(console: "Console") -> bool:
    """Tell whether what a console shows can be changed afterwards."""
    forced = console.file is sys.stdout and not sys.stdout.isatty()  # FORCE_COLOR in a log
    return console.is_terminal and not console.is_dumb_terminal and not forced


def in_notebook() -> bool:
    """Tell whether this is a Jupyter kernel, whose front end shows what is displayed."""
    loaded = sys.modules.get("IPython")
    shell = loaded.get_ipython() if loaded is not None else None
    return getattr(shell, "kernel", None) is not None


def is_shown(progress: bool | None) -> bool:
    """Tell whether to show progress: as the user says; for None where somebody watches, a terminal or a notebook."""
    return in_notebook() or make_console().is_terminal if progress is None else progress


def plain_table(titles: Sequence[str], numbers: bool = False, texts: Collection[int] = (0,)) -> "Table":
    """Return an empty table without lines.

    Args:
        titles: of the columns.
        numbers: whether all columns but the texts are aligned at the right and never wrapped, however narrow the
            terminal is.
        texts: indices of the columns with texts.
    """
    from rich import measure, table

    class PlainTable(table.Table):
        def __rich_console__(self, console, options):  # type: ignore[no-untyped-def]
            unlimited, least = options.update(width=UNLIMITED), 0
            for column in self.columns:
                cells = [column.header, *column.cells]
                width = max(measure.Measurement.get(console, unlimited, cell).maximum for cell in cells)
                least += 2 + (width if column.no_wrap else min(width, NARROWEST))
            return super().__rich_console__(console, options.update(width=max(least, options.max_width)))

    grid = PlainTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, title in enumerate(titles):
        if numbers and index not in texts:
            grid.add_column(title, justify="right", no_wrap=True)
        else:
            grid.add_column(title, overflow="fold")
    return grid


def percent(share: float) -> str:
    """Return a share in whole percent.

    >>> percent(0.256)
    '26 %'
    """
    return f"{100 * share:.0f} %"


def short(value: float) -> str:
    """Return a number in three digits, "-" for NaN, and "none" for a bound that is infinite.

    >>> short(0.00098765), short(12.3456), short(math.inf), short(math.nan)
    ('0.000988', '12.3', 'none', '-')
    """
    if math.isnan(value):
        return "-"
    return "none" if math.isinf(value) else f"{value:.3g}"

"""Consoles and cells that all tables share."""

import math
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clbench.intervals import Estimate

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def make_console(wide: bool = False) -> "Console":
    """Return a console that prints text as it is.

    Args:
        wide: for tables: where no terminal sets a width, in a file or a pipe, nothing is cut off.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, force_jupyter=False)
    if wide and not console.is_terminal:
        console.width = 200
    return console


def in_notebook() -> bool:
    """Tell whether this is a Jupyter kernel, whose front end shows what is displayed."""
    loaded = sys.modules.get("IPython")
    shell = loaded.get_ipython() if loaded is not None else None
    return getattr(shell, "kernel", None) is not None


def interactive() -> bool:
    """Tell whether somebody watches: on a terminal, or in a notebook."""
    return in_notebook() or make_console().is_terminal


def plain_table(titles: Sequence[str], numbers: bool = False) -> "Table":
    """Return an empty table without lines.

    Args:
        titles: of the columns.
        numbers: whether all columns but the first are aligned at the right and never wrapped.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for index, title in enumerate(titles):
        if numbers and index:
            table.add_column(title, justify="right", no_wrap=True)
        else:
            table.add_column(title, overflow="fold")
    return table


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


def interval(estimate: Estimate) -> str:
    """Return mean and interval, or the mean alone for a single seed.

    >>> interval(Estimate(0.5, 0.4, 0.6)), interval(Estimate(0.5, float("nan"), float("nan")))
    ('0.500 [0.400, 0.600]', '0.500')
    """
    return str(estimate)

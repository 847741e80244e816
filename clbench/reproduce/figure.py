"""What a figure of the paper is: cells to run, numbers, a drawing, claims."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from clbench.reproduce.claims import Claim
from clbench.reproduce.frames import Frames, Key
from clbench.reproduce.scale import Scale
from clbench.sweeping.request import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, made anew.

    Attributes:
        name: as the command line has it.
        title: what it shows.
        by: names of what tells its cells apart.
        cells: from a scale to the cells that it needs, each as in a sweep file, under its place in `by`.
        data: from what the finished ones recorded to a tidy frame: its CSV file.
        draw: from that and a title to the drawing.
        claims: those that it carries.
        table: columns of its data that the report shows, with their intervals; none for no table.
    """

    name: str
    title: str
    by: tuple[str, ...]
    cells: Callable[[Scale], Mapping[Key, Settings]]
    data: Callable[[Frames], "pd.DataFrame"]
    draw: Callable[["pd.DataFrame", str], "Drawing"]
    claims: tuple[Claim, ...] = ()
    table: tuple[str, ...] = ()

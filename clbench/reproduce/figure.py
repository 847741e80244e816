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


DATA, SUMMARY, RUNS, PICTURE = ".csv", "-summary.csv", "-runs.csv", ".png"


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, made anew.

    Attributes:
        name: as the command line has it.
        title: what it shows.
        by: names of what tells its cells apart.
        cells: from a scale to the cells that it needs, each as in a sweep file, under its place in `by`.
        data: from what the finished ones recorded to a tidy frame with the run of each row: its CSV file.
        draw: from its numbers and a title to the drawing.
        claims: those that it carries, measured in its numbers.
        summary: from its data to its numbers, a CSV file of their own; without one they are the data.
        table: columns of its numbers that the report shows, with their intervals; none for no table.
    """

    name: str
    title: str
    by: tuple[str, ...]
    cells: Callable[[Scale], Mapping[Key, Settings]]
    data: Callable[[Frames], "pd.DataFrame"]
    draw: Callable[["pd.DataFrame", str], "Drawing"]
    claims: tuple[Claim, ...] = ()
    summary: Callable[["pd.DataFrame"], "pd.DataFrame"] | None = None
    table: tuple[str, ...] = ()

    @property
    def file(self) -> str:
        """The file of its numbers."""
        return f"{self.name}{SUMMARY}" if self.summary else f"{self.name}{DATA}"

"""A figure of the paper: runs it needs, numbers, drawing, claims."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure as Drawing

from studies.noise_curvature.claims import Claim
from studies.noise_curvature.frames import Frames, Key
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import Scale

DATA, SUMMARY, RUNS, PICTURE = ".csv", "-summary.csv", "-runs.csv", ".png"


@dataclass(frozen=True)
class Figure:
    """A figure of the paper, reproduced.

    Attributes:
        by: columns that tell its runs apart.
        requests: from a scale to the runs that it needs, by their values of `by`.
        data: from what the finished runs recorded to a tidy frame with the run of each row: its CSV file.
        summary: from its data to its numbers, a separate CSV file; without it the numbers are the data.
        table: columns of its numbers that the report shows with their intervals; none for no table.
    """

    name: str
    title: str
    by: tuple[str, ...]
    requests: Callable[[Scale], Mapping[Key, Request]]
    data: Callable[[Frames], pd.DataFrame]
    draw: Callable[[pd.DataFrame, str], Drawing]
    claims: tuple[Claim, ...] = ()
    summary: Callable[[pd.DataFrame], pd.DataFrame] | None = None
    table: tuple[str, ...] = ()

    @property
    def numbers_file(self) -> str:
        return f"{self.name}{SUMMARY if self.summary else DATA}"

    @property
    def label(self) -> str:
        """The paper's name for it: "Fig. 4 bottom" for "4-bottom"; capitalised if it is not in the paper."""
        first, _, second = self.name.partition("-")
        if not first.isdigit():
            return self.name.capitalize()
        return f"Figs. {self.name}" if second.isdigit() else f"Fig. {first} {second}".rstrip()

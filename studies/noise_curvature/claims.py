"""Figures and claims of the paper: what is drawn and measured for each, and the rule that gives the verdict."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.scoring import Estimate, estimate, last_tenth
from studies.noise_curvature.frames import Array, Frames, Key
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import Scale, length_name

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

HOLDS, PARTLY, FAILS, OPEN = "holds", "partly", "does not hold", "not yet measured"
AT_PAPER = ("paper",)
"""The protocol with the figures' tasks; at any other, published values cannot be matched."""
TOLERANCE = 0.05
"""Largest accepted distance from a published accuracy, which was read off a plot."""
UNKNOWN = Estimate(math.nan, math.nan, math.nan)
NOWHERE = "-"
DATA, SUMMARY, RUNS, PICTURE = ".csv", "-summary.csv", "-runs.csv", ".png"
"""What the names of a figure's files end in."""


@dataclass(frozen=True)
class Rule:
    """A claim holds if the whole interval lies between `low` and `high`, and partly if only the mean does.

    Without an interval, as with a single seed, it can hold partly at best.

    >>> rule = Rule(low=0)
    >>> rule.verdict(Estimate(0.2, 0.1, 0.3)), rule.verdict(Estimate(0.2, -0.1, 0.3)), str(rule)
    ('holds', 'partly', 'above 0')
    """

    low: float = -math.inf
    high: float = math.inf

    def verdict(self, value: Estimate) -> str:
        if not self.low < value.mean < self.high:
            return FAILS
        return HOLDS if self.low < value.low and value.high < self.high else PARTLY  # false for NaN

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"below {self.high:g}" if math.isinf(self.low) else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Measured:
    """A value, taken over `value.n` seeds or configurations, and a note on it."""

    value: Estimate = UNKNOWN
    note: str = ""


def over_seeds(values: Array, note: str = "") -> Measured:
    """Return the mean of numbers, one per seed, with its interval; `DataError` if none is finite."""
    values = values[np.isfinite(values)]
    if not len(values):
        raise DataError("what the claim is about did not occur")
    return Measured(estimate(values), note)


def several_tasks(accuracy: Array) -> Array:
    """Return accuracies `(seeds, tasks)`; `DataError` if there is one task only, which says nothing of a loss."""
    if accuracy.shape[1] < 2:
        raise DataError("there is one task only")
    return accuracy


def gain(accuracy: Array, reference: Array) -> Measured:
    """Return how much more accurate the first learner is in the end, seed by seed; both are `(seeds, tasks)`.

    The note has the difference in the first task: what differs already there is not trainability preserved.
    """
    difference = several_tasks(accuracy) - reference
    return over_seeds(last_tenth(difference), f"in the first task {difference[:, 0].mean():.3g}")


@dataclass(frozen=True)
class Claim:
    """A checkable statement of the paper.

    Attributes:
        quantity: what is measured for it, in words.
        measure: from the figure's numbers to that; raises `DataError` where it cannot be had.
        published: the value in the paper, read off its plots; NaN if it gives none.
        protocols: those at which it can be judged; none for all.
    """

    name: str
    place: str
    statement: str
    quantity: str
    measure: Callable[[pd.DataFrame], Measured]
    rule: Rule
    published: float = math.nan
    protocols: tuple[str, ...] = ()


def level_claim(
    name: str, place: str, statement: str, published: float, accuracy: Callable[[pd.DataFrame], Array]
) -> Claim:
    """Return the claim that runs end about as accurate as published; `accuracy` returns `(seeds, tasks)`."""
    quantity = "accuracy over the last tenth of tasks"
    rule = Rule(published - TOLERANCE, published + TOLERANCE)
    return Claim(
        name,
        place,
        statement,
        quantity,
        lambda data: over_seeds(last_tenth(accuracy(data))),
        rule,
        published,
        AT_PAPER,
    )


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
    draw: "Callable[[pd.DataFrame, str], Drawing]"
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


@dataclass(frozen=True)
class Judgement:
    """A claim with what was measured for it in the file `data` at a scale, and `HOLDS`, `PARTLY`, `FAILS` or `OPEN`."""

    claim: Claim
    measured: Measured = Measured()
    verdict: str = OPEN
    protocol: str = NOWHERE
    data: str = ""

    @property
    def row(self) -> dict[str, object]:
        claim, value = self.claim, self.measured.value
        return {
            **{"claim": claim.name, "place": claim.place, "statement": claim.statement},
            **{"published": claim.published, "ours": value.mean, "low": value.low, "high": value.high},
            **{"count": value.n, "quantity": claim.quantity, "rule": str(claim.rule)},
            **{
                "protocol": self.protocol,
                "verdict": self.verdict,
                "note": self.measured.note,
                "data": self.data,
            },
        }


def judge(claim: Claim, data: pd.DataFrame, protocol: str, file: str, missing: str = "") -> Judgement:
    """Return a claim measured in the numbers of a scale, and judged unless runs of the figure are `missing`."""
    verdict = OPEN
    try:
        measured = claim.measure(data)
    except DataError as error:
        measured = Measured(note=str(error))
    else:
        if claim.protocols and length_name(protocol) not in claim.protocols:
            measured = replace(measured, note=f"judged at {' or '.join(claim.protocols)} only")
        elif not missing and not math.isnan(measured.value.mean):
            verdict = claim.rule.verdict(measured.value)
    note = "; ".join(filter(None, [missing, measured.note]))
    return Judgement(claim, replace(measured, note=note), verdict, protocol, file)

"""Claims of the paper: what is measured for each, and by which rule that is judged."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from clbench.errors import DataError
from clbench.reproduce.scale import length_of
from clbench.scoring import Estimate, estimate, last_tenth

if TYPE_CHECKING:
    import pandas as pd

HOLDS, PARTLY, FAILS, OPEN = "holds", "partly", "does not hold", "not yet measured"
AT_PAPER = ("paper",)
"""The protocol whose tasks are those of the figures; numbers of others are no match for published ones."""
TOLERANCE = 0.05
"""How far from a published accuracy ours may lie: that was read off a plot."""


@dataclass(frozen=True)
class Rule:
    """A claim holds if our interval lies between `low` and `high`; partly if only the mean does.

    Without an interval, as of a single seed, it can hold partly at best.

    >>> rule = Rule(low=0)
    >>> rule.verdict(Estimate(0.2, 0.1, 0.3)), rule.verdict(Estimate(0.2, -0.1, 0.3)), str(rule)
    ('holds', 'partly', 'above 0')
    """

    low: float = -math.inf
    high: float = math.inf

    def verdict(self, value: Estimate) -> str:
        """Return the verdict on an estimate; the ends themselves are not between."""
        if not self.low < value.mean < self.high:
            return FAILS
        return HOLDS if self.low < value.low and value.high < self.high else PARTLY  # false for NaN

    def __str__(self) -> str:
        """In words."""
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"below {self.high:g}" if math.isinf(self.low) else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Measured:
    """What was measured for a claim.

    Attributes:
        value: mean and interval.
        count: how many the interval is taken over.
        note: what else one should know.
    """

    value: Estimate
    count: int
    note: str = ""


def over_seeds(values: np.ndarray, note: str = "") -> Measured:
    """Return the mean of numbers, one per seed, with its interval over seeds.

    Raises:
        DataError: they are not numbers, since what they are about did not occur.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        raise DataError("what the claim is about did not occur")
    return Measured(estimate(values), len(values), note)


def gain(accuracy: np.ndarray, reference: np.ndarray) -> Measured:
    """Return how much more accurate one is in the end than the other, seed by seed; both are `(seeds, tasks)`.

    The note has the same in the first task: what differs there already is not trainability kept.
    """
    more = accuracy - reference
    return over_seeds(last_tenth(more), f"in the first task {more[:, 0].mean():.3g}")


@dataclass(frozen=True)
class Claim:
    """A checkable statement of the paper.

    Attributes:
        name: unique.
        place: where in the paper.
        statement: what it says, in our words.
        quantity: what is measured for it.
        measure: from the figure's data to that; raises `DataError` if it cannot be had.
        rule: which values make it hold.
        published: the value in the paper, as far as it gives one; read off its plots.
        protocols: those at which it can be judged; none for all.
    """

    name: str
    place: str
    statement: str
    quantity: str
    measure: Callable[["pd.DataFrame"], Measured]
    rule: Rule
    published: float | None = None
    protocols: tuple[str, ...] = ()


@dataclass(frozen=True)
class Judgement:
    """A row of claims.csv.

    Attributes:
        claim, place, statement, quantity, published, rule: the claim's.
        protocol: at which it was measured, "-" if at none.
        ours, low, high: our value and its interval; NaN without one.
        count: how many the interval is taken over, seeds or configurations.
        verdict: one of four.
        note: what else one should know.
        data: the file that the value is computed from.
    """

    claim: str
    place: str
    statement: str
    published: float
    ours: float
    low: float
    high: float
    count: int
    quantity: str
    rule: str
    protocol: str
    verdict: str
    note: str
    data: str


def judge(claim: Claim, data: "pd.DataFrame | None", protocol: str, file: str, lacks: str = "") -> Judgement:
    """Measure a claim in a figure's data, None for none, and judge it, unless the figure lacks runs.

    Args:
        claim: to judge.
        data: of its figure.
        protocol: name of the scale, see `clbench.reproduce.scale.Scale.name`.
        file: that the data come from.
        lacks: which runs are missing, in words.
    """
    found, verdict = Measured(Estimate(math.nan, math.nan, math.nan), 0), OPEN
    if data is not None:
        try:
            found = claim.measure(data)
        except DataError as error:
            found = Measured(found.value, 0, str(error))
        else:
            if claim.protocols and length_of(protocol) not in claim.protocols:
                found = replace(found, note=f"judged at {' or '.join(claim.protocols)} only")
            elif not lacks:
                verdict = claim.rule.verdict(found.value)
        if lacks:
            found = replace(found, note=f"{lacks}; {found.note}" if found.note else lacks)
    return Judgement(
        claim=claim.name,
        place=claim.place,
        statement=claim.statement,
        published=math.nan if claim.published is None else claim.published,
        ours=found.value.mean,
        low=found.value.low,
        high=found.value.high,
        count=found.count,
        quantity=claim.quantity,
        rule=f"{claim.rule}",
        protocol=protocol,
        verdict=verdict,
        note=found.note,
        data=file,
    )

"""Claims of the paper: what is measured for each, and the rule that gives the verdict."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.scoring import Estimate, estimate, last_tenth
from studies.noise_curvature.frames import Array
from studies.noise_curvature.scale import length_name

HOLDS, PARTLY, FAILS, OPEN = "holds", "partly", "does not hold", "not yet measured"
AT_PAPER = ("paper",)
"""The protocol with the figures' tasks; at any other, published values cannot be matched."""
TOLERANCE = 0.05
"""Largest accepted distance from a published accuracy, which was read off a plot."""
UNKNOWN = Estimate(math.nan, math.nan, math.nan)


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
        """Return the verdict on an estimate; `low` and `high` themselves are outside."""
        if not self.low < value.mean < self.high:
            return FAILS
        return HOLDS if self.low < value.low and value.high < self.high else PARTLY  # false for NaN

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"above {self.low:g}"
        return f"below {self.high:g}" if math.isinf(self.low) else f"from {self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Measured:
    """What was measured for a claim.

    Attributes:
        value: mean and interval.
        count: seeds or configurations that the interval is taken over.
        note: anything else worth knowing.
    """

    value: Estimate
    count: int
    note: str = ""


def over_seeds(values: Array, note: str = "") -> Measured:
    """Return the mean of numbers, one per seed, with its interval over seeds.

    Raises:
        DataError: no number is finite, because what they describe did not occur.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        raise DataError("what the claim is about did not occur")
    return Measured(estimate(values), len(values), note)


def gain(accuracy: Array, reference: Array) -> Measured:
    """Return how much more accurate the first learner is in the end, seed by seed; both are `(seeds, tasks)`.

    The note has the difference in the first task: what differs already there is not trainability preserved.
    """
    difference = accuracy - reference
    return over_seeds(last_tenth(difference), f"in the first task {difference[:, 0].mean():.3g}")


@dataclass(frozen=True)
class Claim:
    """A checkable statement of the paper.

    Attributes:
        name: unique.
        place: where in the paper.
        statement: what it says, in our words.
        quantity: what is measured for it.
        measure: from the figure's numbers to that; raises `DataError` where it cannot be had.
        rule: which values make it hold.
        published: the value in the paper, read off its plots, if it gives one.
        protocols: those at which it can be judged; none for all.
    """

    name: str
    place: str
    statement: str
    quantity: str
    measure: Callable[[pd.DataFrame], Measured]
    rule: Rule
    published: float | None = None
    protocols: tuple[str, ...] = ()


def level_claim(
    name: str, place: str, statement: str, published: float, accuracy: Callable[[pd.DataFrame], Array]
) -> Claim:
    """Return the claim that runs end about as accurate as published; `accuracy` returns `(seeds, tasks)`."""
    return Claim(
        name,
        place,
        statement,
        "accuracy over the last tenth of tasks",
        lambda data: over_seeds(last_tenth(accuracy(data))),
        Rule(published - TOLERANCE, published + TOLERANCE),
        published,
        AT_PAPER,
    )


@dataclass(frozen=True)
class Judgement:
    """A row of claims.csv.

    Attributes:
        claim, place, statement, quantity, published, rule: the claim's.
        protocol: name of the scale at which it was measured, "-" if at none.
        ours, low, high: our value and its interval; NaN without one.
        count: seeds or configurations that the interval is taken over.
        verdict: `HOLDS`, `PARTLY`, `FAILS` or `OPEN`.
        note: anything else worth knowing.
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


def judge(claim: Claim, data: pd.DataFrame | None, protocol: str, file: str, missing: str = "") -> Judgement:
    """Return a claim measured in a figure's numbers, and judged unless runs of the figure are missing.

    Args:
        claim: to judge.
        data: the figure's numbers; None if there are none.
        protocol: name of the scale that they were made at.
        file: that they come from.
        missing: which runs are missing, in words.
    """
    measured, verdict = Measured(UNKNOWN, 0), OPEN
    if data is not None:
        try:
            measured = claim.measure(data)
        except DataError as error:
            measured = Measured(UNKNOWN, 0, str(error))
        else:
            if claim.protocols and length_name(protocol) not in claim.protocols:
                measured = replace(measured, note=f"judged at {' or '.join(claim.protocols)} only")
            elif not missing:
                verdict = claim.rule.verdict(measured.value)
        measured = replace(measured, note="; ".join(filter(None, [missing, measured.note])))
    return Judgement(
        claim=claim.name,
        place=claim.place,
        statement=claim.statement,
        published=math.nan if claim.published is None else claim.published,
        ours=measured.value.mean,
        low=measured.value.low,
        high=measured.value.high,
        count=measured.count,
        quantity=claim.quantity,
        rule=f"{claim.rule}",
        protocol=protocol,
        verdict=verdict,
        note=measured.note,
        data=file,
    )

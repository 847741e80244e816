"""Indicators of old runs as they are recorded today."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from clbench.records import IndicatorRecord

if TYPE_CHECKING:
    import pandas as pd

NO_BOUND = 1e30
"""A bound above it stood for none, the largest float32, or was the median of that and another."""

OF_LIVING = ("noise_bound", "combined_bound")
BOUNDS = (*OF_LIVING, "volatility_bound")


def definitions_of(facts: Mapping[str, Any]) -> int:
    """Return the number of the definitions that a run began with, `indicator_definitions` of its run.json."""
    number: int = facts.get("indicator_definitions", 1)
    return number


def modernized(records: Iterable[IndicatorRecord], facts: Mapping[str, Any]) -> list[IndicatorRecord]:
    """Return a run's indicators with NaN for the bounds of dead layers and `inf` for no bound.

    Until the second of the definitions a bound was 0 where the layer was dead, and the largest number where nothing
    bound. The shares `rho` and `*_violations` stay as they were recorded: there a dead layer counts as above its
    noise and its combined bound. With `unbiased=true` a bound of 0 may also be that of mere noise: it stays.

    Args:
        records: of indicators.csv.
        facts: run.json's content.
    """
    if definitions_of(facts) > 1:
        return list(records)
    agents = facts.get("spec", {}).get("agents", ())
    unbiased = {agent["name"] for agent in agents if agent.get("arguments", {}).get("unbiased")}
    return [
        replace(one, value=_bound(one.indicator, one.value, one.agent not in unbiased))
        if one.indicator in BOUNDS
        else one
        for one in records
    ]


def _bound(indicator: str, value: float, zero_is_dead: bool) -> float:
    if value > NO_BOUND:
        return math.inf
    return math.nan if value == 0 and zero_is_dead and indicator in OF_LIVING else value


def modernized_frame(data: "pd.DataFrame") -> "pd.DataFrame":
    """Return a table of bounds with NaN and `inf` ditto; its columns are those of records, or one per indicator.

    No kept table has bounds from which the noise was taken off.
    """
    data = data.copy()
    for name in BOUNDS:
        column = "value" if "indicator" in data else name
        if column in data:
            own = data["indicator"] == name if "indicator" in data else data[name].notna()
            values = data.loc[own, column]
            data.loc[own, column] = [_bound(name, value, True) for value in values]
    return data

"""Indicators of old runs as they are recorded today."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from clbench.records import IndicatorRecord

NO_BOUND = 1e30
"""A bound above it stood for none, the largest float32, or was the median of that and another."""

OF_GRADIENT = ("noise_bound", "combined_bound")
BOUNDS = (*OF_GRADIENT, "volatility_bound")


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
    found = list(records)
    if definitions_of(facts) > 1:
        return found
    agents = facts.get("spec", {}).get("agents", ())
    unbiased = {agent["name"] for agent in agents if agent.get("arguments", {}).get("unbiased")}
    dead = {
        _place(one)
        for one in found
        if one.indicator in OF_GRADIENT and one.value == 0 and one.agent not in unbiased
    }

    def bound(one: IndicatorRecord) -> float:
        if _place(one) in dead:
            return math.nan
        return math.inf if one.value > NO_BOUND else one.value

    return [replace(one, value=bound(one)) if one.indicator in BOUNDS else one for one in found]


def _place(one: IndicatorRecord) -> tuple[str, int, int, int, str]:
    return one.agent, one.seed, one.task, one.step, one.layer

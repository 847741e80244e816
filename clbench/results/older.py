"""Older runs as they are recorded today: `run.json` of schema 1, and indicators of older definitions."""

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

from clbench.records import IndicatorRecord
from clbench.results.manifest import RunManifest

NO_BOUND = 1e30
"""A bound above this meant that there was none: it was the largest float32, or the median of that and another."""

GRADIENT_BOUNDS = ("noise_bound", "combined_bound")
BOUNDS = (*GRADIENT_BOUNDS, "volatility_bound")


def upgrade(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON data of schema 2 for a `run.json` of schema 1: one manifest for each of its agents."""
    spec, sweep, timing = data["spec"], data.get("sweep"), data.get("timing") or {}
    workers = {"workers": spec.get("workers", 1), **(data.get("division") or {})}
    batched = len(spec["agents"]) if workers.get("together") else 1
    known = {item.name for item in fields(RunManifest)}
    shared = {name: value for name, value in data.items() if name in known and value is not None}
    shared["data"] = data.get("data") or {}
    shared["stream_source"] = data.get("stream") or {}
    if sweep is not None:
        shared["sweep"], batched = (
            {key: value for key, value in sweep.items() if key != "stack"},
            sweep.get("stack", 1),
        )
    manifests = []
    for position, agent in enumerate(spec["agents"]):
        name = agent["name"]
        manifests.append(
            {
                **shared,
                "config": {**spec, "agent": agent},
                "position": position,
                "workers": workers["workers"],
                "jobs": workers.get("parts", 1),
                "batched_runs": batched,
                "agent_source": (data.get("agents") or {}).get(name, {}),
                "timing": {**timing, "steps_per_second": timing.get("steps_per_second", {}).get(name)},
                "failures": [failure for failure in data.get("failures", ()) if failure["agent"] == name],
                "undefined_indicators": data.get("undefined_indicators", {}).get(name, {}),
            }
        )
    return manifests


def convert_indicators(
    records: Iterable[IndicatorRecord], definitions: int, unbiased: Collection[str] = ()
) -> list[IndicatorRecord]:
    """Return a run's indicators with NaN for the bounds of dead layers and `inf` for no bound.

    In the first definitions a bound was 0 where the layer was dead, and the largest number where nothing bounded. The
    shares `rho` and `*_violations` stay as they were recorded: they count a dead layer as above its noise and its
    combined bound. A bound of 0 stays for the agents in `unbiased`: with `unbiased=true` it may be that of mere noise.
    """
    records = list(records)
    if definitions > 1:
        return records
    dead = {
        _measurement(record)
        for record in records
        if record.indicator in GRADIENT_BOUNDS and record.value == 0 and record.agent not in unbiased
    }

    def bound(record: IndicatorRecord) -> float:
        if _measurement(record) in dead:
            return math.nan
        return math.inf if record.value > NO_BOUND else record.value

    return [
        replace(record, value=bound(record)) if record.indicator in BOUNDS else record for record in records
    ]


def _measurement(record: IndicatorRecord) -> tuple[str, int, int, int, str]:
    return record.agent, record.seed, record.task, record.step, record.layer

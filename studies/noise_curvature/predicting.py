"""How well indicators predict loss of trainability, over many configurations. Pure.

An alarm is a value of an indicator that announces a fall of accuracy. Its direction and threshold are chosen on half of
the configurations and judged on the other half, both ways round, in several splits, the same for all indicators.
Intervals are percentiles over resampled configurations, each with all its seeds; the alarms stay as they were chosen.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import pandas as pd

from clbench.indicators import WHOLE
from studies.noise_curvature.alarms import Configuration, Judged, Split, cross_validated
from studies.noise_curvature.frames import ACCURACY, Array, Frames, per_task
from studies.noise_curvature.statistics import (
    RESAMPLES,
    Indices,
    area_under_roc,
    finite_mean,
    flat,
    resampled,
    spearman,
)

SCORES = ("correlation", "within_runs", "auc", "auc_within", "auc_between", "lead", "false_alarms")
AHEAD = "ahead"
KEYS = ("run", "seed", "task")
COUNTS = ("configurations", "cases", "events", "falling_runs", "lead_possible")
COLUMNS = (
    *("indicator", "alarm_when", *COUNTS),
    *(f"{name}{end}" for name in (*SCORES, AHEAD) for end in ("", "_low", "_high")),
)


def area(splits: Sequence[Split], values: Callable[[Judged], Array] = lambda judged: judged.values) -> float:
    """Return the area under the curve, mean over halves and splits; halves without an alarm are left out."""
    areas = []
    for split in splits:
        for half in (0, 1):
            members = [judged for judged in split if judged.half == half and judged.alarm.direction]
            falls = flat([judged.falls for judged in members])
            areas.append(area_under_roc(flat([values(judged) for judged in members]), falls == 1))
    return finite_mean(areas)


def scores(splits: Sequence[Split]) -> Array:
    configurations = [judged.configuration for judged in splits[0]]
    everyone = [judged for split in splits for judged in split]
    values, following = zip(*(configuration.following for configuration in configurations), strict=True)
    return np.array([
        spearman(flat(values), flat(following)),
        finite_mean([configuration.correlation for configuration in configurations]),
        area(splits),
        finite_mean([judged.area for judged in everyone]),
        area(splits, lambda judged: judged.medians),
        finite_mean([judged.lead for judged in everyone]),
        finite_mean(flat([judged.false_alarms for judged in everyone if judged.alarm.direction])),
    ])  # fmt: skip


def predict(configurations: Sequence[Configuration], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return an indicator's row: `SCORES`, each with the ends of its interval, and what they are based on."""
    splits = cross_validated(configurations)
    ends = resampled(len(configurations), lambda drawn: scores(_drawn(splits, drawn)), resamples)
    directions = {judged.alarm.direction for split in splits for judged in split} - {0}
    measured = [configuration for configuration in configurations if configuration.is_measured]
    row: dict[str, Any] = {
        "alarm_when": {1: "high", -1: "low"}[directions.pop()] if len(directions) == 1 else "halves differ",
        "configurations": len(measured),
        "cases": sum(len(configuration.cases[1]) for configuration in measured),
        "events": sum(int(configuration.cases[1].sum()) for configuration in measured),
        "falling_runs": sum(len(configuration.falls) for configuration in measured),
        "lead_possible": finite_mean([configuration.longest_lead for configuration in measured]),
    }
    for name, score, low, high in zip(SCORES, scores(splits), *ends, strict=True):
        row |= {name: score, f"{name}_low": low, f"{name}_high": high}
    return row


def advantage(
    configurations: Sequence[Configuration], rivals: Sequence[Configuration], resamples: int
) -> dict[str, float]:
    """Return how far an indicator's area exceeds a rival's where both were measured, with its interval."""
    pairs = zip(configurations, rivals, strict=True)
    both = [pair for pair in pairs if pair[0].is_measured and pair[1].is_measured]
    if len(both) < 2:
        return {}
    splits, rival_splits = (cross_validated(group) for group in zip(*both, strict=True))

    def difference(drawn: Indices) -> Array:
        return np.array([area(_drawn(splits, drawn)) - area(_drawn(rival_splits, drawn))])

    low, high = resampled(len(both), difference, resamples)[:, 0]
    return {AHEAD: difference(np.arange(len(both)))[0], f"{AHEAD}_low": low, f"{AHEAD}_high": high}


def _drawn(splits: Sequence[Split], indices: Indices) -> list[Split]:
    return [[split[index] for index in indices] for split in splits]


def rank_indicators(data: pd.DataFrame, singles: Collection[str], resamples: int = RESAMPLES) -> pd.DataFrame:
    """Return a row per indicator, best first: how well it predicts, see `predict`, and how far it is ahead.

    Task accuracy is among them, as the indicator to beat; indicators of a single configuration are left out. Every one
    that is not among the `singles` is compared with the best of these.
    """
    measured = {
        name: configurations
        for name, configurations in _configurations(data).items()
        if sum(configuration.is_measured for configuration in configurations) > 1
    }
    rows = {name: predict(configurations, resamples) for name, configurations in measured.items()}
    rivals = [name for name in rows if name in singles and np.isfinite(rows[name]["auc"])]
    if rivals:
        best = max(rivals, key=lambda name: float(rows[name]["auc"]))
        for name in rows.keys() - set(singles):
            rows[name] |= advantage(measured[name], measured[best], resamples)
    table = pd.DataFrame([{"indicator": name, **row} for name, row in rows.items()], columns=COLUMNS)
    ranked: pd.DataFrame = table.sort_values("auc", ascending=False, ignore_index=True)
    return ranked


def indicator_table(frames: Frames) -> pd.DataFrame:
    """Return a row per configuration, run, seed and task, a column per indicator and one of task accuracy.

    An indicator's value is that of the whole network, or else the median over layers. Of several records in a task, as
    of a scheduler's decisions, it is the median; everything else was measured on the task's last batch.
    """
    data = per_task(frames)
    whole = data["layer"] == WHOLE
    rows = data[whole | ~data["indicator"].isin(data.loc[whole, "indicator"].unique())]
    table: pd.DataFrame = rows.pivot_table(
        index=[*frames.by, *KEYS], columns="indicator", values="value", aggfunc="median", sort=False
    )
    table = table.rename_axis(columns=None).reset_index()
    return table


def _configurations(data: pd.DataFrame) -> dict[str, list[Configuration]]:
    by_indicator: dict[str, list[Configuration]] = {}
    for _, rows in data.groupby("configuration", sort=False):
        tables = rows.drop(columns=["configuration", "run"]).pivot_table(
            index="seed", columns="task", dropna=False
        )
        accuracy = tables[ACCURACY].to_numpy(float)
        for name in data.columns.drop(["configuration", *KEYS]):
            value = tables[name].to_numpy(float) if name in tables else np.full(accuracy.shape, np.nan)
            by_indicator.setdefault(str(name), []).append(Configuration(value, accuracy))
    return by_indicator

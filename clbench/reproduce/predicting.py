"""How well an indicator predicts loss of trainability, over many configurations. Pure.

Direction and threshold of an alarm are chosen on one half of the configurations and judged on the other, both ways
round; intervals are of resampled configurations, each with all its seeds, the choices kept.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.indicators import WHOLE
from clbench.reproduce.frames import ACCURACY, Frames, per_task
from clbench.reproduce.statistics import (
    RESAMPLES,
    area_under_roc,
    best_threshold,
    falls_ahead,
    first_fall,
    resampled,
    spearman,
)

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = ("correlation", "auc", "lead", "false_alarms")
COLUMNS = (
    *("indicator", "alarm_when", "configurations", "cases", "falling_runs"),
    *(f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")),
)


@dataclass(frozen=True)
class Configuration:
    """What an indicator was in all tasks of all seeds of a configuration, and what came of it.

    Attributes:
        value: of the indicator, `(seeds, tasks)`; NaN where it was not measured.
        accuracy: of the tasks, ditto.
    """

    value: np.ndarray
    accuracy: np.ndarray

    def cases(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return value, the next task's accuracy, and whether accuracy falls within three tasks, one after another."""
        following = np.full(self.accuracy.shape, np.nan)
        following[:, :-1] = self.accuracy[:, 1:]
        falls = np.array([falls_ahead(run) for run in self.accuracy])
        return self.value.ravel(), following.ravel(), falls.ravel()


@dataclass(frozen=True)
class Alarm:
    """When an indicator gives alarm.

    Attributes:
        direction: 1 if high values do, -1 if low ones.
        threshold: least of direction * value that does; NaN if none could be chosen.
    """

    direction: int
    threshold: float

    def lead(self, value: np.ndarray, accuracy: np.ndarray) -> float:
        """Return by how many tasks the first alarm comes before the first fall: 0 for none, NaN if nothing falls."""
        fall = first_fall(accuracy)
        if fall is None or np.isnan(self.threshold):
            return float("nan")
        alarms = np.flatnonzero(self.direction * value[:fall] >= self.threshold)
        return float(fall - alarms[0]) if len(alarms) else 0.0


@dataclass(frozen=True)
class Judged:
    """A configuration's cases, and what an alarm chosen elsewhere does on them."""

    value: np.ndarray
    following: np.ndarray
    falls: np.ndarray
    leads: np.ndarray
    alarm: Alarm


def choose(configurations: Sequence[Configuration]) -> Alarm:
    """Return the alarm that is best on configurations: first its direction, by the area under the curve."""
    value, _, falls = (
        np.concatenate(own) for own in zip(*(one.cases() for one in configurations), strict=True)
    )
    known = np.isfinite(value) & np.isfinite(falls)
    value, falls = value[known], falls[known] == 1
    area = area_under_roc(value, falls)
    if np.isnan(area):
        return Alarm(1, float("nan"))
    direction = 1 if area >= 0.5 else -1
    return Alarm(direction, best_threshold(direction * value, falls))


def predict(configurations: Sequence[Configuration], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return a row of the table: `NUMBERS`, each with the ends of its interval, and what they are based on.

    Args:
        configurations: at least two; every other one is in the one half.
        resamples: of the bootstrap.
    """
    halves = [configurations[::2], configurations[1::2]]
    alarms = [choose(half) for half in halves]
    judged = [
        [
            Judged(
                *one.cases(),
                np.array([alarm.lead(*run) for run in zip(one.value, one.accuracy, strict=True)]),
                alarm,
            )
            for one in half
        ]
        for half, alarm in zip(halves, reversed(alarms), strict=True)
    ]
    numbers, ends = _numbers(judged), resampled(judged, _numbers, resamples)
    row: dict[str, Any] = {
        "alarm_when": {2: "high", -2: "low", 0: "halves differ"}[sum(alarm.direction for alarm in alarms)],
        "configurations": len(configurations),
        "cases": sum(int(np.isfinite(one.value).sum()) for one in configurations),
        "falling_runs": sum(int(np.isfinite(one.leads).sum()) for half in judged for one in half),
    }
    for name, number, low, high in zip(NUMBERS, numbers, *ends, strict=True):
        row |= {name: number, f"{name}_low": low, f"{name}_high": high}
    return row


def _numbers(halves: Sequence[Sequence[Judged]]) -> np.ndarray:
    everything = [one for half in halves for one in half]
    value, following = (
        np.concatenate([getattr(one, name) for one in everything]) for name in ("value", "following")
    )
    known = np.isfinite(value) & np.isfinite(following)
    leads = np.concatenate([one.leads for one in everything])
    areas, false = [], []
    for half in halves:
        alarm = half[0].alarm
        signed = alarm.direction * np.concatenate([one.value for one in half])
        falls = np.concatenate([one.falls for one in half])
        both = np.isfinite(signed) & np.isfinite(falls)
        areas.append(
            area_under_roc(signed[both], falls[both] == 1) if np.isfinite(alarm.threshold) else np.nan
        )
        false.append(signed[both & (falls == 0)] >= alarm.threshold)
    return np.array(
        [spearman(value[known], following[known]), _mean(areas), _mean(leads), _mean(np.concatenate(false))]
    )


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def predictors(frames: Frames, resamples: int = RESAMPLES) -> "pd.DataFrame":
    """Return a row per indicator, best first: how well it predicts, see `predict`.

    An indicator's value in a task is that of the whole network, or else the median over layers, the median over what
    was recorded in the task. Task accuracy is among them: what the others must do better than. Indicators that fewer
    than two configurations have are left out.
    """
    import pandas as pd

    data = per_task(frames)
    rows = [
        {"indicator": name, **predict(configurations, resamples)}
        for name, configurations in by_indicator(data, list(frames.by))
        if len(configurations) > 1
    ]
    return pd.DataFrame(rows, columns=COLUMNS).sort_values("auc", ascending=False, ignore_index=True)


def by_indicator(data: "pd.DataFrame", by: list[str]) -> Iterator[tuple[str, list[Configuration]]]:
    """Yield each indicator with the configurations that have it, in their order in `data`."""
    order = list(dict.fromkeys(zip(*(data[name] for name in by), strict=True)))
    accuracy = _by_run(data[data["indicator"] == ACCURACY], by)
    for name, found in data.groupby("indicator", sort=False):
        whole = found[found["layer"] == WHOLE]
        values = _by_run(whole if len(whole) else found, by).reindex(accuracy.index, columns=accuracy.columns)
        configurations = [
            Configuration(values.loc[key].to_numpy(float), accuracy.loc[key].to_numpy(float)) for key in order
        ]
        yield str(name), [one for one in configurations if np.isfinite(one.value).any()]


def _by_run(data: "pd.DataFrame", by: list[str]) -> "pd.DataFrame":
    return data.pivot_table(index=[*by, "seed"], columns="task", values="value", aggfunc="median")

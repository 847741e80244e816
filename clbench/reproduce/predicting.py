"""How well an indicator predicts loss of trainability, over many configurations. Pure.

Direction and threshold of an alarm are chosen on one half of the configurations and judged on the other, both ways
round, in several splits, the same for all indicators. Intervals are of resampled configurations, each with all its
seeds, the choices kept.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.indicators import WHOLE
from clbench.reproduce.frames import ACCURACY, Frames, per_task
from clbench.reproduce.statistics import (
    RESAMPLES,
    WITHIN,
    area_under_roc,
    best_threshold,
    falls_ahead,
    first_fall,
    resampled,
    spearman,
)

if TYPE_CHECKING:
    import pandas as pd

SPLITS = 5
NUMBERS = ("correlation", "within_runs", "auc", "auc_within", "auc_between", "lead", "false_alarms")
AHEAD = "ahead"
KEYS = ("run", "seed", "task")
COUNTS = ("configurations", "cases", "events", "falling_runs", "lead_possible")
COLUMNS = (
    *("indicator", "alarm_when", *COUNTS),
    *(f"{name}{end}" for name in (*NUMBERS, AHEAD) for end in ("", "_low", "_high")),
)


@dataclass(frozen=True, eq=False)
class Configuration:
    """What an indicator was in all tasks of all seeds of a configuration, and what came of it.

    Attributes:
        value: of the indicator, `(seeds, tasks)`; NaN where it was not measured, `inf` for no bound.
        accuracy: of the tasks, ditto.
    """

    value: np.ndarray
    accuracy: np.ndarray

    @property
    def known(self) -> bool:
        """Whether the indicator was measured at all."""
        return bool((~np.isnan(self.value)).any())

    @cached_property
    def cases(self) -> tuple[np.ndarray, np.ndarray]:
        """Values, and whether accuracy falls within three tasks: 1 or 0; one after another, the known ones."""
        value, falls = self.value.ravel(), np.array([falls_ahead(run) for run in self.accuracy]).ravel()
        known = ~np.isnan(value) & np.isfinite(falls)
        return value[known], falls[known]

    @cached_property
    def following(self) -> tuple[np.ndarray, np.ndarray]:
        """Values, and the accuracy of the next task; ditto."""
        value, following = self.value[:, :-1].ravel(), self.accuracy[:, 1:].ravel()
        known = ~np.isnan(value) & np.isfinite(following)
        return value[known], following[known]

    @cached_property
    def within_runs(self) -> float:
        """Rank correlation with the next task's accuracy, mean over runs."""
        pairs = zip(self.value[:, :-1], self.accuracy[:, 1:], strict=True)
        return _mean([spearman(one[~np.isnan(one)], other[~np.isnan(one)]) for one, other in pairs])

    @cached_property
    def falls(self) -> list[int]:
        """The first task that falls, of each run that has one."""
        return [fall for run in self.accuracy if (fall := first_fall(run)) is not None]

    @property
    def longest_lead(self) -> float:
        """How long a lead can be: tasks before the first fall, three at most; mean over the runs that fall."""
        return _mean([min(WITHIN, fall) for fall in self.falls])


@dataclass(frozen=True)
class Alarm:
    """When an indicator gives alarm.

    Attributes:
        direction: 1 if high values do, -1 if low ones, 0 if that could not be told for want of falls.
        threshold: least of direction * value that does.
    """

    direction: int
    threshold: float = float("nan")

    def lead(self, value: np.ndarray, accuracy: np.ndarray) -> float:
        """Return for how many tasks just before the first fall the alarm was on, of three.

        NaN if nothing falls, or nothing was measured in these tasks.
        """
        fall = first_fall(accuracy)
        before = value[max(0, (fall or 0) - WITHIN) : fall]
        if fall is None or not self.direction or np.isnan(before).all():
            return float("nan")
        silent = ~(self.direction * before >= self.threshold)
        return float(np.argmax(silent[::-1]) if silent.any() else len(silent))


@dataclass(frozen=True, eq=False)
class Judged:
    """A configuration, and what an alarm chosen elsewhere does on it.

    Attributes:
        of: the configuration.
        half: 0 or 1, which one it is in.
        alarm: chosen on the other half.
    """

    of: Configuration
    half: int
    alarm: Alarm

    @cached_property
    def signed(self) -> np.ndarray:
        """Values of the cases, the greater the more alarming."""
        return self.alarm.direction * self.of.cases[0]

    @cached_property
    def level(self) -> np.ndarray:
        """The median of these values, in place of each: what tells configurations apart, and no tasks."""
        return np.full_like(self.signed, np.median(self.signed) if len(self.signed) else np.nan)

    @cached_property
    def area(self) -> float:
        """Area under the curve of this configuration alone; NaN unless some tasks fall and some do not."""
        return area_under_roc(self.signed, self.of.cases[1] == 1) if self.alarm.direction else float("nan")

    @cached_property
    def leads(self) -> float:
        """Mean lead over the runs that fall."""
        runs = zip(self.of.value, self.of.accuracy, strict=True)
        return _mean([self.alarm.lead(*run) for run in runs])


def choose(configurations: Sequence[Configuration]) -> Alarm:
    """Return the alarm that is best on configurations: first its direction, by the area under the curve."""
    value, falls = _joined([one.cases for one in configurations])
    area = area_under_roc(value, falls == 1)
    if np.isnan(area):
        return Alarm(0)
    direction = 1 if area >= 0.5 else -1
    return Alarm(direction, best_threshold(direction * value, falls == 1))


def judged(configurations: Sequence[Configuration]) -> list[list[Judged]]:
    """Return all configurations in several splits, each judged by the alarm of the half that it is not in."""
    random = np.random.default_rng(0)  # the same splits for all indicators
    found = []
    for _ in range(SPLITS):
        halves = random.permutation(np.arange(len(configurations)) % 2)
        alarms = [
            choose([one for one, own in zip(configurations, halves, strict=True) if own == half])
            for half in (1, 0)
        ]
        found.append([Judged(one, own, alarms[own]) for one, own in zip(configurations, halves, strict=True)])
    return found


def area(
    splits: Sequence[Sequence[Judged]], values: Callable[[Judged], np.ndarray] = lambda one: one.signed
) -> float:
    """Return the area under the curve, mean over halves and splits; halves without an alarm are left out."""
    areas = []
    for split in splits:
        for half in (0, 1):
            own = [one for one in split if one.half == half and one.alarm.direction]
            falls = _joined([one.of.cases for one in own])[1]
            areas.append(area_under_roc(_flat([values(one) for one in own]), falls == 1))
    return _mean(areas)


def numbers(splits: Sequence[Sequence[Judged]]) -> np.ndarray:
    """Return `NUMBERS` of judged configurations."""
    configurations = [one.of for one in splits[0]]
    false = [
        one.signed[one.of.cases[1] == 0] >= one.alarm.threshold
        for split in splits
        for one in split
        if one.alarm.direction
    ]
    return np.array([
        spearman(*_joined([one.following for one in configurations])),
        _mean([one.within_runs for one in configurations]),
        area(splits),
        _mean([one.area for split in splits for one in split]),
        area(splits, lambda one: one.level),
        _mean([one.leads for split in splits for one in split]),
        _mean(_flat(false)),
    ])  # fmt: skip


def predict(configurations: Sequence[Configuration], resamples: int = RESAMPLES) -> dict[str, Any]:
    """Return a row of the table: `NUMBERS`, each with the ends of its interval, and what they are based on."""
    splits = judged(configurations)
    ends = resampled(len(configurations), lambda drawn: numbers(_drawn(splits, drawn)), resamples)
    directions = {one.alarm.direction for split in splits for one in split} - {0}
    known = [one for one in configurations if one.known]
    row: dict[str, Any] = {
        "alarm_when": {1: "high", -1: "low"}[directions.pop()] if len(directions) == 1 else "halves differ",
        "configurations": len(known),
        "cases": sum(len(one.cases[1]) for one in known),
        "events": sum(int(one.cases[1].sum()) for one in known),
        "falling_runs": sum(len(one.falls) for one in known),
        "lead_possible": _mean([one.longest_lead for one in known]),
    }
    for name, number, low, high in zip(NUMBERS, numbers(splits), *ends, strict=True):
        row |= {name: number, f"{name}_low": low, f"{name}_high": high}
    return row


def ahead(own: Sequence[Configuration], rival: Sequence[Configuration], resamples: int) -> dict[str, float]:
    """Return by how much an indicator's area exceeds another's where both were measured, with its interval."""
    both = [at for at, (one, other) in enumerate(zip(own, rival, strict=True)) if one.known and other.known]
    if len(both) < 2:
        return {}
    pair = [judged([configurations[at] for at in both]) for configurations in (own, rival)]

    def difference(drawn: np.ndarray) -> np.ndarray:
        one, other = (area(_drawn(splits, drawn)) for splits in pair)
        return np.array([one - other])

    low, high = resampled(len(both), difference, resamples)[:, 0]
    return {AHEAD: difference(np.arange(len(both)))[0], f"{AHEAD}_low": low, f"{AHEAD}_high": high}


def predictors(data: "pd.DataFrame", singles: Collection[str], resamples: int = RESAMPLES) -> "pd.DataFrame":
    """Return a row per indicator, best first: how well it predicts, see `predict`, and how far it is ahead.

    Task accuracy is among them: what the others must do better than. Indicators that fewer than two configurations
    have are left out.

    Args:
        data: of `recorded`.
        singles: indicators with the best of which each other one is compared.
        resamples: of the bootstrap.
    """
    import pandas as pd

    of = {name: own for name, own in _configurations(data).items() if sum(one.known for one in own) > 1}
    rows = {name: predict(own, resamples) for name, own in of.items()}
    rivals = [name for name in rows if name in singles and np.isfinite(rows[name]["auc"])]
    if rivals:
        best = max(rivals, key=lambda name: float(rows[name]["auc"]))
        for name in rows.keys() - set(singles):
            rows[name] |= ahead(of[name], of[best], resamples)
    table = pd.DataFrame([{"indicator": name, **row} for name, row in rows.items()], columns=COLUMNS)
    return table.sort_values("auc", ascending=False, ignore_index=True)


def recorded(frames: Frames) -> "pd.DataFrame":
    """Return a row per configuration, run, seed and task, a column per indicator and one of task accuracy.

    An indicator's value is that of the whole network, or else the median over layers; of what was recorded several
    times in a task (a scheduler's decisions are) the median, of all else what was measured on the task's last batch.
    """
    data = per_task(frames)
    whole = data["layer"] == WHOLE
    own = data[whole | ~data["indicator"].isin(data.loc[whole, "indicator"].unique())]
    wide = own.pivot_table(
        index=[*frames.by, *KEYS], columns="indicator", values="value", aggfunc="median", sort=False
    )
    return wide.rename_axis(columns=None).reset_index()


def _configurations(data: "pd.DataFrame") -> dict[str, list[Configuration]]:
    """Return by indicator all configurations, in the same order."""
    found: dict[str, list[Configuration]] = {}
    for _, own in data.groupby("configuration", sort=False):
        tables = own.drop(columns=["configuration", "run"]).pivot_table(
            index="seed", columns="task", dropna=False
        )
        accuracy = tables[ACCURACY].to_numpy(float)
        for name in data.columns.drop(["configuration", *KEYS]):
            value = tables[name].to_numpy(float) if name in tables else np.full(accuracy.shape, np.nan)
            found.setdefault(str(name), []).append(Configuration(value, accuracy))
    return found


def _drawn(splits: Sequence[Sequence[Judged]], indices: np.ndarray) -> list[list[Judged]]:
    return [[split[at] for at in indices] for split in splits]


def _joined(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return _flat([one for one, _ in pairs]), _flat([other for _, other in pairs])


def _flat(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.array([]), *parts])


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")

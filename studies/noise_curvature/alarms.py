"""Configurations, alarms, and configurations judged by the alarms of others. Pure; see `predicting`."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from studies.noise_curvature.frames import Array
from studies.noise_curvature.statistics import (
    WITHIN,
    area_under_roc,
    best_threshold,
    falls_ahead,
    finite_mean,
    first_fall,
    flat,
    spearman,
)

SPLITS = 5


@dataclass(frozen=True, eq=False)
class Configuration:
    """An indicator and task accuracy, `(seeds, tasks)` each: NaN where not measured, and `inf` for no bound."""

    value: Array
    accuracy: Array

    @property
    def is_measured(self) -> bool:
        return bool((~np.isnan(self.value)).any())

    @cached_property
    def cases(self) -> tuple[Array, Array]:
        """Measured values, and whether accuracy falls within the next three tasks: 1 or 0."""
        return self._measured(self.value, np.array([falls_ahead(run) for run in self.accuracy]))

    @cached_property
    def following(self) -> tuple[Array, Array]:
        return self._measured(self.value[:, :-1], self.accuracy[:, 1:])

    @staticmethod
    def _measured(value: Array, outcome: Array) -> tuple[Array, Array]:
        known = ~np.isnan(value) & np.isfinite(outcome)
        return value[known], outcome[known]

    @cached_property
    def correlation(self) -> float:
        """Rank correlation with the next task's accuracy within a run, mean over runs."""
        runs = zip(self.value[:, :-1], self.accuracy[:, 1:], ~np.isnan(self.value[:, :-1]), strict=True)
        return finite_mean([spearman(value[known], following[known]) for value, following, known in runs])

    @cached_property
    def falls(self) -> list[int]:
        return [fall for run in self.accuracy if (fall := first_fall(run)) is not None]

    @property
    def longest_lead(self) -> float:
        """The longest lead possible: tasks before the first fall, at most three; mean over the runs that fall."""
        return finite_mean([min(WITHIN, fall) for fall in self.falls])


@dataclass(frozen=True)
class Alarm:
    """An alarm at values of at least `threshold` (`direction` 1), or at most (-1); never (0) after too few falls."""

    direction: int
    threshold: float = float("nan")

    def lead(self, value: Array, accuracy: Array) -> float:
        """Return on how many of the three tasks before a run's first fall the alarm was on; NaN if that is unknown."""
        fall = first_fall(accuracy)
        before = value[max(0, (fall or 0) - WITHIN) : fall]
        if fall is None or not self.direction or np.isnan(before).all():
            return float("nan")
        silent = ~(self.direction * before >= self.threshold)
        return float(np.argmax(silent[::-1]) if silent.any() else len(silent))


@dataclass(frozen=True, eq=False)
class Judged:
    """A configuration in half 0 or 1 of a split, and the alarm chosen on the other half."""

    configuration: Configuration
    half: int
    alarm: Alarm

    @property
    def falls(self) -> Array:
        return self.configuration.cases[1]

    @cached_property
    def values(self) -> Array:
        """Values of the cases with the sign that makes greater ones more alarming."""
        return self.alarm.direction * self.configuration.cases[0]

    @cached_property
    def medians(self) -> Array:
        """The median of `values` in place of each: it tells configurations apart, but not their tasks."""
        return np.full_like(self.values, np.median(self.values) if len(self.values) else np.nan)

    @cached_property
    def area(self) -> float:
        """Area under the curve of this configuration alone; NaN unless some tasks fall and some do not."""
        return area_under_roc(self.values, self.falls == 1) if self.alarm.direction else float("nan")

    @cached_property
    def lead(self) -> float:
        runs = zip(self.configuration.value, self.configuration.accuracy, strict=True)
        return finite_mean([self.alarm.lead(*run) for run in runs])

    @property
    def false_alarms(self) -> Array:
        """Whether the alarm is on, for each case that no fall follows: 1 or 0."""
        return np.asarray((self.values[self.falls == 0] >= self.alarm.threshold).astype(float))


Split = list[Judged]


def choose_alarm(configurations: Sequence[Configuration]) -> Alarm:
    value = flat([configuration.cases[0] for configuration in configurations])
    falls = flat([configuration.cases[1] for configuration in configurations]) == 1
    area = area_under_roc(value, falls)
    if np.isnan(area):
        return Alarm(0)
    direction = 1 if area >= 0.5 else -1
    return Alarm(direction, best_threshold(direction * value, falls))


def cross_validated(configurations: Sequence[Configuration]) -> list[Split]:
    """Return all configurations in several splits, each with the alarm of the half that it is not in."""
    random = np.random.default_rng(0)  # the same splits for all indicators
    splits = []
    for _ in range(SPLITS):
        halves = random.permutation(np.arange(len(configurations)) % 2)
        members = list(zip(configurations, halves, strict=True))
        alarms = [choose_alarm([chosen for chosen, half in members if half == other]) for other in (1, 0)]
        splits.append([Judged(configuration, half, alarms[half]) for configuration, half in members])
    return splits

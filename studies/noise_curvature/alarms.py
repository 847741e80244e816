"""Alarms: values of an indicator that announce a fall of accuracy, chosen on half of the configurations. Pure.

The other half judges them, both ways round, in several splits, the same for all indicators.
"""

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
    spearman,
)

SPLITS = 5


@dataclass(frozen=True, eq=False)
class Configuration:
    """An indicator in all tasks of all seeds of a configuration, and the accuracy of these tasks.

    Attributes:
        value: of the indicator, `(seeds, tasks)`; NaN where it was not measured, `inf` for no bound.
        accuracy: of the tasks, `(seeds, tasks)`.
    """

    value: Array
    accuracy: Array

    @property
    def is_measured(self) -> bool:
        """Whether the indicator was measured at all."""
        return bool((~np.isnan(self.value)).any())

    @cached_property
    def cases(self) -> tuple[Array, Array]:
        """Values of all tasks in a row, and whether accuracy falls within the next three: 1 or 0."""
        value, falls = self.value.ravel(), np.array([falls_ahead(run) for run in self.accuracy]).ravel()
        known = ~np.isnan(value) & np.isfinite(falls)
        return value[known], falls[known]

    @cached_property
    def following(self) -> tuple[Array, Array]:
        """Values of all tasks in a row, and the accuracy of the next task."""
        value, following = self.value[:, :-1].ravel(), self.accuracy[:, 1:].ravel()
        known = ~np.isnan(value) & np.isfinite(following)
        return value[known], following[known]

    @cached_property
    def correlation(self) -> float:
        """Rank correlation with the next task's accuracy within a run, mean over runs."""
        runs = zip(self.value[:, :-1], self.accuracy[:, 1:], strict=True)
        known = ((value[~np.isnan(value)], following[~np.isnan(value)]) for value, following in runs)
        return finite_mean([spearman(*pair) for pair in known])

    @cached_property
    def falls(self) -> list[int]:
        """The first task that falls, of each run that has one."""
        return [fall for run in self.accuracy if (fall := first_fall(run)) is not None]

    @property
    def longest_lead(self) -> float:
        """The longest lead possible: tasks before the first fall, at most three; mean over the runs that fall."""
        return finite_mean([min(WITHIN, fall) for fall in self.falls])


@dataclass(frozen=True)
class Alarm:
    """The values of an indicator that give alarm.

    Attributes:
        direction: 1 if high values do, -1 if low ones, 0 if there were too few falls to tell.
        threshold: least of direction * value that does.
    """

    direction: int
    threshold: float = float("nan")

    def lead(self, value: Array, accuracy: Array) -> float:
        """Return for how many tasks just before a run's first fall the alarm was on, of three.

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
    """A configuration, and an alarm that was chosen without it.

    Attributes:
        configuration: judged.
        half: 0 or 1, the half that the configuration is in.
        alarm: chosen on the other half.
    """

    configuration: Configuration
    half: int
    alarm: Alarm

    @property
    def falls(self) -> Array:
        """Whether accuracy falls within three tasks, case by case: 1 or 0."""
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
        """Mean lead over the runs that fall."""
        runs = zip(self.configuration.value, self.configuration.accuracy, strict=True)
        return finite_mean([self.alarm.lead(*run) for run in runs])

    @property
    def false_alarms(self) -> Array:
        """Whether the alarm is on, for each case that no fall follows: 1 or 0."""
        alarms: Array = (self.values[self.falls == 0] >= self.alarm.threshold).astype(float)
        return alarms


Split = list[Judged]


def choose_alarm(configurations: Sequence[Configuration]) -> Alarm:
    """Return the alarm that is best on configurations; the area under the curve decides the direction."""
    value, falls = concatenated([configuration.cases for configuration in configurations])
    area = area_under_roc(value, falls == 1)
    if np.isnan(area):
        return Alarm(0)
    direction = 1 if area >= 0.5 else -1
    return Alarm(direction, best_threshold(direction * value, falls == 1))


def cross_validated(configurations: Sequence[Configuration]) -> list[Split]:
    """Return all configurations in several splits, each with the alarm of the half that it is not in."""
    random = np.random.default_rng(0)  # the same splits for all indicators
    splits = []
    for _ in range(SPLITS):
        halves = random.permutation(np.arange(len(configurations)) % 2)
        pairs = list(zip(configurations, halves, strict=True))
        alarms = [choose_alarm([one for one, half in pairs if half == other]) for other in (1, 0)]
        splits.append([Judged(configuration, half, alarms[half]) for configuration, half in pairs])
    return splits


def concatenated(pairs: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """Return the first arrays of all pairs as one, and the second."""
    return flat([first for first, _ in pairs]), flat([second for _, second in pairs])


def flat(arrays: Sequence[Array]) -> Array:
    """Return arrays one after another; an empty one for none."""
    return np.concatenate([np.array([]), *arrays])

"""Rank correlation, area under the ROC curve, falls of accuracy, resampling of configurations. Pure."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from studies.noise_curvature.frames import Array

FALL, WITHIN = 0.1, 3
"""Accuracy falls if it loses a tenth of itself within three tasks."""
RESAMPLES = 300

Flags = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


def finite_mean(values: Sequence[float] | Array) -> float:
    finite = np.asarray(values, dtype=float)
    finite = finite[np.isfinite(finite)]
    return float(finite.mean()) if len(finite) else float("nan")


def flat(arrays: Sequence[Array]) -> Array:
    return np.concatenate([np.array([]), *arrays])


def spearman(first: Array, second: Array) -> float:
    """Return Spearman's rank correlation of pairs, ties at their mean rank; NaN where one is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 4.0]))
    0.5
    """
    if len(first) < 2:
        return float("nan")
    x, y = (ranks - ranks.mean() for ranks in (rankdata(first), rankdata(second)))
    norm = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / norm) if norm else float("nan")


def area_under_roc(values: Array, events: Flags) -> float:
    """Return the chance that a value before an event exceeds one before none, ties half; NaN without either.

    Source: Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982: the Mann-Whitney statistic.

    >>> area_under_roc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]))
    0.75
    """
    number = int(events.sum())
    others = len(events) - number
    if not (number and others):
        return float("nan")
    return float((rankdata(values)[events].sum() - number * (number + 1) / 2) / (number * others))


def best_threshold(values: Array, events: Flags) -> float:
    """Return the threshold at or above which alarms catch most events for the false alarms they give.

    Source: Youden, "Index for rating diagnostic tests", 1950: greatest share of events minus share of false alarms.

    >>> best_threshold(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]))
    3.0
    """
    candidates = np.unique(values)
    caught, false = (
        1 - np.searchsorted(np.sort(group), candidates) / len(group)
        for group in (values[events], values[~events])
    )
    return float(candidates[np.argmax(caught - false)])


def falls_ahead(accuracy: Array) -> Array:
    """Return for each task whether accuracy falls within the next three: 1, 0, or NaN where fewer are left.

    >>> falls_ahead(np.array([0.8, 0.8, 0.79, 0.78, 0.5, 0.5, 0.5]))
    array([ 0.,  1.,  1.,  1., nan, nan, nan])
    """
    ahead = np.full(len(accuracy), np.nan)
    for task in range(len(accuracy) - WITHIN):
        ahead[task] = accuracy[task + 1 : task + 1 + WITHIN].min() <= (1 - FALL) * accuracy[task]
    return ahead


def first_fall(accuracy: Array) -> int | None:
    """Return the first task whose accuracy is a tenth below that of one of the three before it; None if there is none.

    >>> first_fall(np.array([0.7, 0.8, 0.75, 0.72, 0.9])), first_fall(np.array([0.1, 0.2]))
    (3, None)
    """
    for task in range(1, len(accuracy)):
        if accuracy[task] <= (1 - FALL) * accuracy[max(0, task - WITHIN) : task].max():
            return task
    return None


def resampled(count: int, statistic: Callable[[Indices], Array], resamples: int = RESAMPLES) -> Array:
    """Return the ends of 95 % percentile-bootstrap intervals, `(2, N)`.

    For numbers that are not means over seeds, such as an area under a curve over some twenty configurations: they say
    how far other configurations would move a number. `statistic` maps drawn indices to N numbers; NaN is left out.
    """
    random = np.random.default_rng(0)  # the same data give the same interval
    drawn = np.array([statistic(random.integers(count, size=count)) for _ in range(resamples)])
    ends = np.full((2, drawn.shape[1]), np.nan)
    for column, values in enumerate(drawn.T):
        finite = values[np.isfinite(values)]
        if len(finite):
            ends[:, column] = np.percentile(finite, [2.5, 97.5])
    return ends

"""Rank correlation, area under the ROC curve, the fall of accuracy, resampling of configurations. Pure."""

from collections.abc import Callable

import numpy as np

FALL, WITHIN = 0.1, 3
"""Accuracy falls if it loses a tenth of itself within three tasks."""

RESAMPLES = 300


def spearman(one: np.ndarray, other: np.ndarray) -> float:
    """Return Spearman's rank correlation of pairs, ties at their mean rank; NaN where one is constant.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([3.0, 5.0, 4.0]))
    0.5
    """
    from scipy.stats import rankdata

    if len(one) < 2:
        return float("nan")
    ranks = [rankdata(values) for values in (one, other)]
    ranks = [values - values.mean() for values in ranks]
    norm = np.sqrt((ranks[0] @ ranks[0]) * (ranks[1] @ ranks[1]))
    return float(ranks[0] @ ranks[1] / norm) if norm else float("nan")


def area_under_roc(values: np.ndarray, happens: np.ndarray) -> float:
    """Return the chance that a value before an event is greater than one before none, ties half; NaN without either.

    Source: Hanley and McNeil, "The meaning and use of the area under a ROC curve", 1982: the Mann-Whitney statistic.

    Args:
        values: one per case.
        happens: whether the event does.

    >>> area_under_roc(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]))
    0.75
    """
    from scipy.stats import rankdata

    events = int(happens.sum())
    others = len(happens) - events
    if not (events and others):
        return float("nan")
    return float((rankdata(values)[happens].sum() - events * (events + 1) / 2) / (events * others))


def best_threshold(values: np.ndarray, happens: np.ndarray) -> float:
    """Return the least alarming value: alarms at or above it catch most events for the false alarms they give.

    Source: Youden, "Index for rating diagnostic tests", 1950: greatest share of events minus share of false alarms.

    >>> best_threshold(np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, False, True, True]))
    3.0
    """
    candidates = np.unique(values)
    caught, false = (
        1 - np.searchsorted(np.sort(own), candidates) / len(own)
        for own in (values[happens], values[~happens])
    )
    return float(candidates[np.argmax(caught - false)])


def falls_ahead(accuracy: np.ndarray) -> np.ndarray:
    """Return for each task whether accuracy falls within the next three: 1, 0, or NaN where fewer are left.

    >>> falls_ahead(np.array([0.8, 0.8, 0.79, 0.78, 0.5, 0.5, 0.5]))
    array([ 0.,  1.,  1.,  1., nan, nan, nan])
    """
    ahead = np.full(len(accuracy), np.nan)
    for task in range(len(accuracy) - WITHIN):
        ahead[task] = accuracy[task + 1 : task + 1 + WITHIN].min() <= (1 - FALL) * accuracy[task]
    return ahead


def first_fall(accuracy: np.ndarray) -> int | None:
    """Return the first task whose accuracy is a tenth below that of one of the three before it; None if there is none.

    >>> first_fall(np.array([0.7, 0.8, 0.75, 0.72, 0.9])), first_fall(np.array([0.1, 0.2]))
    (3, None)
    """
    for task in range(1, len(accuracy)):
        if accuracy[task] <= (1 - FALL) * accuracy[max(0, task - WITHIN) : task].max():
            return task
    return None


def resampled(
    count: int, statistic: Callable[[np.ndarray], np.ndarray], resamples: int = RESAMPLES
) -> np.ndarray:
    """Return ends of 95 % percentile-bootstrap intervals, `(2, N)`.

    For numbers that are no means over seeds, such as an area under a curve over some twenty configurations; an interval
    of a mean over seeds is `clbench.scoring.estimate`'s. They say how far other configurations would move a number.

    Args:
        count: of what is drawn with replacement as a whole, such as configurations with all their seeds.
        statistic: from indices that were drawn to N numbers; NaN are left out.
        resamples: how many.
    """
    random = np.random.default_rng(0)  # the same data give the same interval
    drawn = np.array([statistic(random.integers(count, size=count)) for _ in range(resamples)])
    ends = np.full((2, drawn.shape[1]), np.nan)
    for column, values in enumerate(drawn.T):
        known = values[np.isfinite(values)]
        if len(known):
            ends[:, column] = np.percentile(known, [2.5, 97.5])
    return ends

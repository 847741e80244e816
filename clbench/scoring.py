"""Records -> scores with intervals. Pure: nothing is read or written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

import numpy as np

from clbench.records import TaskRecord

CONFIDENCE = 0.95
RESAMPLES = 9_999


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its 95 % bootstrap interval; NaN ends for a single seed."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Score:
    """What an agent reached over whole streams.

    Attributes:
        agent: its name.
        seeds: how many seeds finished all tasks.
        average_task_accuracy: mean over tasks of task accuracy; the headline score.
        first_task: task accuracy of the first task.
        last_task: task accuracy of the last task.
        last_tenth: mean task accuracy of the last 10 % of tasks (at least one task).
        slope: least-squares slope of task accuracy, per task.
        final_epoch_accuracy: mean over tasks of the accuracy over each task's last epoch.
    """

    agent: str
    seeds: int
    average_task_accuracy: Estimate
    first_task: Estimate
    last_task: Estimate
    last_tenth: Estimate
    slope: Estimate
    final_epoch_accuracy: Estimate

    @property
    def share_lost(self) -> float:
        """Share of the first task's accuracy that the last 10 % of tasks lack; negative for a gain."""
        return 1 - self.last_tenth.mean / self.first_task.mean if self.first_task.mean else 0.0


SCORES = tuple(item.name for item in fields(Score) if item.name not in ("agent", "seeds"))
"""Names of the scores."""


def score(agent: str, records: Iterable[TaskRecord], num_tasks: int) -> Score | None:
    """Return an agent's score over its seeds that finished all `num_tasks` tasks; None if none did.

    Examples:
        >>> records = [TaskRecord("a", 0, task, 1, 0.8 - 0.2 * task, 1.0, 0.0, 0.0) for task in range(3)]
        >>> result = score("a", records, 3)
        >>> round(result.average_task_accuracy.mean, 3), round(result.slope.mean, 3)
        (0.6, -0.2)
    """
    complete = finished(agent, records, num_tasks)
    if not complete:
        return None
    estimates = {name: estimate(values) for name, values in seed_scores(complete.values()).items()}
    return Score(agent=agent, seeds=len(complete), **estimates)


def finished(agent: str, records: Iterable[TaskRecord], num_tasks: int) -> dict[int, list[TaskRecord]]:
    """Return an agent's records by seed, in the order of tasks, of the seeds that finished all `num_tasks`."""
    seeds: dict[int, dict[int, TaskRecord]] = {}
    for record in records:
        if record.agent == agent:
            seeds.setdefault(record.seed, {})[record.task] = record
    wanted = range(num_tasks)
    return {
        seed: [tasks[index] for index in wanted]
        for seed, tasks in seeds.items()
        if tasks.keys() == set(wanted)
    }


def seed_scores(seeds: Iterable[Sequence[TaskRecord]]) -> dict[str, np.ndarray]:
    """Return each of `SCORES` as an array with a number per seed, in the order of `seeds`.

    Args:
        seeds: the records of each seed, in the order of tasks; equally many of each, at least one.

    Examples:
        >>> tasks = [TaskRecord("a", 0, task, 1, 0.8 - 0.2 * task, 1.0, 0.0, 0.0) for task in range(3)]
        >>> seed_scores([tasks, tasks])["last_tenth"].round(3).tolist()
        [0.4, 0.4]
    """
    seeds = list(seeds)
    accuracy = np.array([[record.accuracy for record in tasks] for tasks in seeds])
    final = np.array([[record.final_epoch_accuracy for record in tasks] for tasks in seeds])
    return {
        "average_task_accuracy": accuracy.mean(axis=1),
        "first_task": accuracy[:, 0],
        "last_task": accuracy[:, -1],
        "last_tenth": last_tenth(accuracy),
        "slope": _slopes(accuracy),
        "final_epoch_accuracy": final.mean(axis=1),
    }


def last_tenth(by_task: np.ndarray) -> np.ndarray:
    """Return means over the last 10 % of tasks (at least one) of numbers `(seeds, tasks)`."""
    tenth = -(-by_task.shape[1] // 10)
    means: np.ndarray = by_task[:, -tenth:].mean(axis=1)
    return means


def estimate(values: Sequence[float] | np.ndarray) -> Estimate:
    """Return mean and 95 % percentile-bootstrap interval of the mean, resampling `values` (one per seed).

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, ch. 13. With three seeds
    the interval can never leave their range: read it as a lower bound on the uncertainty.
    """
    sample = np.asarray(values, dtype=float)
    mean = float(sample.mean())
    if len(sample) < 2:
        return Estimate(mean, float("nan"), float("nan"))
    if np.ptp(sample) == 0:
        return Estimate(mean, mean, mean)
    from scipy.stats import bootstrap

    interval = bootstrap(
        (sample,),
        np.mean,
        confidence_level=CONFIDENCE,
        n_resamples=RESAMPLES,
        method="percentile",
        rng=np.random.default_rng(0),  # the same records give the same interval
    ).confidence_interval
    return Estimate(mean, float(interval.low), float(interval.high))


def ranks(estimates: Sequence[Estimate]) -> list[int]:
    """Return each one's rank: one more than the number of those whose interval lies wholly above its own.

    Those that cannot be told apart from the best share rank 1; without intervals nothing can be told apart.

    >>> ranks([Estimate(0.5, 0.4, 0.6), Estimate(0.9, 0.8, 1.0), Estimate(0.7, 0.5, 0.9)])
    [2, 1, 1]
    """
    return [1 + sum(other.low > own.high for other in estimates) for own in estimates]


def _slopes(accuracy: np.ndarray) -> np.ndarray:
    """Least-squares slope per task of each row; 0 for a single task."""
    tasks = accuracy.shape[1]
    if tasks == 1:
        return np.zeros(len(accuracy))
    centred = np.arange(tasks) - (tasks - 1) / 2
    slopes: np.ndarray = accuracy @ centred / (centred @ centred)
    return slopes

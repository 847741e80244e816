"""Records -> scores with intervals. Pure: nothing is read or written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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


def score(agent: str, records: Iterable[TaskRecord], num_tasks: int) -> Score | None:
    """Return an agent's score over its seeds that finished all `num_tasks` tasks; None if none did.

    Examples:
        >>> records = [TaskRecord("a", 0, task, 1, 0.8 - 0.2 * task, 1.0, 0.0, 0.0) for task in range(3)]
        >>> result = score("a", records, 3)
        >>> round(result.average_task_accuracy.mean, 3), round(result.slope.mean, 3)
        (0.6, -0.2)
    """
    seeds: dict[int, dict[int, TaskRecord]] = {}
    for record in records:
        if record.agent == agent:
            seeds.setdefault(record.seed, {})[record.task] = record
    complete = [
        [tasks[index] for index in range(num_tasks)] for tasks in seeds.values() if len(tasks) == num_tasks
    ]
    if not complete:
        return None
    accuracy = np.array([[record.accuracy for record in tasks] for tasks in complete])
    final = np.array([[record.final_epoch_accuracy for record in tasks] for tasks in complete])
    tenth = -(-num_tasks // 10)
    return Score(
        agent=agent,
        seeds=len(complete),
        average_task_accuracy=estimate(accuracy.mean(axis=1)),
        first_task=estimate(accuracy[:, 0]),
        last_task=estimate(accuracy[:, -1]),
        last_tenth=estimate(accuracy[:, -tenth:].mean(axis=1)),
        slope=estimate(_slopes(accuracy)),
        final_epoch_accuracy=estimate(final.mean(axis=1)),
    )


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


def _slopes(accuracy: np.ndarray) -> np.ndarray:
    """Least-squares slope per task of each row; 0 for a single task."""
    tasks = accuracy.shape[1]
    if tasks == 1:
        return np.zeros(len(accuracy))
    centred = np.arange(tasks) - (tasks - 1) / 2
    slopes: np.ndarray = accuracy @ centred / (centred @ centred)
    return slopes

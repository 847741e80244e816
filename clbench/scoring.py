"""Records -> scores with intervals. Pure: nothing is read or written."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from clbench.intervals import Estimate, difference, estimate, ranks
from clbench.records import TaskRecord

__all__ = [
    "SCORES",
    "Estimate",
    "Score",
    "as_row",
    "difference",
    "estimate",
    "finished",
    "last_tenth",
    "ranks",
    "score",
    "scores_by_seed",
    "seed_scores",
    "share_lost",
]


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
        share_lost: see `share_lost`.
    """

    agent: str
    seeds: int
    average_task_accuracy: Estimate
    first_task: Estimate
    last_task: Estimate
    last_tenth: Estimate
    slope: Estimate
    final_epoch_accuracy: Estimate
    share_lost: Estimate


SCORES = tuple(field.name for field in fields(Score) if field.name not in {"agent", "seeds", "share_lost"})
"""Names of the scores."""


def score(
    agent: str, records: Iterable[TaskRecord], num_tasks: int, chance: float = math.nan
) -> Score | None:
    """Return an agent's score over its seeds that finished all `num_tasks` tasks; None if none did.

    Args:
        agent: its name.
        records: of this agent and others.
        num_tasks: tasks in the stream.
        chance: accuracy of guessing, one over the number of classes; without it `share_lost` is NaN.

    Examples:
        >>> records = [TaskRecord("a", 0, task, 1, 0.8 - 0.2 * task, 1.0, 0.0, 0.0) for task in range(3)]
        >>> result = score("a", records, 3, chance=0.1)
        >>> [round(each.mean, 3) for each in (result.average_task_accuracy, result.slope, result.share_lost)]
        [0.6, -0.2, 0.571]
    """
    complete = finished(agent, records, num_tasks)
    if not complete:
        return None
    values = seed_scores(complete.values())
    lost = share_lost(values["first_task"], values["last_tenth"], chance)
    estimates = {name: estimate(numbers) for name, numbers in values.items()}
    return Score(agent=agent, seeds=len(complete), **estimates, share_lost=lost)


def as_row(result: Score) -> dict[str, float]:
    """Return each score's mean under its name, and its interval's ends as `<score>_low` and `<score>_high`."""
    row: dict[str, float] = {}
    for item in fields(result):
        value = getattr(result, item.name)
        if isinstance(value, Estimate):
            row |= {item.name: value.mean, f"{item.name}_low": value.low, f"{item.name}_high": value.high}
    return row


def share_lost(first: np.ndarray, last: np.ndarray, chance: float) -> Estimate:
    """Return the share of the first task's accuracy above chance that the last 10 % of tasks lack; below 0 for a gain.

    NaN if a seed's first task is not above chance: it had nothing to lose.

    Args:
        first: accuracy of the first task, one per seed.
        last: mean accuracy of the last 10 % of tasks, one per seed.
        chance: accuracy of guessing.

    >>> share_lost(np.array([0.9, 0.7]), np.array([0.1, 0.4]), chance=0.1).mean
    0.75
    >>> share_lost(np.array([0.9, 0.1]), np.array([0.1, 0.1]), chance=0.1).mean
    nan
    """
    if not (first > chance).all():
        return Estimate(math.nan, math.nan, math.nan, len(first))
    return estimate((first - last) / (first - chance))


def finished(agent: str, records: Iterable[TaskRecord], num_tasks: int) -> dict[int, list[TaskRecord]]:
    """Return an agent's records by seed, ordered by task, for the seeds that finished all `num_tasks`."""
    seeds: dict[int, dict[int, TaskRecord]] = {}
    for record in records:
        if record.agent == agent:
            seeds.setdefault(record.seed, {})[record.task] = record
    return {
        seed: [tasks[index] for index in range(num_tasks)]
        for seed, tasks in seeds.items()
        if tasks.keys() == set(range(num_tasks))
    }


def seed_scores(seeds: Iterable[Sequence[TaskRecord]]) -> dict[str, np.ndarray]:
    """Return each of `SCORES` as an array with a number per seed, in the order of `seeds`.

    Args:
        seeds: each seed's records, ordered by task; the same number of tasks each, at least one.

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


def scores_by_seed(seeds: Mapping[int, Sequence[TaskRecord]]) -> dict[str, dict[int, float]]:
    """Return each of `SCORES` by seed; for `seeds` see `seed_scores`."""
    scores = seed_scores(seeds.values())
    return {name: dict(zip(seeds, map(float, values), strict=True)) for name, values in scores.items()}


def last_tenth(by_task: np.ndarray) -> np.ndarray:
    """Return means over the last 10 % of tasks (at least one) of numbers `(seeds, tasks)`."""
    tenth = -(-by_task.shape[1] // 10)
    return np.asarray(by_task[:, -tenth:].mean(axis=1))


def _slopes(accuracy: np.ndarray) -> np.ndarray:
    tasks = accuracy.shape[1]
    if tasks == 1:
        return np.zeros(len(accuracy))
    centred = np.arange(tasks) - (tasks - 1) / 2
    return np.asarray(accuracy @ centred / (centred @ centred))

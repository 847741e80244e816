"""What a run yields: records of tasks and indicators, and glimpses in between."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

SCHEMA_VERSION = 1
"""Version of the columns of tasks.csv and indicators.csv and of the keys of run.json."""


@dataclass(frozen=True)
class TaskRecord:
    """One task of one seed; a row of tasks.csv.

    Attributes:
        agent: the agent's name.
        seed: root seed of stream and learner.
        task: index from 0.
        steps: batches in the task.
        accuracy: task accuracy, the mean over steps of the batch accuracy before the update.
        final_epoch_accuracy: the same over the last epoch's steps.
        loss: mean of the losses that the agent reported; NaN if it reports none.
        seconds: wall time of the task, shared by the seeds that ran in lockstep.
    """

    agent: str
    seed: int
    task: int
    steps: int
    accuracy: float
    final_epoch_accuracy: float
    loss: float
    seconds: float


def least_seconds(tasks: Iterable[TaskRecord]) -> float:
    """Return how long tasks took at least: those of the agent and seed that took longest, one after the other.

    >>> least_seconds([TaskRecord("a", seed, 0, 8, 0.5, 0.5, 0.1, 2.0 + seed) for seed in (0, 1, 1)])
    6.0
    """
    of_learners: defaultdict[tuple[str, int], float] = defaultdict(float)
    for task in tasks:
        of_learners[task.agent, task.seed] += task.seconds
    return max(of_learners.values(), default=0.0)


@dataclass(frozen=True)
class IndicatorRecord:
    """One number about one layer of one seed's network; a row of indicators.csv.

    Attributes:
        agent: the agent's name.
        seed: root seed of stream and learner.
        task: index from 0.
        step: step of the task, counted from 1, on whose batch it was measured, before learning from it.
        layer: a layer's name, or "whole network".
        indicator: what was measured.
        value: finite; of a bound also `inf` where nothing bounds, and NaN where the layer is dead.
    """

    agent: str
    seed: int
    task: int
    step: int
    layer: str
    indicator: str
    value: float


@dataclass(frozen=True)
class ProfileRecord:
    """Where time went in one process; a row of profile.csv.

    Attributes:
        agent: the agent's name.
        seeds: those that the process trained, with blanks.
        kind: "part" of the loop, or "operator" of PyTorch, recorded over a few steps only.
        name: of the part or operator.
        calls: how many.
        seconds: wall time of a part; of an operator CPU time, or on a GPU the device's, without what it calls.
        share: of the seconds of its kind.
    """

    agent: str
    seeds: str
    kind: str
    name: str
    calls: int
    seconds: float
    share: float


@dataclass(frozen=True)
class Undefined:
    """An indicator that an agent has no values of, said once.

    Attributes:
        agent: the agent's name.
        indicator: what could not be measured.
        reason: why, in one line.
    """

    agent: str
    indicator: str
    reason: str


@dataclass(frozen=True)
class Glimpse:
    """Where a run is, between records.

    Attributes:
        task: index from 0.
        steps: lockstep steps done since the start of the run.
        accuracy: mean over seeds, since the task's start.
    """

    task: int
    steps: int
    accuracy: float


@dataclass(frozen=True)
class Savepoint:
    """All records up to here are out, and the run's state may be kept.

    Attributes:
        steps: lockstep steps done since the start of the run.
        stopped: whether the run ends here because it was asked to.
    """

    steps: int
    stopped: bool = False

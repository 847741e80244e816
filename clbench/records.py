"""The events of a run: records of tasks and indicators, progress and checkpoints."""

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
    """Return a lower bound of the wall time of `tasks`: the longest sum over the tasks of one agent and seed.

    >>> least_seconds([TaskRecord("a", seed, 0, 8, 0.5, 0.5, 0.1, 2.0 + seed) for seed in (0, 1, 1)])
    6.0
    """
    sums: defaultdict[tuple[str, int], float] = defaultdict(float)
    for task in tasks:
        sums[task.agent, task.seed] += task.seconds
    return max(sums.values(), default=0.0)


@dataclass(frozen=True)
class IndicatorRecord:
    """One number about one layer of one seed's network; a row of indicators.csv.

    Attributes:
        agent: the agent's name.
        seed: root seed of stream and learner.
        task: index from 0.
        step: step of the task, counted from 1, on whose batch it was measured, before learning from it.
        layer: a layer's name, or "whole network".
        indicator: name of the indicator.
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
    """Time spent in one part of a process; a row of profile.csv.

    Attributes:
        agent: the agent's name.
        seeds: the seeds that the process trained, separated by spaces.
        kind: "part" of the loop, or "operator" of PyTorch, recorded over a few steps only.
        name: of the part or operator.
        calls: number of calls.
        seconds: wall time of a part; CPU time of an operator (on a GPU the device's), without the operators it calls.
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
    """An indicator that is not defined for an agent, reported once.

    Attributes:
        agent: the agent's name.
        indicator: name of the indicator.
        reason: one line.
    """

    agent: str
    indicator: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far a run is, between records.

    Attributes:
        task: index from 0.
        steps: lockstep steps since the start of the run.
        accuracy: mean over seeds, since the start of the task.
    """

    task: int
    steps: int
    accuracy: float


@dataclass(frozen=True)
class Checkpoint:
    """A moment at which the run's state can be saved: all records so far have been yielded.

    Attributes:
        steps: lockstep steps since the start of the run.
        stopped: whether the run ends here because it was asked to.
    """

    steps: int
    stopped: bool = False

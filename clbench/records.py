"""The events of a run: records of tasks and indicators, progress and checkpoints."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class TaskRecord:
    """One task of one seed; a row of tasks.csv."""

    agent: str
    seed: int  # the root seed of stream and learner
    task: int  # from 0
    steps: int
    accuracy: float  # mean over steps of the batch accuracy before the update
    final_epoch_accuracy: float
    loss: float  # mean of the losses that the agent reported; NaN if it reports none
    seconds: float  # wall time, shared by the seeds that ran in lockstep


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
    """One number about one layer of one seed's network; a row of indicators.csv."""

    agent: str
    seed: int
    task: int
    step: int  # of the task, from 1: measured on its batch, before learning from it
    layer: str  # or "whole network"
    indicator: str
    value: float  # finite; of a bound also `inf` where nothing bounds, and NaN where the layer is dead


@dataclass(frozen=True)
class ProfileRecord:
    """Time spent in one part of a process; a row of profile.csv."""

    agent: str
    seeds: str  # that the process trained, separated by spaces
    kind: str  # "part" of the loop, or "operator" of PyTorch, recorded over a few steps only
    name: str
    calls: int
    seconds: float  # of a part, wall time; of an operator, the device's, without the operators it calls
    share: float  # of the seconds of its kind


@dataclass(frozen=True)
class Undefined:
    """An indicator that is not defined for an agent, reported once, and why."""

    agent: str
    indicator: str
    reason: str


@dataclass(frozen=True)
class Progress:
    """How far a run is, between records."""

    task: int
    steps: int  # of all tasks so far
    accuracy: float  # mean over seeds, since the start of the task


@dataclass(frozen=True)
class Checkpoint:
    """A moment at which the run's state can be saved: all records so far have been yielded."""

    steps: int  # of all tasks so far
    stopped: bool = False  # whether the run ends here because it was asked to

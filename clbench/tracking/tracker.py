"""What a tracker learns about a run, and what it must offer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

METRICS = {"task_accuracy": "accuracy", "final_accuracy": "final_epoch_accuracy", "loss": "loss"}
"""A task's metrics: the name that trackers show, and the field of its record."""

Config = Mapping[str, Any]
"""Nested tables, as in run.json."""


@dataclass(frozen=True)
class TrackedRun:
    """A run that a tracker follows, from its start or after it was resumed.

    A series is one seed of one agent: what users of these tools call a run.

    Attributes:
        group: the group folder that the run is in, or the run's folder if it is in none.
        config: what run.json says about the run as a whole.
        series: by title, the same with `agent`, `seed` and `arguments`; only series that are not fully logged.
        ids: the tracker's ids, by title; those that it adds are saved for later sessions.
        tasks: number of tasks already logged, by title; a tracker removes an entry to have its tasks logged again.
    """

    folder: Path
    group: Path
    config: Config
    series: Mapping[str, Config]
    ids: dict[str, str]
    tasks: dict[str, int]
    note: Callable[[str], None]


@dataclass(frozen=True)
class FinishedTask:
    """A task that a series has finished. Tasks are logged once and in order, whatever interrupts the run.

    Attributes:
        step: steps of the stream up to the task's end.
        indicators: by step of the stream, counted from 1, and by "indicator/layer".
        scores: of the whole stream, with its last task, after which the series is complete; empty before.
    """

    title: str
    task: int
    step: int
    metrics: Mapping[str, float]
    indicators: Mapping[int, Mapping[str, float]]
    scores: Mapping[str, float]

    def points(self) -> Iterator[tuple[str, float, int]]:
        """Yield name, value and step: for metrics and scores the task, for indicators the stream's step."""
        for name, value in {**self.metrics, **self.scores}.items():
            yield name, value, self.task
        for step, measured in self.indicators.items():
            for name, value in measured.items():
                yield name, value, step


def flatten(config: Config, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each name and value of nested tables.

    >>> list(flatten({"agent": "a", "stream": {"id": "b", "options": {"share": 1.0}}}))
    [('agent', 'a'), ('stream.id', 'b'), ('stream.options.share', 1.0)]
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


class Tracker(Protocol):
    """Follows a run; constructed with a `TrackedRun`. If it raises, the run continues without it, and says so."""

    def log_task(self, finished: FinishedTask) -> None:
        """Log a task; once this returns, no session logs it again."""

    def end(self, status: str) -> None:
        """End the session, and series that are not complete, as "complete", "failed" or "interrupted"."""

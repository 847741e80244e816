"""What a tracker is told of a run, and what it must offer."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

METRICS = {"task_accuracy": "accuracy", "final_accuracy": "final_epoch_accuracy", "loss": "loss"}
"""Of a task, by the name that trackers show, the field of its record."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class TrackedRun:
    """A run that a tracker begins to follow, or goes on with.

    A series is one agent's one seed; what users of these tools call a run.

    Attributes:
        folder: the run's.
        config: what run.json says of the run as a whole.
        series: by title, the same with `agent`, `seed` and `arguments`; of series that are not logged to the end.
        ids: the tracker's ids, by title; those that it adds are kept for the sessions that go on with the run.
        tasks: how many it has logged, by title; those that it takes away are handed over again.
        note: tells people something.
    """

    folder: Path
    config: Config
    series: Mapping[str, Config]
    ids: dict[str, str]
    tasks: dict[str, int]
    note: Callable[[str], None]


@dataclass(frozen=True)
class FinishedTask:
    """A task that a series has finished. Each comes once and in order, whatever was broken off in between.

    Attributes:
        title: the series'.
        task: index from 0.
        step: steps of the stream up to its end.
        metrics: of the task, those of `METRICS` that it has.
        indicators: by step of the stream, counted from 1, and by "indicator/layer".
        scores: of the whole stream, with its last task, after which the series is complete; else none.
    """

    title: str
    task: int
    step: int
    metrics: Mapping[str, float]
    indicators: Mapping[int, Mapping[str, float]]
    scores: Mapping[str, float]

    def points(self) -> Iterator[tuple[str, float, int]]:
        """Yield each name, value and step: of metrics and scores the task, of indicators the stream's step."""
        for values in (self.metrics, self.scores):
            for name, value in values.items():
                yield name, value, self.task
        for step, measured in self.indicators.items():
            for name, value in measured.items():
                yield name, value, step


def flat(config: Config, above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each name and value of nested tables.

    >>> list(flat({"agent": "a", "stream": {"id": "b", "options": {"share": 1.0}}}))
    [('agent', 'a'), ('stream.id', 'b'), ('stream.options.share', 1.0)]
    """
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


class Tracker(Protocol):
    """Follows a run; made with a `TrackedRun`. What it raises is told, and the run goes on without it."""

    def take(self, finished: FinishedTask) -> None:
        """Log a task; when this returns, it is not handed over again, in no session."""

    def end(self, status: str) -> None:
        """The session ends as "complete", "failed" or "interrupted"; and so do series that are not complete."""

"""What a job reports: typed events, which travel between processes as JSON."""

from dataclasses import dataclass
from typing import Any

from clbench.records import IndicatorRecord, ProfileRecord, Progress, TaskRecord, Undefined


@dataclass(frozen=True)
class Started:
    """The job's agent is built; its first step comes next."""


@dataclass(frozen=True)
class Finished:
    """The job has run to its end."""


@dataclass(frozen=True)
class Stopped:
    """The job has saved a checkpoint and ended, as it was asked to."""


@dataclass(frozen=True)
class Failed:
    """The job ended with an error.

    Attributes:
        error: one line.
        traceback: for `--debug` and the run's log; "" if there is none.
    """

    error: str
    traceback: str = ""


@dataclass(frozen=True)
class Note:
    """Something that the user should know."""

    text: str


@dataclass(frozen=True)
class Output:
    """A line that the job's process wrote to standard output or standard error."""

    line: str


Recorded = TaskRecord | IndicatorRecord | Undefined
Event = Recorded | Progress | ProfileRecord | Started | Finished | Stopped | Failed | Note | Output
LAST = (Finished, Stopped, Failed)

_KINDS = {
    kind.__name__: kind
    for kind in (
        *(TaskRecord, IndicatorRecord, Undefined, Progress, ProfileRecord),
        *(Started, Finished, Stopped, Failed, Note, Output),
    )
}


def encode(event: Event) -> dict[str, Any]:
    """Return an event as JSON data; `decode` is the inverse.

    >>> encode(Note("hello")), decode(encode(Note("hello")))
    ({'event': 'Note', 'text': 'hello'}, Note(text='hello'))
    """
    return {"event": type(event).__name__, **vars(event)}


def decode(data: dict[str, Any]) -> Event:
    """Return the event that `encode` gave as JSON data."""
    values = dict(data)
    event: Event = _KINDS[values.pop("event")](**values)
    return event

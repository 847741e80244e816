"""The progress of runs: one model, which counts and shows nothing; `clbench.report.views` shows it."""

import contextlib
import math
import sys
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Literal

State = Literal["waiting", "running", "done", "failed", "running elsewhere"]


@dataclass(frozen=True)
class RunProgress:
    """How far a run is; small enough to be sent from another machine.

    A step is one update of one seed's learner; seeds in lockstep count each.

    Attributes:
        label: of the run.
        state: of the run.
        total: steps of all seeds.
        steps: completed steps.
        task: index of the task that the slowest running job is in.
        num_tasks: tasks in the stream.
        accuracy: in the present tasks so far, mean over seeds; NaN before there is any.
        tasks_finished: tasks that all seeds have finished.
        last_accuracy: of the last task that all seeds have finished, mean over seeds.
        average_accuracy: mean over the tasks that seeds have finished.
        seconds: wall time from the first step to the last event of this session.
        steps_per_second: in this session.
        estimate: seconds left, by the rates of its jobs; None where only the rate is known.
    """

    label: str
    total: int
    state: State = "waiting"
    steps: int = 0
    task: int = 0
    num_tasks: int = 0
    accuracy: float = math.nan
    tasks_finished: int = 0
    last_accuracy: float = math.nan
    average_accuracy: float = math.nan
    seconds: float = 0.0
    steps_per_second: float = 0.0
    estimate: float | None = None

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rate so far; None before there is one."""
        if self.estimate is not None:
            return self.estimate
        return (self.total - self.steps) / self.steps_per_second if self.steps_per_second else None


@dataclass(frozen=True)
class RunFailure:
    """Why a run failed: one line, and a traceback for `--debug`; "" if there is none."""

    error: str
    traceback: str = ""


class Progress:
    """The progress of several runs. This class shows only notes and what agents print, on standard error.

    Args:
        runs: all of them, those already complete as "done".

    Attributes:
        runs: by label.
        failures: by label of the runs that failed.
    """

    def __init__(self, runs: Iterable[RunProgress]) -> None:
        self.runs = {run.label: run for run in runs}
        self.failures: dict[str, RunFailure] = {}
        self._earlier: dict[str, int] = {}  # steps of earlier sessions
        self._started = time.perf_counter()

    def update(self, run: RunProgress) -> None:
        """Replace what is known of a run."""
        self._earlier.setdefault(run.label, run.steps)
        self.runs[run.label] = run

    def set_state(self, label: str, state: State) -> None:
        """Change a run's state only."""
        self.update(replace(self.runs[label], state=state))

    def fail(self, label: str, error: str, traceback: str = "") -> None:
        """Record that a run has failed: why, in one line, and the traceback if there is one."""
        self.failures[label] = RunFailure(error, traceback)
        self.set_state(label, "failed")

    def output(self, label: str, line: str) -> None:
        """Show a line that a run's process wrote."""
        print(f"{label}: {line}", file=sys.stderr)

    def note(self, text: str) -> None:
        """Show something that the user should know."""
        note(text)

    def close(self) -> None:
        """End the display."""

    @property
    def steps_per_second(self) -> float:
        """Steps of single seeds' learners per second of wall time, including the start-up of processes."""
        steps = sum(self.runs[label].steps - earlier for label, earlier in self._earlier.items())
        seconds = time.perf_counter() - self._started
        return steps / seconds if seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimated from the rate so far; None before there is one."""
        left = [run for run in self.runs.values() if run.state in ("waiting", "running")]
        if not self.steps_per_second:
            return None
        all_alike = sum(run.total - run.steps for run in left) / self.steps_per_second
        return max([all_alike, *(run.seconds_left or 0.0 for run in left)])  # the last run may be alone

    @property
    def summary(self) -> str:
        """Counts, rate and time left in one line."""
        counts = Counter(run.state for run in self.runs.values())
        states: tuple[State, ...] = ("done", "running", "waiting", "failed", "running elsewhere")
        parts = [
            f"{counts[state]} {state}" for state in states if counts[state] or state in ("done", "failed")
        ]
        rate = f"{self.steps_per_second:,.0f} steps/s"
        return " · ".join([*parts, rate, f"{clock(self.seconds_left)} left"])


def say(line: str) -> None:
    """Print a line at once; standard output may not know all of its characters."""
    encoding = sys.stdout.encoding or "utf-8"
    with contextlib.suppress(BrokenPipeError):  # nobody reads on, as after `| head`: the run goes on
        print(line.encode(encoding, "replace").decode(encoding), flush=True)


def note(text: str) -> None:
    """Tell the user something, on standard error."""
    print(f"note: {text}", file=sys.stderr)


def clock(seconds: float | None) -> str:
    """Return seconds as h:mm:ss.

    >>> clock(69.6), clock(None)
    ('0:01:10', '-:--:--')
    """
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))

"""What is known of running jobs, and ways to show it: a live display, plain lines, nothing."""

import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from clbench.evaluation.jobs import Job, Message
from clbench.specs import RunSpec

if TYPE_CHECKING:
    from rich.console import Console


class Tally:
    """Counts one agent's steps over all its jobs.

    A step here is one update of one seed's learner; lockstep seeds count each.
    """

    def __init__(self, name: str, jobs: Sequence[Job]) -> None:
        spec = jobs[0].stream
        self.name, self.num_tasks = name, spec.num_tasks
        self._seeds = sum(len(job.seeds) for job in jobs)
        self.total = self._seeds * spec.steps_per_task * spec.num_tasks
        self._steps_per_task = spec.steps_per_task
        self._tasks: dict[int, int] = {}
        self._done: dict[int, int] = {}
        self._before = 0  # steps of earlier sessions
        self._pending = len(jobs)
        self._started = self._ended = 0.0
        self._accuracy: dict[tuple[int, int], float] = {}
        self._finished: dict[int, dict[int, float]] = {}
        self.state = "waiting"

    def take(self, index: int, job: Job, message: Message) -> None:
        """Take note of a message from job number `index`."""
        self._ended = time.perf_counter()
        kind = message["kind"]
        if kind == "started":
            self._started = self._started or self._ended
            self.state = "running" if self.state == "waiting" else self.state
        elif kind == "glimpse":
            self._done[index] = message["steps"] * len(job.seeds)
            self._tasks[index] = message["task"]
            self._accuracy = {key: value for key, value in self._accuracy.items() if key[0] != index}
            self._accuracy[index, -1] = message["accuracy"]
        elif kind == "task":
            self._done[index] = (message["task"] + 1) * self._steps_per_task * len(job.seeds)
            self._tasks[index] = message["task"]
            self._accuracy.pop((index, -1), None)
            self._accuracy[index, message["seed"]] = message["accuracy"]
            self._finished.setdefault(message["task"], {})[message["seed"]] = message["accuracy"]
        elif kind in ("done", "failed"):
            self._pending -= 1
            if kind == "failed":
                self.state = "failed"
            elif self._pending == 0 and self.state == "running":
                self.state = "done"

    def begin_with(self, index: int, job: Job, steps: int, done: bool) -> None:
        """Take note of where an earlier session got with job number `index`."""
        self._done[index] = steps * len(job.seeds)
        self._before += self._done[index]
        if done:
            self._pending -= 1
            self.state = "waiting" if self._pending else "done"

    @property
    def accuracy(self) -> float:
        """Accuracy in the present tasks so far, mean over seeds; NaN before there is any."""
        found = list(self._accuracy.values())
        return sum(found) / len(found) if found else float("nan")

    @property
    def tasks_finished(self) -> int:
        """How many tasks all seeds have finished."""
        return sum(len(seeds) == self._seeds for seeds in self._finished.values())

    def task_accuracy(self, task: int) -> float:
        """Mean accuracy of the seeds that have finished a task; NaN if none has."""
        found = self._finished.get(task, {}).values()
        return sum(found) / len(found) if found else float("nan")

    @property
    def steps(self) -> int:
        """Steps done."""
        return sum(self._done.values())

    @property
    def task(self) -> int:
        """Index of the task that the least advanced running job is in."""
        return min(self._tasks.values(), default=0)

    @property
    def seconds(self) -> float:
        """Wall time from the first step to the last news."""
        return self._ended - self._started if self._started else 0.0

    @property
    def steps_per_second(self) -> float:
        """Steps done per second of wall time, in this session."""
        return (self.steps - self._before) / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the rate so far; None before there is one."""
        rate = self.steps_per_second
        return (self.total - self.steps) / rate if rate else None


class Display(Protocol):
    """Something that shows how jobs get on."""

    def begin(self, spec: RunSpec) -> None:
        """Show what is going to run."""

    def close(self) -> None:
        """End the display."""

    def update(self, tally: Tally) -> None:
        """Show an agent's state."""

    def output(self, name: str, line: str) -> None:
        """Show a line that an agent's process wrote."""

    def note(self, text: str) -> None:
        """Show something that people should know."""


class Silent:
    """Shows nothing but what agents print, on standard error."""

    def begin(self, spec: RunSpec) -> None:
        """Stay silent."""

    def close(self) -> None:
        """There is nothing to end."""

    def update(self, tally: Tally) -> None:
        """Stay silent."""

    def output(self, name: str, line: str) -> None:
        """Pass the line on."""
        print(line, file=sys.stderr)

    def note(self, text: str) -> None:
        """Pass the text on."""
        print(f"note: {text}", file=sys.stderr)


class Lines(Silent):
    """A plain line whenever all of an agent's running seeds have finished another task."""

    def __init__(self, console: Any) -> None:
        self._console, self._shown = console, dict[str, tuple[int, str]]()

    def begin(self, spec: RunSpec) -> None:
        """Print what is going to run."""
        self._console.print(header(spec), soft_wrap=True)

    def update(self, tally: Tally) -> None:
        """Print a line if there is something new."""
        finished = tally.tasks_finished
        if self._shown.get(tally.name, (0, "")) == (finished, tally.state) or tally.state == "waiting":
            return
        if tally.state == "failed":
            self._console.print(f"{tally.name}  failed")
        elif finished or tally.state == "done":
            what = "done" if tally.state == "done" else f"task {finished}/{tally.num_tasks}"
            accuracy = tally.task_accuracy(finished - 1)
            line = f"{tally.name}  {what}  accuracy {accuracy:.2f}  {tally.steps_per_second:,.0f} steps/s"
            self._console.print(f"{line}  {clock(tally.seconds_left)} left", soft_wrap=True)
        self._shown[tally.name] = (finished, tally.state)


class Live(Silent):
    """A bar per agent with task, accuracy, steps/s and time left."""

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=22),
            TextColumn("{task.fields[what]:<10}", markup=False),
            TextColumn("accuracy {task.fields[accuracy]}", markup=False),
            TextColumn("{task.fields[rate]:>15}", markup=False),
            TextColumn("{task.fields[left]}", markup=False),
            console=console,
        )
        self._rows: dict[str, Any] = {}

    def begin(self, spec: RunSpec) -> None:
        """Print what is going to run, and start the bars."""
        self._progress.console.print(header(spec), soft_wrap=True)
        self._progress.start()

    def close(self) -> None:
        """Leave the bars as they are."""
        self._progress.stop()

    def update(self, tally: Tally) -> None:
        """Redraw the agent's row."""
        running = tally.state == "running"
        fields: dict[str, Any] = {
            "what": f"task {tally.task + 1}/{tally.num_tasks}" if running else tally.state,
            "accuracy": "  - " if tally.accuracy != tally.accuracy else f"{tally.accuracy:.2f}",
            "rate": f"{tally.steps_per_second:,.0f} steps/s" if tally.steps else "",
            "left": f"{clock(tally.seconds_left)} left" if running else clock(tally.seconds),
        }
        if tally.name not in self._rows:
            self._rows[tally.name] = self._progress.add_task(tally.name, total=tally.total, **fields)
        self._progress.update(self._rows[tally.name], completed=tally.steps, **fields)

    def note(self, text: str) -> None:
        """Print the text above the bars."""
        self._progress.console.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)

    def output(self, name: str, line: str) -> None:
        """Print the line above the bars."""
        self._progress.console.print(f"{name}: {line}", markup=False, highlight=False)


def default_display() -> Display:
    """Return a live display for a terminal, else plain lines."""
    console = make_console()
    return Live(console) if console.is_terminal else Lines(console)


def make_console() -> "Console":
    """Return a console that prints text as it is."""
    from rich.console import Console

    return Console(highlight=False, markup=False)


def make_wide_console() -> "Console":
    """Return a console for tables: where no terminal sets a width, in a file or a pipe, nothing is cut off."""
    console = make_console()
    if not console.is_terminal:
        console.width = 200
    return console


def describe(spec: RunSpec) -> str:
    """Return stream, protocol and size of a run in one line."""
    stream = spec.stream
    changed = f" (changed: {', '.join(spec.overrides)})" if spec.overrides else ""
    return (
        f"{stream.id} · {spec.protocol}{changed} · "
        f"{count(stream.num_tasks, 'task')} x {count(stream.epochs_per_task, 'epoch')} · "
        f"{count(len(spec.seeds), 'seed')} · {stream.num_samples:,} {stream.source} images"
    )


def header(spec: RunSpec) -> str:
    """Return the line above the progress display."""
    processes = count(spec.workers, "worker")
    threads = f" x {spec.threads} threads" if spec.threads > 1 else ""
    return f"{describe(spec)} · {spec.device}, {processes}{threads}"


def count(number: int, noun: str) -> str:
    """Return number and noun, in the plural if need be.

    >>> count(1, "task"), count(3, "seed")
    ('1 task', '3 seeds')
    """
    return f"{number} {noun}" + ("s" if number != 1 else "")


def clock(seconds: float | None) -> str:
    """Return seconds as h:mm:ss.

    >>> clock(69.6), clock(None)
    ('0:01:10', '-:--:--')
    """
    return "-:--:--" if seconds is None else str(timedelta(seconds=round(seconds)))

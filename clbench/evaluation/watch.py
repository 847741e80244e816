"""Follows the messages of all jobs: records into the run folder and to trackers, states to the display."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from clbench.evaluation.jobs import Job, Message
from clbench.evaluation.progress import Display, Tally
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord
from clbench.results import RunFolder
from clbench.tracking import Trackers


@dataclass(frozen=True)
class Failure:
    """A job that did not finish: which agent and seeds, why, and the traceback for `--debug`."""

    agent: str
    seeds: tuple[int, ...]
    error: str
    traceback: str


@dataclass(frozen=True)
class Before:
    """What an earlier session kept of a job.

    Attributes:
        records: its messages.
        steps: steps done.
        done: whether the job is finished.
        path: file of the state.
    """

    records: Sequence[Message]
    steps: int
    done: bool
    path: str


class Watch:
    """What is known of all jobs.

    Args:
        jobs: all of them.
        workers: processes at a time.
        folder: where records go.
        display: shows how jobs get on.
        before: what earlier sessions kept, by job.
        trackers: take all records, those of earlier sessions, too.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        workers: int,
        folder: RunFolder,
        display: Display,
        before: Mapping[int, Before],
        trackers: Trackers,
    ) -> None:
        self._jobs, self._workers, self._folder, self._display = jobs, workers, folder, display
        self._trackers = trackers
        names = list(dict.fromkeys(job.agent.name for job in jobs))
        self._tallies = {name: Tally(name, [job for job in jobs if job.agent.name == name]) for name in names}
        self._records: list[TaskRecord] = []
        self._indicators: list[IndicatorRecord] = []
        self.failures: list[Failure] = []
        self.undefined: dict[str, dict[str, str]] = {}
        self.profiles: list[ProfileRecord] = []
        for index, kept in before.items():
            for message in kept.records:
                self._record(index, message)
            self._tallies[jobs[index].agent.name].begin_with(index, jobs[index], kept.steps, kept.done)

    def follow(self, messages: Iterable[tuple[int, Message]]) -> None:
        """Take messages until there are no more."""
        self.show()
        for index, message in messages:
            self.take(index, message)

    def show(self) -> None:
        """Show all agents as they stand."""
        for tally in self._tallies.values():
            self._display.update(tally)

    def take(self, index: int, message: Message) -> None:
        """Take a message of job number `index`."""
        job = self._jobs[index]
        kind, tally = message["kind"], self._tallies[job.agent.name]
        if kind == "output":
            self._display.output(tally.name, message["line"])
        elif kind == "note":
            self._display.note(message["text"])
        else:
            self._record(index, message)
            if kind == "task" and message["seed"] == job.seeds[-1]:
                self.write()
            if kind not in ("indicator", "undefined", "profile"):
                self._display.update(tally)

    def write(self) -> None:
        """Write the tables as they stand."""
        self._folder.write_tasks(self.sorted_records())
        if self._indicators:
            self._folder.write_indicators(self.sorted_indicators())

    def _record(self, index: int, message: Message) -> None:
        job = self._jobs[index]
        tally = self._tallies[job.agent.name]
        values = {key: value for key, value in message.items() if key != "kind"}
        if message["kind"] == "indicator":
            self._indicators.append(IndicatorRecord(**values))
            self._trackers.take(self._indicators[-1])
            return
        if message["kind"] == "profile":
            who = (tally.name, " ".join(map(str, job.seeds)))
            self.profiles += [ProfileRecord(*who, **row) for row in message["rows"]]
            return
        if message["kind"] == "undefined":
            self.undefined.setdefault(tally.name, {})[message["indicator"]] = message["reason"]
            return
        tally.take(index, job, message)
        if message["kind"] == "task":
            self._records.append(TaskRecord(**values))
            self._trackers.take(self._records[-1])
        elif message["kind"] == "failed":
            error = " ".join(message["error"].split())
            self.failures.append(Failure(tally.name, job.seeds, error, message["traceback"]))

    def sorted_records(self) -> list[TaskRecord]:
        """Records by agent, seed and task, in the order of the request."""
        rank = self._rank()
        return sorted(self._records, key=lambda record: (rank[record.agent, record.seed], record.task))

    def sorted_indicators(self) -> list[IndicatorRecord]:
        """Records by agent, seed, task and step; of one step in the order in which they were measured."""
        rank = self._rank()
        return sorted(
            self._indicators,
            key=lambda record: (rank[record.agent, record.seed], record.task, record.step),
        )

    def _rank(self) -> dict[tuple[str, int], int]:
        pairs = [(job.agent.name, seed) for job in self._jobs for seed in job.seeds]
        return {pair: index for index, pair in enumerate(pairs)}

    def rates(self) -> dict[str, float]:
        """Return each agent's updates of single seeds' learners per second of wall time, from its finished tasks.

        The mean rate of its jobs, times how many of them run at a time.
        """
        rates = {}
        for name in self._tallies:
            own = list(self._rates_of_jobs(name))
            count = sum(job.agent.name == name for job in self._jobs)
            rates[name] = sum(own) / len(own) * min(self._workers, count) if own else 0.0
        return rates

    def _rates_of_jobs(self, name: str) -> Iterator[float]:
        for job in self._jobs:
            if job.agent.name == name:
                tasks = [one for one in self._records if one.agent == name and one.seed == job.seeds[0]]
                seconds = sum(task.seconds for task in tasks)
                if seconds:
                    yield sum(task.steps for task in tasks) * len(job.seeds) / seconds

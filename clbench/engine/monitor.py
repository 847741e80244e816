"""Follows one run's events: records into its folder and to trackers, progress to the display."""

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import fmean

from clbench.engine.events import LAST, Event, Failed, Note, Output, Recorded, Started
from clbench.engine.job import Job
from clbench.engine.manifests import Earlier
from clbench.engine.progress import Progress, RunProgress, State
from clbench.engine.run import Run
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord, Undefined
from clbench.records import Progress as JobProgress
from clbench.results import RunFolder
from clbench.tracking import Trackers


class RunMonitor:
    """What is known of a run.

    Args:
        run: which run.
        jobs: all of its jobs.
        folder: where records go.
        trackers: receive all records, also those of earlier sessions.
        progress: shows how far the run is.
        earlier: what earlier sessions have done, by job.
    """

    def __init__(
        self,
        run: Run,
        jobs: Sequence[Job],
        folder: RunFolder,
        trackers: Trackers,
        progress: Progress,
        earlier: Mapping[int, Earlier],
    ) -> None:
        self._run, self._jobs, self._folder = run, jobs, folder
        self._trackers, self._progress = trackers, progress
        self.tasks: list[TaskRecord] = []
        self.indicators: list[IndicatorRecord] = []
        self.undefined: dict[str, str] = {}
        self.profile: list[ProfileRecord] = []
        self.failures: list[tuple[Job, Failed]] = []
        self._seeds = [seed for job in jobs for seed in job.config.seeds]
        self._order = {seed: index for index, seed in enumerate(self._seeds)}
        self._known: set[tuple[int | str, ...]] = set()  # records by what they are of
        self._steps = [0] * len(jobs)  # lockstep steps
        self._task: dict[int, int] = {}  # that a job is in
        # In that task, by job and seed; None for the mean of all seeds.
        self._accuracies: defaultdict[int, dict[int | None, float]] = defaultdict(dict)
        self._finished: defaultdict[int, list[float]] = defaultdict(list)  # accuracies of seeds, by task
        self._started = self._last_event = 0.0
        self._begun: dict[int, float] = {}  # when a job has started, and when it has ended
        self._ended: dict[int, float] = {}
        for index, job in earlier.items():
            for record in job.records:
                self._take_record(index, record)
            self._steps[index] = job.steps
        self._earlier_steps = self._total_steps

    def take(self, index: int, event: Event) -> None:
        """Take an event of job number `index`."""
        if isinstance(event, Output):
            self._progress.output(self._run.label, event.line)
            return
        if isinstance(event, Note):
            self._progress.note(event.text)
            return
        self._last_event = time.perf_counter()
        job = self._jobs[index]
        if isinstance(event, (TaskRecord, IndicatorRecord, Undefined, ProfileRecord)):
            self._take_record(index, event)
            if not (isinstance(event, TaskRecord) and event.seed == job.config.seeds[-1]):
                return
            self.write()
        elif isinstance(event, Started):
            self._started = self._started or self._last_event
            self._begun.setdefault(index, self._last_event)
        elif isinstance(event, JobProgress):
            self._steps[index], self._task[index] = event.steps, event.task
            self._accuracies[index] = {None: event.accuracy}
        elif isinstance(event, Failed):
            self.failures.append((job, event))
        if isinstance(event, LAST):
            self._ended[index] = self._last_event
        self.show()

    def _take_record(self, index: int, record: Recorded | ProfileRecord) -> None:
        if isinstance(record, (TaskRecord, IndicatorRecord)):
            where = (record.seed, record.task, *(() if isinstance(record, TaskRecord) else _place(record)))
            if where in self._known:  # a retried job sends what it has saved
                return
            self._known.add(where)
        if isinstance(record, Undefined):
            self.undefined[record.indicator] = record.reason
        elif isinstance(record, ProfileRecord):
            self.profile.append(record)
        elif isinstance(record, IndicatorRecord):
            self.indicators.append(record)
            self._trackers.take(record)
        else:
            self.tasks.append(record)
            self._trackers.take(record)
            self._finished[record.task].append(record.accuracy)
            self._task[index] = record.task
            self._accuracies[index].pop(None, None)
            self._accuracies[index][record.seed] = record.accuracy
            self._steps[index] = (record.task + 1) * self._jobs[index].config.stream.steps_per_task

    @property
    def started(self) -> bool:
        """Whether a job has started in this session."""
        return self._started > 0

    def show(self) -> None:
        """Show how far the run is."""
        self._progress.update(self.snapshot())

    def write(self) -> None:
        """Write the tables as they are."""
        self.tasks.sort(key=lambda record: (self._order[record.seed], record.task))
        self._folder.write_tasks(self.tasks)
        if self.indicators:
            # Records of one step stay in the order in which they were measured.
            self.indicators.sort(key=lambda record: (self._order[record.seed], record.task, record.step))
            self._folder.write_indicators(self.indicators)

    def snapshot(self) -> RunProgress:
        """Return how far the run is."""
        stream, seconds = self._jobs[0].config.stream, self._last_event - self._started
        seconds = seconds if self._started else 0.0
        complete = [task for task, seeds in self._finished.items() if len(seeds) == len(self._seeds)]
        last = self._finished[max(complete)] if complete else [math.nan]
        finished = [value for seeds in self._finished.values() for value in seeds]
        accuracies = [value for seeds in self._accuracies.values() for value in seeds.values()]
        state: State = "failed" if self.failures else "running" if self._started else "waiting"
        return RunProgress(
            label=self._run.label,
            total=len(self._seeds) * self._jobs[0].total_steps,
            state=state,
            steps=self._total_steps,
            task=min(self._task.values(), default=0),
            num_tasks=stream.num_tasks,
            accuracy=fmean(accuracies) if accuracies else math.nan,
            tasks_finished=len(complete),
            last_accuracy=fmean(last),
            average_accuracy=fmean(finished) if finished else math.nan,
            seconds=seconds,
            steps_per_second=(self._total_steps - self._earlier_steps) / seconds if seconds else 0.0,
            estimate=self._seconds_left(),
        )

    def _seconds_left(self) -> float | None:
        """Return how long it takes at the mean rate of the jobs so far; None while they all run side by side.

        Jobs that wait begin when another one ends, and the last ones leave workers idle.
        """
        busy = sum(self._ended.get(index, self._last_event) - start for index, start in self._begun.items())
        rate = (self._total_steps - self._earlier_steps) / busy if busy else 0.0
        left = {
            index: len(job.config.seeds) * (job.total_steps - steps)
            for index, (job, steps) in enumerate(zip(self._jobs, self._steps, strict=True))
            if index not in self._ended and steps < job.total_steps
        }
        if not rate or left.keys() == self._begun.keys():
            return None
        running = [steps for index, steps in left.items() if index in self._begun]
        waiting = [steps for index, steps in left.items() if index not in self._begun]
        if not waiting:
            return fmean(running) / rate if running else 0.0
        workers = running + [0] * (self._run.parallelism.workers - len(running))
        for steps in waiting:
            workers[workers.index(min(workers))] += steps
        return max(workers) / rate

    @property
    def _total_steps(self) -> int:
        return sum(len(job.config.seeds) * steps for job, steps in zip(self._jobs, self._steps, strict=True))

    def rate(self) -> float | None:
        """Return updates of single seeds' learners per second of wall time; None if no task is finished.

        The mean rate of jobs, times how many of them run at a time, on average.
        """
        rates = []
        for job in self._jobs:
            tasks = [record for record in self.tasks if record.seed == job.config.seeds[0]]
            if seconds := sum(task.seconds for task in tasks):
                rates.append(sum(task.steps for task in tasks) * len(job.config.seeds) / seconds)
        rounds = math.ceil(len(self._jobs) / self._run.parallelism.workers)
        return fmean(rates) * len(self._jobs) / rounds if rates else None


def _place(record: IndicatorRecord) -> tuple[int | str, ...]:
    return record.step, record.layer, record.indicator

"""Runs on this machine: the jobs of all of them through one pool of worker processes."""

import contextlib
import json
import signal
import tempfile
import traceback
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clbench import machine
from clbench.engine.checkpointing import can_resume
from clbench.engine.events import LAST, Event, Stopped
from clbench.engine.in_process import InProcess
from clbench.engine.interrupting import Interrupted, interruptible
from clbench.engine.job import Job
from clbench.engine.parallelism import Parallelism, choose_parallelism, split
from clbench.engine.pool import Batch, JobPool, make_pool
from clbench.engine.progress import Progress
from clbench.engine.run import Run
from clbench.engine.session import LockedRun, Options, RunSession, SharedData, lock_run, one_line
from clbench.engine.store import RunStore
from clbench.errors import InUseError, WriteError
from clbench.jsondata import to_json
from clbench.loading import is_vectorized

# Networks in a batch. On a CPU nine in lockstep take a quarter less time than apart, more of them little less, and
# with smaller batches runs finish earlier; elsewhere it is not measured yet.
MOST_ON_CPU, MOST_ELSEWHERE = 9, 81

Schedule = Callable[[Sequence[Run], int], list[Sequence[Run]]]
"""From runs and workers to batches of runs, spread over processes; the runs of a batch may be run in lockstep."""


def as_requested(runs: Sequence[Run], workers: int) -> list[Sequence[Run]]:
    """Return each run alone, spread over processes as it is."""
    return [[run] for run in runs]


def together(runs: Sequence[Run], workers: int) -> list[Sequence[Run]]:
    """Return all runs as one batch."""
    return [_as_batch(runs)]


def _as_batch(runs: Sequence[Run]) -> Sequence[Run]:
    return [replace(run, batched_runs=len(runs)) for run in runs]


def quickest(runs: Sequence[Run], workers: int) -> list[Sequence[Run]]:
    """Return the runs in batches so that all of them finish soonest; each job has one thread.

    Runs of one stream, device and seeds whose agents can be trained together share batches of nearly equal size, as
    many as keep all workers busy. Where there are too few for that, and of other agents, a run is alone, and its seeds
    are spread.
    """
    groups: dict[Hashable, list[Run]] = {}
    for index, run in enumerate(runs):
        config, kind = run.config, merge_key(run.agent)
        key = json.dumps([to_json(config.stream), config.device, config.seeds])
        groups.setdefault((kind, key) if kind else index, []).append(run)
    batches, alone = list[Sequence[Run]](), list[Run]()
    for group in groups.values():
        networks = MOST_ELSEWHERE if group[0].on_accelerator else MOST_ON_CPU
        rounds = -(-len(group) * len(group[0].config.seeds) // (networks * workers))
        if len(group) < 2 * workers:
            alone += group
        else:
            whole = [run.with_parallelism(Parallelism()) for run in group]
            batches += map(_as_batch, split(whole, min(rounds * workers, len(group))))
    return [*batches, *([run] for run in spread(alone, workers))]


def spread(runs: Sequence[Run], workers: int) -> list[Run]:
    """Return runs with the seeds of each spread over processes so that all of them finish soonest.

    A job has one CPU thread, so that results depend neither on how many runs there are nor on the machine's cores.
    """
    if not runs:
        return []
    vectorized = sum(run.vectorized for run in runs)
    seeds = max(len(run.config.seeds) for run in runs)
    shards = choose_parallelism(seeds, vectorized, len(runs) - vectorized, workers, workers).shards
    result = []
    for run in runs:
        count = len(run.config.seeds)
        jobs = min(shards, count) if run.vectorized else count
        result.append(run.with_parallelism(Parallelism(min(shards, count), min(workers, jobs))))
    return result


def merge_key(agent: type) -> Hashable | None:
    """Return what several agents are trained together by, equal for all classes that can be; None for others."""
    method = getattr(agent, "together", None)
    return getattr(method, "__func__", None) if is_vectorized(agent) and can_resume(agent) else None


@dataclass(frozen=True, kw_only=True)
class LocalPool:
    """Runs on this machine.

    Attributes:
        workers: processes at a time; None for one per core, or a single one if any run is on an accelerator.
        schedule: divides runs into batches.
        options: how runs are carried out.
    """

    workers: int | None = None
    schedule: Schedule = quickest
    options: Options = field(default_factory=Options)

    def workers_for(self, runs: Sequence[Run]) -> int:
        """Return how many processes run jobs at a time."""
        return self.workers or (1 if any(run.on_accelerator for run in runs) else machine.cores())

    def __call__(self, runs: Sequence[Run], store: RunStore, progress: Progress) -> None:
        """Carry out the runs, each in its folder. A run that fails does not stop the others.

        Raises:
            Interrupted: by a signal, with all checkpoints saved.
        """
        workers = self.workers_for(runs)
        batches = self.schedule(runs, workers)
        with (
            tempfile.TemporaryDirectory(prefix="clbench-") as scratch,
            contextlib.closing(SharedData(Path(scratch))) as shared,
        ):
            driver = _Driver(batches, store, self.options, shared, progress)
            pool: JobPool
            if any(run.inline for run in runs):
                pool = InProcess(driver.batches(), {run.config.agent.name: run.agent for run in runs})
            else:
                pool = make_pool(driver.batches(), workers)
            error: BaseException | None = None
            try:
                with contextlib.closing(pool), interruptible(pool.stop) as interruption:
                    for number, event in pool.events():
                        driver.take(number, event)
                if interruption.signal is not None or driver.is_open:
                    error = Interrupted("interrupted", interruption.signal or signal.SIGTERM)
                    raise error
            except BaseException as raised:
                error = raised
                raise
            finally:
                driver.close(error)


class _Driver:
    """Starts a run when there is a worker for its first job, and closes it when its last job has ended."""

    def __init__(
        self,
        batches: Sequence[Sequence[Run]],
        store: RunStore,
        options: Options,
        shared: SharedData,
        progress: Progress,
    ) -> None:
        self._batches, self._store, self._options = batches, store, options
        self._shared, self._progress = shared, progress
        self._locks = contextlib.ExitStack()
        self._sessions: list[RunSession] = []
        self._owners: dict[
            int, tuple[RunSession, int]
        ] = {}  # of each job; what it printed may come after its end
        self._count = 0  # of jobs that the pool was given

    def batches(self) -> Iterator[Batch]:
        """Yield the jobs that are left, by number, in batches that run in lockstep."""
        eager = self._options.eager
        locked = ([self._lock(run) for run in runs] for runs in self._batches)
        started = (
            [session for run in runs if run is not None and (session := self._start(run)) is not None]
            for runs in (list(locked) if eager else locked)
        )
        for sessions in list(started) if eager else started:
            jobs: dict[int, Job] = {}
            for session in sessions:
                for index, job in session.left.items():
                    self._owners[self._count] = session, index
                    jobs[self._count] = job
                    self._count += 1
            if len(sessions) == 1:
                yield from ({number: job} for number, job in jobs.items())
            else:
                yield from _in_lockstep(jobs, {number: self._owners[number][0].run.agent for number in jobs})

    def _lock(self, run: Run) -> LockedRun | None:
        """Lock a run's folder; return None if there is nothing to do, or if that fails."""
        locked = None
        with self._reporting(run):
            locked = lock_run(run, self._store, self._options, self._shared)
            if locked is None:
                self._progress.set_state(run.label, "done")
            else:
                self._locks.enter_context(locked.lock)
        return locked

    def _start(self, locked: LockedRun) -> RunSession | None:
        """Start a run; return None if no job is left, or if that fails."""
        session = None
        with self._reporting(locked.start.run):
            session = RunSession(locked, self._options, self._progress)
            self._sessions.append(session)
            if not session.left:  # it was interrupted after its last step
                session.close()
        return session if session is not None and session.left else None

    def take(self, number: int, event: Event) -> None:
        """Take an event of the pool's job `number`."""
        session, index = self._owners[number]
        session.take(index, event)
        if isinstance(event, LAST) and not isinstance(event, Stopped) and not session.left:
            with self._reporting(session.run):
                session.close()

    @property
    def is_open(self) -> bool:
        """Whether any run is still under way."""
        return not all(session.is_closed for session in self._sessions)

    def close(self, error: BaseException | None) -> None:
        """Close the runs that are still under way, and release all folders."""
        with self._locks:
            for session in self._sessions:
                if not session.is_closed:
                    session.close(error)

    @contextlib.contextmanager
    def _reporting(self, run: Run) -> Iterator[None]:
        """Unless runs are eager, report what goes wrong with a run instead of raising it."""
        try:
            yield
        except Exception as error:
            if self._options.eager:
                raise
            if isinstance(error, InUseError):
                self._progress.set_state(run.label, "running elsewhere")
                return
            trace = traceback.format_exc()
            with contextlib.suppress(WriteError, OSError):
                self._store.create(run).write_log(f"{one_line(error)}\n\n{trace}")
            self._progress.fail(run.label, one_line(error), trace)


def _in_lockstep(jobs: Mapping[int, Job], agents: Mapping[int, type]) -> list[Batch]:
    """Return jobs in batches that can run in lockstep: of the same stream, device and seeds, and equally far."""
    batches: dict[Hashable, dict[int, Job]] = {}
    for number, job in jobs.items():
        config = job.config
        same = [
            *(config.stream.identity(), job.data, config.device, config.threads, config.seeds),
            Path(job.checkpoint).name,
        ]
        key = (merge_key(agents[number]) or number, json.dumps(same))
        batches.setdefault(key, {})[number] = job
    return list(batches.values())

"""A run under way in its folder: from opening it, locked, to what run.json says of how it ended."""

import contextlib
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clbench.data import LabelledData
from clbench.data.sources import CACHE
from clbench.engine.events import LAST, Event, Stopped
from clbench.engine.figures import write_figures
from clbench.engine.job import Job
from clbench.engine.manifests import Start, jobs, new_manifest, resume
from clbench.engine.monitor import RunMonitor
from clbench.engine.progress import Progress
from clbench.engine.run import Run, load_data
from clbench.engine.store import RunStore
from clbench.errors import ClbenchError, DataError, WriteError
from clbench.plotting import curves, indicator_figures
from clbench.plotting.isolation import optional
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder
from clbench.results.folder import PATIENCE
from clbench.results.manifest import FIGURES, Failure, RunManifest, Status, Timing
from clbench.tracking import Trackers


@dataclass(frozen=True, kw_only=True)
class Options:
    """How runs are carried out.

    Attributes:
        accept_changes: resume runs although agent or stream have changed since they started.
        patience: seconds to wait for a run's folder that another process has locked.
        draw: whether each run's folder gets figures.
        eager: open all runs before any of them starts, and raise whatever prevents one from being opened or closed;
            else such a run is reported as failed, or as running elsewhere, and the others run.
    """

    accept_changes: bool = False
    patience: float = PATIENCE
    draw: bool = True
    eager: bool = False


class SharedData:
    """The data of streams, each written once for all workers to map.

    Args:
        scratch: an empty folder.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._folders: dict[LabelledData, Path] = {}
        self._temporary: list[LabelledData] = []  # this process does not need them

    def load(self, run: Run) -> LabelledData:
        """Return the data of a run's stream."""
        loaded = run.stream_class.data_key(run.config.stream) in CACHE
        data = load_data(run)
        if not loaded and data not in self._temporary:
            self._temporary.append(data)
        return data

    def folder(self, data: LabelledData) -> Path:
        """Return the folder that data is mapped from."""
        if data not in self._folders:
            folder = self._scratch / str(len(self._folders))
            folder.mkdir()
            data.save(folder)
            self._folders[data] = folder
        return self._folders[data]

    def close(self) -> None:
        """Free all data that was loaded for the runs."""
        for data in self._temporary:
            CACHE.drop(data)


@dataclass(frozen=True, kw_only=True)
class LockedRun:
    """A run that is ready to start, in its locked folder; nothing is written yet.

    Attributes:
        start: how it starts or resumes.
        folder: of the run.
        lock: releases the folder when it is closed.
        data: folder that workers map the stream's data from, "" for a run of this process.
    """

    start: Start
    folder: RunFolder
    lock: contextlib.ExitStack
    data: str


def lock_run(run: Run, store: RunStore, options: Options, shared: SharedData) -> LockedRun | None:
    """Lock a run's folder and check how it starts or resumes; return None if another process has completed it.

    Raises:
        InUseError: another process has locked the folder.
        ResumeError: something has changed since the run started.
    """
    data = shared.load(run)  # before there is a folder: what cannot start leaves none
    run, folder = run.resolved(), store.create(run)
    with contextlib.ExitStack() as lock:
        lock.enter_context(folder.in_use(options.patience))
        manifest = stored_manifest(folder)
        if manifest is not None and manifest.status == "complete":
            folder.delete_state()
            return None
        if manifest is not None and folder.has_checkpoints():
            start = resume(run, folder.read_manifest(), folder, data, options.accept_changes)
        else:
            folder.delete_checkpoints()  # of a run whose manifest is damaged
            start = Start(run, new_manifest(run, data), {})
        return LockedRun(
            start=start,
            folder=folder,
            data="" if run.inline else str(shared.folder(data)),
            lock=lock.pop_all(),
        )


class RunSession:
    """A run under way. Its folder is locked until it is closed.

    Args:
        locked: the run.
        options: how it is carried out.
        progress: shows how far it is.

    Attributes:
        run: as it is carried out.
        left: jobs that have not ended, by index.
        is_closed: whether `close` was called.
    """

    def __init__(self, locked: LockedRun, options: Options, progress: Progress) -> None:
        start, folder = locked.start, locked.folder
        self.run, self._manifest, self._folder, self._lock = start.run, start.manifest, folder, locked.lock
        self._options, self._progress = options, progress
        self._started, self.is_closed = time.perf_counter(), False
        listed = [
            replace(job, checkpoint=start.earlier[index].checkpoint if index in start.earlier else "")
            for index, job in enumerate(jobs(self.run, self._manifest, folder, locked.data))
        ]
        self.left: dict[int, Job] = {
            index: job
            for index, job in enumerate(listed)
            if index not in start.earlier or start.earlier[index].steps < job.total_steps
        }
        folder.write_log("")
        folder.write_manifest(self._manifest)
        self._trackers = Trackers(self.run.log, folder, self._manifest, progress.note)
        self._monitor = RunMonitor(self.run, listed, folder, self._trackers, progress, start.earlier)
        self._monitor.write()
        for text in start.notes:
            progress.note(f"{self.run.label}: {text}")
        self._monitor.show()

    def take(self, index: int, event: Event) -> None:
        """Take an event of job number `index`."""
        self._monitor.take(index, event)
        if isinstance(event, LAST) and not isinstance(event, Stopped):
            del self.left[index]

    def close(self, error: BaseException | None = None) -> None:
        """Record how the run ended, draw its figures if all jobs have ended, and unlock its folder.

        Args:
            error: that ended it early.
        """
        self.is_closed = True
        with self._lock:
            try:
                if error is None and not self.left:
                    self._finish()
            except BaseException as raised:
                error = raised
                raise
            finally:
                self._record(error)

    def _finish(self) -> None:
        monitor, folder, config = self._monitor, self._folder, self.run.config
        if self.run.profile:
            folder.write_profile(monitor.profile)
        if self._options.draw:
            with optional(lambda text: self._progress.note(f"{self.run.label}: {text}")):
                draw(
                    folder,
                    monitor.tasks,
                    monitor.indicators,
                    [config.agent.name],
                    self._manifest.describe(),
                    self._manifest.chance,
                    self.run.figures,
                )

    def _record(self, error: BaseException | None) -> None:
        monitor = self._monitor
        status: Status = "interrupted"
        if isinstance(error, Exception) and monitor.started:
            status = "failed"
        elif error is None and not self.left:
            status = "failed" if monitor.failures else "complete"
        seconds = self._manifest.timing.seconds + time.perf_counter() - self._started
        rate = monitor.rate()
        manifest = replace(
            self._manifest,
            status=status,
            timing=Timing(
                seconds=round(seconds, 3), steps_per_second=None if rate is None else round(rate, 1)
            ),
            failures=tuple(
                Failure(seeds=job.config.seeds, error=one_line(failed.error))
                for job, failed in monitor.failures
            ),
            undefined_indicators=monitor.undefined,
        )
        failures = [(failed.error, failed.traceback) for _, failed in monitor.failures]
        if isinstance(error, Exception):
            failures.append((one_line(error), "".join(traceback.format_exception(error))))
        # On a full disk, the error to be seen is the one that ended the run.
        expected = contextlib.suppress(WriteError) if error or failures else contextlib.nullcontext()
        try:
            with expected:
                self._folder.write_manifest(manifest)
                if failures:
                    self._folder.write_log("\n".join(f"{error}\n\n{trace}" for error, trace in failures))
        finally:
            self._trackers.end(status)
        if status == "complete":
            self._folder.delete_state()
            self._progress.set_state(self.run.label, "done")
        elif status == "failed":
            text = "; ".join(error for error, _ in failures)
            self._progress.fail(self.run.label, one_line(text), "\n".join(trace for _, trace in failures))


def stored_manifest(folder: RunFolder) -> RunManifest | None:
    """Return the manifest of a run folder; None if there is none that can be read."""
    with contextlib.suppress(DataError):
        return folder.read_manifest(private_paths=True) if folder.has_run() else None
    return None


def draw(
    folder: RunFolder,
    tasks: Sequence[TaskRecord],
    indicators: Sequence[IndicatorRecord],
    agents: Sequence[str],
    title: str,
    chance: float,
    formats: Sequence[str] = FIGURES,
) -> None:
    """Write the figures of one run or several into a folder; none before a task is finished."""
    if not tasks or not formats:
        return
    write_figures(folder, {"curves": curves(tasks, agents, title, chance)}, formats)
    write_figures(folder, indicator_figures(indicators, tasks, agents, title), formats)


def one_line(error: BaseException | str) -> str:
    """Return an error in one line."""
    known = isinstance(error, (ClbenchError, str))
    return " ".join((str(error) if known else f"{type(error).__name__}: {error}").split())

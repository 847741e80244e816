"""How much of a sweep is left: runs, steps, and an estimate of the time that says what it is based on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from clbench.checks import count
from clbench.data.sources import SOURCES
from clbench.engine.local import spread
from clbench.engine.progress import clock
from clbench.engine.run import Run
from clbench.engine.store import RunStore, manifest_of, split_by_status
from clbench.engine.timing import STEPS, step_times
from clbench.machine import threads

Kind = tuple[str, str, int, int, str]
"""Agent, stream, batch size, number of seeds, device: steps of runs of a kind take about equally long."""


@dataclass(frozen=True)
class Left:
    """What is left of a sweep.

    Attributes:
        runs: not complete.
        started: those of them that will resume.
        steps: of single seeds' learners, in those runs; completed steps of unfinished runs are not subtracted.
        seconds: that they take; 0 if nothing is known of any.
        workers: processes at a time.
        basis: what the estimate is based on, in words.
    """

    runs: int
    started: int
    steps: int
    seconds: float
    workers: int
    basis: str

    def __str__(self) -> str:
        """In one line."""
        if not self.runs:
            return "left: nothing"
        runs = count(self.runs, "cell") + (f" ({self.started} started)" if self.started else "")
        if not self.seconds:
            return f"left: {runs}, {self.steps:,} steps ({self.basis})"
        about = f"about {clock(self.seconds)} on {count(self.workers, 'worker')} and some seconds a cell"
        return f"left: {runs}, {self.steps:,} steps, {about} ({self.basis})"


def estimate_left(runs: Sequence[Run], store: RunStore, workers: int, measure: bool) -> Left:
    """Return what is left of the runs.

    A run's steps/s are those of complete runs in the folder of the same kind; where there are none, some steps may be
    measured here and now, on one thread.

    Args:
        runs: of the sweep, or of a shard.
        store: where their folders are.
        workers: processes at a time.
        measure: whether to measure steps of agents of which no run is complete.
    """
    complete, left = split_by_status(spread(runs, workers), store)
    kinds = {kind(run): run for run in left}
    similar = [run for run in complete if kind(run) in kinds]
    rates = _recorded_rates(similar, store)
    basis = [f"by the steps/s of {count(len(similar), 'finished cell')}"] if similar else []
    missing = {key: run for key, run in kinds.items() if key not in rates} if measure else {}
    measured = {key: rate for key, run in missing.items() if (rate := _measure(run))}
    if measured:
        basis.append(f"by {STEPS} steps measured now of {_agents(measured)}, without indicators")
    rates |= measured
    if unknown := _agents(key for key in kinds if key not in rates):
        why = (
            "whose steps cannot be measured"
            if measure
            else "of which no cell is finished: --dry-run measures them"
        )
        basis.append(f"not counting {unknown}, {why}")
    work = sum(run.total_steps / rates[kind(run)] for run in left if kind(run) in rates)
    jobs = sum(run.jobs_count for run in left)
    return Left(
        runs=len(left),
        started=sum(folder.has_checkpoints() for run in left if (folder := store.find(run)) is not None),
        steps=sum(run.total_steps for run in left),
        seconds=work / min(workers, jobs) if jobs else 0.0,
        workers=workers,
        basis="; ".join(basis),
    )


def _agents(kinds: Iterable[Kind]) -> str:
    return ", ".join(dict.fromkeys(agent for agent, *_ in kinds))


def kind(run: Run) -> Kind:
    """Return what runs have in common whose steps take about equally long."""
    config = run.config
    stream = config.stream
    return config.agent.reference, stream.id, stream.batch_size, len(config.seeds), config.device


def _recorded_rates(runs: Iterable[Run], store: RunStore) -> dict[Kind, float]:
    """Return steps per second of one process, mean over the complete runs of a kind."""
    rates: dict[Kind, list[float]] = {}
    for run in runs:
        manifest = manifest_of(run, store)
        rate = manifest.timing.steps_per_second if manifest else None
        if manifest is not None and rate:
            # Runs of a batch share a process.
            rates.setdefault(kind(run), []).append(rate * manifest.batched_runs / manifest.workers)
    return {key: fmean(of_kind) for key, of_kind in rates.items()}


def _measure(run: Run) -> float | None:
    """Return steps per second of a job of a run, on embedded images if the stream does not have its own data.

    None for an agent that raises: its error is reported when the run is carried out.
    """
    stream = run.config.stream
    if not run.stream_class.custom_data:
        stream = replace(stream, source="embedded", num_samples=SOURCES["embedded"].size, data_dir=None)
    stream = replace(stream, num_tasks=2 * STEPS)  # so that it does not end
    config = run.jobs()[0].config
    try:
        with threads(config.threads):
            times = step_times(stream, run.agent, config.agent.arguments, config.seeds, config.device)
            next(times)  # warms up
            return len(config.seeds) * STEPS / next(times)
    except (Exception, SystemExit):
        return None

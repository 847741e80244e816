"""Jobs in this process, one after another."""

import contextlib
from collections.abc import Iterable, Iterator

import torch

from clbench.engine.events import Event
from clbench.engine.execution import Classes, run_jobs
from clbench.engine.pool import Batch

DENORMAL = 1e-40


class InProcess:
    """Runs batches in this process, one after another: for classes that no other process can import.

    Args:
        batches: of jobs.
        classes: of agents, by name.
    """

    def __init__(self, batches: Iterable[Batch], classes: Classes) -> None:
        self._batches, self._classes, self._stopping = batches, classes, False

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield (job's number, event) until no job is left."""
        for batch in self._batches:
            if self._stopping:
                return
            numbers, jobs = list(batch), list(batch.values())
            run = run_jobs(jobs, self._classes, lambda: self._stopping)
            with _like_a_worker(jobs[0].config.threads), contextlib.closing(run):
                yield from ((numbers[index], event) for index, event in run)

    def stop(self) -> None:
        """Let the job save a checkpoint after the step in progress, and end."""
        self._stopping = True

    def close(self) -> None:
        """Nothing is held."""


@contextlib.contextmanager
def _like_a_worker(threads: int) -> Iterator[None]:
    """Compute as a worker process does, see `clbench.engine.worker`: with so many threads, and without denormals."""
    before, flushed = (
        torch.get_num_threads(),
        bool(torch.tensor(DENORMAL, device="cpu", dtype=torch.float32) * 1 == 0),
    )
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)
        torch.set_num_threads(before)

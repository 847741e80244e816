"""How the runs of an evaluation are spread over processes, those with classes of this process among them."""

from collections.abc import Sequence
from dataclasses import replace

from clbench.checks import check_count
from clbench.engine.parallelism import choose_parallelism
from clbench.engine.run import Run
from clbench.errors import LoadError
from clbench.machine import cores


def in_parallel(runs: Sequence[Run], workers: int | None, together: bool) -> list[Run]:
    """Return runs of the same seeds, spread over processes so that all together are quickest.

    Where an agent that only this process has trains a seed at a time, its class is sent to the others.

    Args:
        runs: of one evaluation.
        workers: processes at a time; None to choose.
        together: whether those that can are trained as one batch.
    """
    workers = None if workers is None else check_count("workers", workers)
    local = [run for run in runs if run.inline]
    alone = bool(local) and all(run.vectorized for run in local)
    if alone or (runs[0].on_accelerator and workers is None and any(run.vectorized for run in runs)):
        workers = 1  # one process keeps an accelerator busy; several would only share it
    planned = [by_value(run) for run in _spread(runs, workers, together)]
    return _spread(planned, 1, together) if any(run.inline for run in planned) else planned


def _spread(runs: Sequence[Run], workers: int | None, together: bool) -> list[Run]:
    vectorized = sum(run.vectorized for run in runs)
    groups = min(vectorized, 1) if together else vectorized
    seeds, plain = len(runs[0].config.seeds), len(runs) - vectorized
    parallelism = choose_parallelism(seeds, groups, plain, cores(), workers)
    return [run.with_parallelism(parallelism) for run in runs]


def by_value(run: Run) -> Run:
    """Return a run of several processes with the classes that only this one has, if they can be sent."""
    if not run.inline or run.parallelism.workers == 1:
        return run
    try:
        return run.by_value()
    except LoadError as error:
        return replace(run, why_inline=str(error))

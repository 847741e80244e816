"""`clbench.plan_sweep`: what a sweep consists of and how far it is, without starting anything."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clbench.checks import count
from clbench.engine.keyed_store import KeyedStore, folder_name
from clbench.engine.local import LocalPool
from clbench.engine.run import Run
from clbench.engine.store import manifest_of
from clbench.errors import DataError
from clbench.plotting.showing import as_text
from clbench.sweeps.cells import read_sweep
from clbench.sweeps.estimate import Left, estimate_left
from clbench.sweeps.store import open_store


@dataclass(frozen=True)
class PlannedRun:
    """A run of a sweep.

    Attributes:
        key: eight hexadecimal digits that the folder's name ends in.
        label: agent and varied settings in words.
        seeds: how many it has.
        steps: of all seeds' learners.
        status: "missing", "damaged", or the status in its run.json.
        folder: where it is, or will be.
        error: what is damaged: it will be run again.
    """

    key: str
    label: str
    seeds: int
    steps: int
    status: str
    folder: Path
    error: str = ""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep before it is run.

    Attributes:
        cells: the run of each cell of the file, in its order; cells of the same run have the same key.
        left: what is not complete, and how long it takes.
    """

    cells: tuple[PlannedRun, ...]
    left: Left

    def __repr__(self) -> str:
        lines = [f"{cell.label}  {cell.status}" for cell in self.cells]
        return as_text(f"Sweep plan: {count(len(self.cells), 'cell')}", lines, str(self.left))


def plan_sweep(
    what: str | Path | Mapping[str, Any],
    *,
    out: str | Path = "results",
    workers: int | None = None,
    measure: bool = False,
) -> SweepPlan:
    """Check a sweep, and say how far it is and how long the rest takes on this machine.

    Args:
        what, out, workers: as for `clbench.sweep`.
        measure: whether to measure steps of agents of which no run is complete.

    Raises:
        UsageError: something does not exist or is not possible.
    """
    sweep = read_sweep(what)
    store = open_store(sweep, out)
    planned = {run.config.key: planned_run(run, store) for run in sweep.runs}
    number = LocalPool(workers=workers).workers_for(sweep.runs)
    left = estimate_left(sweep.runs, store, number, measure)
    return SweepPlan(tuple(planned[key] for key in sweep.keys), left)


def planned_run(run: Run, store: KeyedStore) -> PlannedRun:
    """Return how far a run is."""
    folder, status, error = store.find(run), "missing", ""
    try:
        manifest = manifest_of(run, store)
        if folder is not None and manifest is not None:
            status = folder.current_status(manifest) if store.remote is None else manifest.status
    except DataError as damage:
        status, error = "damaged", str(damage)
    return PlannedRun(
        key=run.config.key,
        label=run.label,
        seeds=len(run.config.seeds),
        steps=run.total_steps,
        status=status,
        folder=folder.path if folder else store.path / folder_name(run),
        error=error,
    )

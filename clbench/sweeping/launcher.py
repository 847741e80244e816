"""What runs a sweep's cells, wherever it does, and what all launchers share."""

import contextlib
from collections.abc import Sequence
from typing import Protocol

from clbench.errors import ClbenchError, WriteError
from clbench.evaluation.jobs import Division, divide
from clbench.loading import is_vectorized
from clbench.sweeping.board import FAILED, Board
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder


class Launcher(Protocol):
    """Something that runs cells."""

    def workers_for(self, cells: Sequence[Cell]) -> int:
        """Return how many processes run jobs at a time."""

    def __call__(self, sweep: Sweep, cells: Sequence[Cell], folder: SweepFolder, board: Board) -> None:
        """Run what is left of `cells`, each in its run folder, and tell the board how each gets on and ends.

        A cell that fails stops no other.

        Raises:
            Interrupted: by a signal, with all states kept.
        """


def on_accelerator(cell: Cell) -> bool:
    """Tell whether a cell's jobs run on something else than CPUs."""
    return cell.plan.spec.device != "cpu"


def divided(cells: Sequence[Cell], workers: int) -> list[Cell]:
    """Return the cells with each one's seeds divided into jobs so that all together are quickest.

    A job has one CPU thread, so that results depend neither on how many cells run beside it, or in lockstep with it,
    nor on the machine's cores.
    """
    if not cells:
        return []
    lockstep = sum(map(_is_lockstep, cells))
    seeds = max(len(cell.plan.spec.seeds) for cell in cells)
    parts = divide(seeds, lockstep, len(cells) - lockstep, workers, workers).parts
    found = []
    for cell in cells:
        own = len(cell.plan.spec.seeds)
        parts_of_cell = min(parts, own)
        jobs = parts_of_cell if _is_lockstep(cell) else own
        found.append(cell.divided(Division(parts_of_cell, min(workers, jobs), threads=1)))
    return found


def _is_lockstep(cell: Cell) -> bool:
    return is_vectorized(cell.plan.classes[cell.agent.name])


def fail(cell: Cell, failures: Sequence[tuple[str, str]], folder: SweepFolder, board: Board) -> None:
    """Say why a cell failed, by errors with their tracebacks: in its folder and on the board."""
    text = "\n".join(f"{error}\n\n{trace}" for error, trace in failures)
    with contextlib.suppress(WriteError, OSError):
        folder.make(cell).write_log(text)
    board.end(cell.label, FAILED, "; ".join(error for error, _ in failures))


def line(error: BaseException) -> str:
    """Return an error in one line."""
    text = str(error) if isinstance(error, ClbenchError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())

"""Cells on this machine: the jobs of all of them through one pool of worker processes."""

import contextlib
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from clbench import machine
from clbench.data import LabelledData
from clbench.data.sources import forget
from clbench.errors import InUseError
from clbench.evaluation.interrupting import Interrupted, interruptible
from clbench.evaluation.jobs import Job, Message
from clbench.evaluation.pool import Pool
from clbench.evaluation.resuming import take_up
from clbench.evaluation.session import Session, gather_facts, load_data, under_way
from clbench.evaluation.watch import Watch
from clbench.results import RunFolder
from clbench.sweeping.board import ELSEWHERE, FINISHED, Board, CellDisplay
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import divided, fail, line, on_accelerator


@dataclass(frozen=True)
class Local:
    """Runs cells on this machine.

    Attributes:
        workers: processes at a time; None for as many as there are cores, or one if any cell is on an accelerator.
        accept_changes: go on with cells although agent or stream have changed since they began.
        patience: seconds to wait for a cell's folder that another process holds.
    """

    workers: int | None = None
    accept_changes: bool = False
    patience: float = 0.0

    def workers_for(self, cells: Sequence[Cell]) -> int:
        """Return how many processes run jobs at a time."""
        return self.workers or (1 if any(map(on_accelerator, cells)) else machine.cores())

    def __call__(self, sweep: Sweep, cells: Sequence[Cell], folder: SweepFolder, board: Board) -> None:
        """Run the cells."""
        workers = self.workers_for(cells)
        with (
            tempfile.TemporaryDirectory(prefix="clbench-") as scratch,
            contextlib.closing(_Shared(Path(scratch))) as shared,
            contextlib.ExitStack() as held,
        ):
            crew = _Crew(self, sweep, divided(cells, workers), folder, board, shared, held)
            pool = Pool(crew.jobs(), workers)
            with contextlib.closing(pool), interruptible(pool.stop) as interruption:
                for number, message in pool.messages():
                    crew.take(number, message)
            if interruption.signal is not None or crew.is_open:
                raise Interrupted("the sweep was broken off", interruption.signal or signal.SIGTERM)


class _Shared:
    """Data of streams, each written once for all workers to map."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._places: dict[LabelledData, tuple[Path, bool]] = {}

    def place(self, data: LabelledData, held: bool) -> str:
        """Return the folder that data is mapped from; `held` if this process needs it for other things, too."""
        if data not in self._places:
            place = self._scratch / str(len(self._places))
            place.mkdir()
            data.save(place)
            self._places[data] = (place, held)
        return str(self._places[data][0])

    def close(self) -> None:
        """Let go of all data that was loaded for the sweep."""
        for data, (_, held) in self._places.items():
            if not held:
                forget(data)


@dataclass
class _Open:
    """A cell under way: who follows its jobs, how many have not ended, and what ends it."""

    cell: Cell
    watch: Watch
    pending: int
    close: Callable[[], None]


@dataclass
class _Crew:
    """Opens a cell when there is a worker for its first job, and closes it when its last has ended."""

    launcher: Local
    sweep: Sweep
    cells: Sequence[Cell]
    folder: SweepFolder
    board: Board
    shared: _Shared
    held: contextlib.ExitStack
    owners: list[tuple[_Open, int]] = field(default_factory=list)  # of each job that the pool was given

    def jobs(self) -> Iterator[Job]:
        """Yield the jobs that are left, cell by cell."""
        for cell in self.cells:
            try:
                found = self._open(cell)
            except InUseError:
                self.board.end(cell.label, ELSEWHERE)
            except Exception as error:
                fail(cell, [(line(error), traceback.format_exc())], self.folder, self.board)
            else:
                yield from self._entrusted(*found) if found is not None else ()

    def _entrusted(self, opened: _Open, left: dict[int, Job]) -> Iterator[Job]:
        if not left:  # it was broken off after its last step
            self._close(opened)
        for index, job in left.items():
            self.owners.append((opened, index))
            yield job

    def take(self, number: int, message: Message) -> None:
        """Take a message of the pool's job `number`."""
        opened, index = self.owners[number]
        opened.watch.take(index, message)
        if message["kind"] in ("done", "failed"):
            opened.pending -= 1
            if not opened.pending:
                self._close(opened)

    @property
    def is_open(self) -> bool:
        """Whether any cell is still under way."""
        return any(opened.pending for opened, _ in self.owners)

    def _open(self, cell: Cell) -> tuple[_Open, dict[int, Job]] | None:
        with contextlib.ExitStack() as stack:
            folder = self.folder.make(cell)
            stack.enter_context(folder.in_use(self.launcher.patience))
            if self.folder.is_complete(cell):  # another process was faster
                folder.forget_states()
                self.board.end(cell.label, FINISHED)
                return None
            folder.write_log("")
            session, data, held = self._session(cell, folder)
            display = CellDisplay(self.board, cell.label)
            place = self.shared.place(data, held)
            watch, left = stack.enter_context(under_way(session, display, place, 1 / data.num_classes))
            for text in session.notes:
                display.note(text)
            watch.show()
            own = stack.pop_all()
        self.held.push(own)
        return _Open(cell, watch, len(left), own.close), left

    def _session(self, cell: Cell, folder: RunFolder) -> tuple[Session, LabelledData, bool]:
        if folder.has_states():
            return take_up(folder, (), None, cell.plan.spec.stream.data_dir, self.launcher.accept_changes)
        plan, data, held = load_data(cell.plan)
        varied = {"name": self.sweep.name, "varied": self.sweep.varied}
        return Session(plan, folder, {**gather_facts(plan, data), "sweep": varied}), data, held

    def _close(self, opened: _Open) -> None:
        failures = [(one.error, one.traceback) for one in opened.watch.failures]
        try:
            opened.close()
        except Exception as error:
            failures.append((line(error), traceback.format_exc()))
        if failures:
            fail(opened.cell, failures, self.folder, self.board)
        else:
            self.board.end(opened.cell.label, FINISHED)

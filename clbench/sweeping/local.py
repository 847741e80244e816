"""Cells on this machine: the jobs of all of them through one pool of worker processes."""

import contextlib
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from clbench import machine
from clbench.data import LabelledData
from clbench.data.sources import CACHE
from clbench.errors import InUseError
from clbench.evaluation.interrupting import Interrupted, interruptible
from clbench.evaluation.jobs import Job, Message
from clbench.evaluation.plan import in_lockstep
from clbench.evaluation.pool import make_pool
from clbench.evaluation.resuming import take_up
from clbench.evaluation.session import Session, gather_facts, load_data, under_way
from clbench.evaluation.watch import Watch
from clbench.results import RunFolder
from clbench.sweeping.board import ELSEWHERE, FINISHED, Board, CellDisplay
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.launcher import fail, line, on_accelerator
from clbench.sweeping.stacks import stacked


@dataclass(frozen=True)
class Local:
    """Runs cells on this machine.

    Attributes:
        workers: processes at a time; None for as many as there are cores, or one if any cell is on an accelerator.
        accept_changes: go on with cells although agent or stream have changed since they began.
        log: names of trackers that follow the cells.
        patience: seconds to wait for a cell's folder that another process holds.
    """

    workers: int | None = None
    accept_changes: bool = False
    log: tuple[str, ...] = ()
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
            crew = _Crew(self, sweep, stacked(cells, workers), folder, board, shared, held)
            pool = make_pool(crew.groups(), workers)
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
                CACHE.drop(data)


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
    stacks: Sequence[Sequence[Cell]]
    folder: SweepFolder
    board: Board
    shared: _Shared
    held: contextlib.ExitStack
    owners: dict[int, tuple[_Open, int]] = field(default_factory=dict)  # of each job that has not ended
    count: int = 0  # of jobs that the pool was given

    def groups(self) -> Iterator[dict[int, Job]]:
        """Yield the jobs that are left, by their numbers: those that run in lockstep together."""
        for cells in self.stacks:
            jobs: dict[int, Job] = {}
            for cell in cells:
                try:
                    found = self._open(cell, beside=len(cells))
                except InUseError:
                    self.board.end(cell.label, ELSEWHERE)
                except Exception as error:
                    fail(cell, [(line(error), traceback.format_exc())], self.folder, self.board)
                else:
                    jobs |= self._entrusted(*found) if found is not None else {}
            classes = {name: owner for cell in cells for name, owner in cell.plan.classes.items()}
            yield from in_lockstep(jobs, classes) if len(cells) > 1 else ({n: job} for n, job in jobs.items())

    def _entrusted(self, opened: _Open, left: dict[int, Job]) -> dict[int, Job]:
        if not left:  # it was broken off after its last step
            self._close(opened)
        jobs = dict(enumerate(left.values(), self.count))
        self.owners |= {number: (opened, index) for number, index in zip(jobs, left, strict=True)}
        self.count += len(jobs)
        return jobs

    def take(self, number: int, message: Message) -> None:
        """Take a message of the pool's job `number`."""
        opened, index = self.owners[number]
        opened.watch.take(index, message)
        if message["kind"] in ("done", "failed"):
            del self.owners[number]
            opened.pending -= 1
            if not opened.pending:
                self._close(opened)

    @property
    def is_open(self) -> bool:
        """Whether any cell is still under way."""
        return bool(self.owners)

    def _open(self, cell: Cell, beside: int) -> tuple[_Open, dict[int, Job]] | None:
        with contextlib.ExitStack() as stack:
            folder = self.folder.make(cell)
            stack.enter_context(folder.in_use(self.launcher.patience))
            if self.folder.is_complete(cell):  # another process was faster
                folder.forget_states()
                self.board.end(cell.label, FINISHED)
                return None
            folder.write_log("")
            session, data, held = self._session(cell, folder, beside)
            display = CellDisplay(self.board, cell.label)
            place = self.shared.place(data, held)
            watch, left = stack.enter_context(under_way(session, display, place, 1 / data.num_classes))
            for text in session.notes:
                display.note(text)
            watch.show()
            own = stack.pop_all()
        self.held.push(own)
        return _Open(cell, watch, len(left), own.close), left

    def _session(self, cell: Cell, folder: RunFolder, beside: int) -> tuple[Session, LabelledData, bool]:
        log = self.launcher.log
        if folder.has_states():
            asked, changes = cell.plan.spec, self.launcher.accept_changes
            session, data, held = take_up(folder, (), None, asked.stream.data_dir, changes, asked)
            plan, facts = replace(session.plan, log=log), {**session.facts, "log": log}
            return replace(session, plan=plan, facts=facts), data, held
        folder.forget_kept()  # what trackers were told of a run that left no state is not of this one
        plan, data, held = load_data(replace(cell.plan, log=log))
        about = {"name": self.sweep.name, "varied": self.sweep.varied, "stack": beside}
        numbered = {"numbered": dict(cell.numbered)} if cell.numbered else {}
        return Session(plan, folder, {**gather_facts(plan, data), "sweep": {**about, **numbered}}), data, held

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

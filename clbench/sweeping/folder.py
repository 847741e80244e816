"""A sweep's folder: run folders of its cells, a copy of the sweep file, and what is made of all of them."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from clbench.errors import DataError, OutputError
from clbench.places import recorded
from clbench.results import LOG, RunFolder
from clbench.results.files import write_whole
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.store import Store, is_url


def agent_of(facts: Mapping[str, Any]) -> str:
    """Return what a cell's run.json calls its agent: by a file's whole path, in one of an older clbench."""
    (agent,) = facts["spec"]["agents"]
    name: str = agent["name"]
    return name


class SweepFolder:
    """Where a sweep's cells are. Several processes may work in one: each cell is held by who runs it.

    Args:
        path: the folder.
        store: what the folder is a copy of, if it is one.
    """

    def __init__(self, path: Path, store: Store | None = None) -> None:
        self.path, self.store = path, store

    def fetch(self, cells: Iterable[Cell], states: bool = False) -> None:
        """Of a copy: bring cells that are not finished here up to date."""
        if self.store is not None:
            self.store.fetch({cell.key for cell in self.sorted_out(cells)[1]}, self.path, states)

    def put(self, cell: Cell) -> None:
        """Of a copy: put a cell back."""
        found = self.find(cell)
        if self.store is not None and found is not None:
            self.store.put(found.path)

    def keep(self, sweep: Sweep) -> None:
        """Make the folder and keep a copy of the sweep file.

        Raises:
            OutputError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write to the output folder '{self.path}': {error.strerror or error}"
            ) from error
        with self.held():
            text = recorded(sweep.source, only_here=True)  # arguments may be anything
            write_whole(self.path / sweep.copy_name, lambda path: path.write_text(text, encoding="utf-8"))

    @classmethod
    def of(cls, sweep: Sweep, out: str | Path) -> "SweepFolder":
        """Return a sweep's folder in `out`; of one at a URL, a copy in "results" with what there is already.

        Raises:
            OptionError: the URL cannot be used.
        """
        if not is_url(out):
            return cls(Path(out) / sweep.name)
        folder = cls(Path("results") / sweep.name, Store(f"{out}/{sweep.name}"))
        folder.fetch(sweep.cells)
        return folder

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Let no other process write what is made of all cells."""
        from filelock import FileLock

        with FileLock(self.path / ".lock"):
            yield

    def find(self, cell: Cell) -> RunFolder | None:
        """Return a cell's folder if there is one, under whatever name its key ends."""
        return next((RunFolder(path) for path in self.path.glob(f"*-{cell.key}") if path.is_dir()), None)

    def make(self, cell: Cell) -> RunFolder:
        """Return a cell's folder, which is made if need be."""
        path = self.path / cell.folder_name
        found = self.find(cell)
        if found is None:
            path.mkdir(exist_ok=True)
        return found or RunFolder(path)

    def facts(self, cell: Cell) -> dict[str, Any] | None:
        """Return run.json's content of a cell that was begun, else None.

        Raises:
            DataError: it is damaged.
        """
        found = self.find(cell)
        return found.read_run() if found is not None and found.has_begun() else None

    def is_complete(self, cell: Cell) -> bool:
        """Tell whether a cell is finished; a damaged run.json says nothing of the kind."""
        with contextlib.suppress(DataError):
            facts = self.facts(cell)
            return facts is not None and facts.get("status") == "complete"
        return False

    def sorted_out(self, cells: Iterable[Cell]) -> tuple[list[Cell], list[Cell]]:
        """Return the cells that are finished, and those that are not."""
        finished, left = list[Cell](), list[Cell]()
        for cell in cells:
            (finished if self.is_complete(cell) else left).append(cell)
        return finished, left

    def log(self, cell: Cell) -> Path | None:
        """Return the file that says why a cell failed, if it did."""
        found = self.find(cell)
        return found.path / LOG if found is not None and (found.path / LOG).exists() else None

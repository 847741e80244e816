"""Run folders by the keys of their runs, here or as a copy of those at a URL."""

import contextlib
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from clbench.engine.remote import RemoteFolder
from clbench.engine.run import Run
from clbench.engine.store import split_by_status
from clbench.results import LOG, RunFolder
from clbench.results.folder import LONGEST_NAME


class KeyedStore:
    """A folder of run folders whose names end in the runs' keys, such as a sweep's.

    Several processes may work in one: each run is locked by the process that carries it out.

    Args:
        path: the folder.
        remote: the folder at a URL that this one is a copy of, if it is one.
        command: resumes the runs.
    """

    def __init__(self, path: Path, remote: RemoteFolder | None = None, command: str = "") -> None:
        self.path, self.remote, self.resume_command = path, remote, command

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Let no other process write what is not in a run's folder."""
        from filelock import FileLock

        with FileLock(self.path / ".lock"):
            yield

    def find(self, run: Run) -> RunFolder | None:
        """Return a run's folder, under whatever name that ends in its key; None if there is none."""
        paths = self.path.glob(f"*-{run.key}")
        return next((RunFolder(path) for path in paths if path.is_dir()), None)

    def create(self, run: Run) -> RunFolder:
        """Return a run's folder, creating it if there is none."""
        folder = self.find(run)
        if folder is None:
            folder = RunFolder(self.path / folder_name(run))
            folder.path.mkdir(exist_ok=True)
        return folder

    def log(self, run: Run) -> Path | None:
        """Return the file that says why a run failed, if there is one."""
        folder = self.find(run)
        return folder.path / LOG if folder is not None and (folder.path / LOG).exists() else None

    def fetch(self, runs: Collection[Run], checkpoints: bool = False) -> None:
        """Of a copy: bring runs that are not complete here up to date."""
        if self.remote is not None:
            left = split_by_status(runs, self)[1]
            self.remote.fetch({run.key for run in left}, self.path, checkpoints)

    def put(self, run: Run) -> None:
        """Of a copy: copy a run's folder back."""
        folder = self.find(run)
        if self.remote is not None and folder is not None:
            self.remote.put(folder.path)

    def at(self, path: Path) -> "KeyedStore":
        """Return the same store with its folder, or copy, at another path."""
        return KeyedStore(path, self.remote, self.resume_command)


def folder_name(run: Run) -> str:
    """Return the name of a new folder for a run; only the key at its end is looked for later."""
    return f"{re.sub(r'[^A-Za-z0-9._=+-]+', '_', run.label)[:LONGEST_NAME]}-{run.key}"

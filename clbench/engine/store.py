"""Where runs' folders are."""

import contextlib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from clbench.engine.run import Run
from clbench.errors import DataError
from clbench.results import RunFolder, RunManifest


class RunStore(Protocol):
    """Finds and creates the folders of runs."""

    @property
    def resume_command(self) -> str:
        """The command that resumes the runs; "" if there is nothing to resume."""

    def find(self, run: Run) -> RunFolder | None:
        """Return a run's folder, None if there is none."""

    def create(self, run: Run) -> RunFolder:
        """Return a run's folder, creating it if there is none."""


def resume_command(folder: Path) -> str:
    """Return the command that resumes what is unfinished in a folder."""
    return f"clbench resume {shlex.quote(str(folder))}"


class GroupStore:
    """A new folder for the runs of an evaluation, created with the first of them; a single run has it to itself.

    Args:
        parent: where the folder is created.
        name: of the folder; a number is added.
        labels: of the runs.
    """

    def __init__(self, parent: Path, name: str, labels: Sequence[str]) -> None:
        self._parent, self._name, self._labels = parent, name, list(labels)
        self._group: RunFolder | None = None
        self._folders: dict[str, RunFolder] = {}

    @classmethod
    def existing(cls, path: Path, folders: Mapping[str, RunFolder]) -> "GroupStore":
        """Return the store of an evaluation that has its folders, by the runs' labels."""
        store = cls(path.parent, path.name, list(folders))
        store._group, store._folders = RunFolder(path), dict(folders)
        return store

    @property
    def path(self) -> Path:
        """The folder; where it will be created, roughly, before it is."""
        return self._parent / self._name if self._group is None else self._group.path

    @property
    def resume_command(self) -> str:
        """The command that resumes the runs; "" if none has started."""
        started = any(folder.has_run() for folder in self._folders.values())
        return resume_command(self.path) if started else ""

    def find(self, run: Run) -> RunFolder | None:
        """Return a run's folder, None before it is created."""
        return self._folders.get(run.label)

    def create(self, run: Run) -> RunFolder:
        """Return a run's folder, creating it if there is none."""
        if self._group is None:
            self._group = RunFolder.create(self._parent, self._name)
            self._folders = dict(zip(self._labels, self._group.create_runs(self._labels), strict=True))
        return self._folders[run.label]


def manifest_of(run: Run, store: RunStore) -> RunManifest | None:
    """Return the manifest of a run that has started; None for another.

    Raises:
        DataError: it is damaged.
    """
    folder = store.find(run)
    return folder.read_manifest() if folder is not None and folder.has_run() else None


def is_complete(run: Run, store: RunStore) -> bool:
    """Tell whether a run is complete; one with a damaged run.json is not."""
    with contextlib.suppress(DataError):
        manifest = manifest_of(run, store)
        return manifest is not None and manifest.status == "complete"
    return False


def split_by_status(runs: Iterable[Run], store: RunStore) -> tuple[list[Run], list[Run]]:
    """Return the runs that are complete, and those that are not."""
    complete, left = list[Run](), list[Run]()
    for run in runs:
        (complete if is_complete(run, store) else left).append(run)
    return complete, left

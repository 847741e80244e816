"""The checkpoints of a run's jobs: what `--resume` continues from."""

import contextlib
from pathlib import Path
from typing import Any

from clbench.errors import StateError, WriteError
from clbench.results.files import write_whole
from clbench.state import from_bytes, to_bytes

NEWEST = 2  # are left, so that a damaged one costs a task, not the run
SUFFIX = ".state"


class Checkpoints:
    """The newest checkpoints of one job, in a folder that holds nothing else."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, steps: int, state: object) -> None:
        """Save a job's state after `steps` steps, and delete all but the newest two checkpoints."""
        data = to_bytes(state)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot write '{self.folder}': {error.strerror or error}") from error
        path = self.folder / f"{steps:012d}{SUFFIX}"
        write_whole(path, lambda partial: partial.write_bytes(data), lasting=True)
        for old in self._paths()[NEWEST:]:
            with contextlib.suppress(OSError):
                old.unlink()

    def newest(self) -> tuple[Path, Any] | None:
        for path in self._paths():
            with contextlib.suppress(StateError, OSError):
                return path, from_bytes(path.read_bytes())
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"[0-9]*{SUFFIX}"), reverse=True) if self.folder.is_dir() else []

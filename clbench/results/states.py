"""The states of a run's jobs: what `--resume` goes on from."""

import contextlib
from pathlib import Path
from typing import Any

from clbench.errors import StateError, WriteError
from clbench.results.files import write_whole
from clbench.state import from_bytes, to_bytes

KEPT = 2  # so that a damaged newest one is not the end
SUFFIX = ".state"


class States:
    """The newest states of one job, in a folder of its own.

    Args:
        folder: made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, steps: int, state: Any) -> None:
        """Keep a state, and forget all but the newest.

        Args:
            steps: of the job; a state of more steps is newer.
            state: what `clbench.state.to_bytes` takes.

        Raises:
            StateError: it holds something that cannot be kept.
            WriteError: the disk is full, for example.
        """
        data = to_bytes(state)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot write '{self.folder}': {error.strerror or error}") from error
        path = self.folder / f"{steps:012d}{SUFFIX}"
        write_whole(path, lambda partial: partial.write_bytes(data), lasting=True)
        for old in self._paths()[KEPT:]:
            with contextlib.suppress(OSError):
                old.unlink()

    def newest(self) -> tuple[Path, Any] | None:
        """Return the newest state that is whole, and where it is; None if there is none."""
        for path in self._paths():
            with contextlib.suppress(StateError, OSError):
                return path, from_bytes(path.read_bytes())
        return None

    def _paths(self) -> list[Path]:
        return sorted(self.folder.glob(f"[0-9]*{SUFFIX}"), reverse=True) if self.folder.is_dir() else []

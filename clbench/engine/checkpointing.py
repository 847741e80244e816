"""Saving a job's checkpoints: its records so far, and the state of its loop."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from clbench.engine.events import Note, Recorded, decode, encode
from clbench.engine.job import Job
from clbench.engine.profiling import SAVE, Profile
from clbench.errors import ClbenchError, WriteError
from clbench.results import Checkpoints
from clbench.state import from_bytes
from clbench.tracebacks import raised_at

VERSION = 2
"""Of checkpoints: one of another version cannot be resumed."""


class Checkpointer:
    """Saves the checkpoints of one job.

    Args:
        job: whose.
        state_dict: returns what the loop needs to resume.
        resumable: whether the agent can save its state; if not, only the end of the job is saved.
        profile: times the saving.

    Attributes:
        last_step: steps of the newest checkpoint; 0 before there is one.
    """

    def __init__(
        self, job: Job, state_dict: Callable[[], object], resumable: bool, profile: Profile | None
    ) -> None:
        self._job, self._resumable = job, resumable
        self._state_dict = state_dict
        self._records: list[Recorded] = []
        self._checkpoints = Checkpoints(Path(job.checkpoints)) if job.checkpoints else None
        self.last_step = 0
        self._write = self._save if profile is None else profile.timed(SAVE, self._save)

    def record(self, record: Recorded) -> None:
        """Keep a record for the next checkpoint."""
        self._records.append(record)

    def restore(self) -> Mapping[str, Any]:
        """Restore the records of the job's checkpoint; return the state of its loop."""
        checkpoint: dict[str, dict[str, Any]] = from_bytes(Path(self._job.checkpoint).read_bytes())
        self._records = records_in(checkpoint)
        return checkpoint["loop"]

    def save(self, steps: int) -> Iterator[Note]:
        """Save a checkpoint, if the agent can; yield a note the first time that it turns out that it cannot."""
        if self._checkpoints is None or not (self._resumable or steps == self._job.total_steps):
            return
        try:
            self._write(self._checkpoints, steps)
        except WriteError:
            raise
        except Exception as error:
            self._resumable = False
            known = isinstance(error, ClbenchError)
            raised = f"state_dict raised {type(error).__name__}: {error}{raised_at(error)}"
            reason = str(error) if known else raised
            yield Note(cannot_resume(str(self._job), reason))

    def _save(self, checkpoints: Checkpoints, steps: int) -> None:
        loop = None if steps == self._job.total_steps else self._state_dict()
        records = [encode(record) for record in self._records]
        checkpoint = {"version": VERSION, "job": self._job.identity(), "records": records}
        checkpoints.save(steps, {**checkpoint, "steps": steps, "loop": loop})
        self.last_step = steps


def records_in(checkpoint: Mapping[str, Any]) -> list[Recorded]:
    """Return the records in a checkpoint."""
    records: list[Recorded] = [decode(data) for data in checkpoint["records"]]  # type: ignore[misc]
    return records


def can_resume(agent: type) -> bool:
    """Tell whether an agent can save and restore its state; what a module inherits is its weights alone."""
    names = ("state_dict", "load_state_dict")
    inherited = any(getattr(agent, name, None) is getattr(nn.Module, name) for name in names)
    return not inherited and all(callable(getattr(agent, name, None)) for name in names)


def cannot_resume(who: str, why: str) -> str:
    """Return the note on an agent whose state cannot be saved."""
    return f"{who} will start over if the run is interrupted and resumed: {why}"

"""A job: one agent on some seeds in one process."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from clbench.config import RunConfig
from clbench.results import Checkpoints


@dataclass(frozen=True, kw_only=True)
class Job:
    """One agent on some seeds, with everything that another process needs to run it.

    Attributes:
        config: of the run, with the seeds of this job only; one seed for a plain agent.
        reference: what the agent's class is loaded by.
        agent_code: the class itself, see `clbench.engine.by_value`; "" to load it by reference.
        vectorized: whether the agent trains its seeds in lockstep; None to find out when it is loaded.
        modules: imported first, since they may register the stream.
        stream_class: "module:Class" to register the stream from if they do not.
        stream_code: that class itself; "" to import it.
        data: folder to map the stream's data from, "" to load it.
        sources: SHA-256 of the files that define agent and stream, and of the data.
        checkpoints: folder for checkpoints, "" for none.
        checkpoint: file to resume from, "" to start from the beginning.
        profile: whether to measure where the time goes.
        retried: whether its process died in this session: the records in its checkpoint may not have arrived.
    """

    config: RunConfig
    reference: str
    agent_code: str = ""
    vectorized: bool | None = None
    modules: tuple[str, ...] = ()
    stream_class: str = ""
    stream_code: str = ""
    data: str = ""
    sources: Mapping[str, str | None] = field(default_factory=dict)
    checkpoints: str = ""
    checkpoint: str = ""
    profile: bool = False
    retried: bool = False

    @property
    def total_steps(self) -> int:
        """Lockstep steps of the whole job."""
        stream = self.config.stream
        return stream.num_tasks * stream.steps_per_task

    def identity(self) -> dict[str, Any]:
        """Return what must be equal for this job to resume from another's checkpoint."""
        return {**self.config.identity(), "sources": dict(self.sources)}

    def from_newest_checkpoint(self) -> "Job":
        """Return the job that resumes from its newest checkpoint, or starts over if there is none."""
        newest = Checkpoints(Path(self.checkpoints)).newest() if self.checkpoints else None
        return replace(self, checkpoint=str(newest[0]) if newest else "")

    def __str__(self) -> str:
        """Agent and seeds in words."""
        seeds = self.config.seeds
        return f"{self.config.agent.name} (seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))})"

"""A checked run: its config, and what this process needs to carry it out."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from clbench.config import RunConfig
from clbench.data import LabelledData
from clbench.data.sources import SOURCES
from clbench.engine.by_value import importable, pack, register_by_value, unpack
from clbench.engine.checkpointing import can_resume, cannot_resume
from clbench.engine.job import Job
from clbench.engine.parallelism import Parallelism, split
from clbench.errors import LoadError
from clbench.loading import is_vectorized, load_agent
from clbench.registration import ensure_registered, lookup
from clbench.results.manifest import FIGURES, SweepCell
from clbench.specs import StreamSpec
from clbench.streams import Stream


@dataclass(frozen=True, kw_only=True)
class Run:
    """One agent on one stream with some seeds, checked and ready to run.

    Attributes:
        config: what is run; its stream's num_samples may still be None until the data is loaded.
        agent: the agent's class.
        label: how progress and errors name the run.
        env: the stream as the user named it.
        parallelism: how the seeds are spread over processes.
        profile: whether to measure where the time goes.
        log: names of the trackers that follow the run.
        figures: formats that its figures are written in.
        sweep: the sweep that it belongs to.
        position: among the runs of a group, from 0.
        batched_runs: runs that are trained as one batch, including this one.
        agent_code, stream_code: the classes as text, if they are sent to other processes by value.
        why_inline: why they cannot be; "" if that was not tried.
        requested_key: of the config that `resolved` resolved for its data; "" if it did not.
    """

    config: RunConfig
    agent: type
    label: str
    env: str
    parallelism: Parallelism = field(default_factory=Parallelism)
    profile: bool = False
    log: tuple[str, ...] = ()
    figures: tuple[str, ...] = FIGURES
    sweep: SweepCell | None = None
    position: int = 0
    batched_runs: int = 1
    agent_code: str = ""
    stream_code: str = ""
    why_inline: str = ""
    requested_key: str = ""

    @property
    def key(self) -> str:
        """The key of the run's config as it was requested: how many images there are does not change it."""
        return self.requested_key or self.config.key

    @property
    def stream_class(self) -> type[Stream]:
        """The class of its stream."""
        return lookup(self.env).load()

    @property
    def stream_reference(self) -> str:
        """The class of its stream as "module:Class"."""
        return f"{self.stream_class.__module__}:{self.stream_class.__qualname__}"

    @property
    def vectorized(self) -> bool:
        """Whether the agent trains its seeds in lockstep."""
        return is_vectorized(self.agent)

    @property
    def on_accelerator(self) -> bool:
        """Whether its learners run on something other than CPUs."""
        return self.config.device != "cpu"

    @property
    def inline(self) -> bool:
        """Whether it has to run in this process, since no other has its classes."""
        return not (
            (self.agent_code or importable(self.agent))
            and (self.stream_code or importable(self.stream_class))
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules that may register the stream: the one that has registered it, and its class's."""
        names = dict.fromkeys((lookup(self.env).module, self.stream_class.__module__))
        return tuple(name for name in names if name in sys.modules)

    @property
    def stream(self) -> StreamSpec:
        """Its stream, resolved; data is loaded only if the stream has its own and all of it is wanted."""
        stream = self.config.stream
        if stream.num_samples is not None:
            return stream
        if self.stream_class.custom_data:
            return self.resolved().config.stream
        return stream.resolve(SOURCES[stream.source].size, stream.source)

    @property
    def total_steps(self) -> int:
        """Steps of all seeds' learners."""
        return len(self.config.seeds) * self.stream.num_tasks * self.stream.steps_per_task

    @property
    def jobs_count(self) -> int:
        """Into how many jobs the seeds are divided."""
        return self.parallelism.shards if self.vectorized else len(self.config.seeds)

    def by_value(self) -> "Run":
        """Return the run with those of its classes that other processes cannot import.

        Raises:
            LoadError: one cannot be copied.
        """
        return replace(self, agent_code=pack(self.agent), stream_code=pack(self.stream_class))

    def sent(self) -> "Run":
        """Return the run with classes that only this process has by value, if it has several and they can be sent."""
        if not self.inline or self.parallelism.workers == 1:
            return self
        try:
            return self.by_value()
        except LoadError as error:
            return replace(self, why_inline=str(error))

    def with_parallelism(self, parallelism: Parallelism) -> "Run":
        """Return the run spread over processes so."""
        config = replace(self.config, threads=parallelism.threads)
        return replace(self, config=config, parallelism=parallelism)

    def resolved(self) -> "Run":
        """Return the run with its stream resolved for its data, which is loaded."""
        stream = self.stream_class.resolve(self.config.stream)
        return replace(self, config=replace(self.config, stream=stream), requested_key=self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        # The class of an agent's file is known to this process only: another one loads it by reference.
        fields = {name: value for name, value in vars(self).items() if name != "agent"}
        return _rebuild, (fields, self.modules, self.stream_reference)

    def jobs(self, data: str = "", sources: Mapping[str, str | None] | None = None) -> list[Job]:
        """Return the run's jobs.

        Args:
            data: folder to map the stream's data from, "" to load it.
            sources: checksums of what they run.
        """
        return [
            Job(
                config=replace(self.config, seeds=seeds),
                reference=self.config.agent.reference,
                agent_code=self.agent_code,
                vectorized=self.vectorized,
                modules=self.modules,
                stream_class=self.stream_reference,
                stream_code=self.stream_code,
                data=data,
                sources=sources or {},
                profile=self.profile,
            )
            for seeds in split(self.config.seeds, self.jobs_count)
        ]

    @property
    def warnings(self) -> list[str]:
        """Notes if its seeds cannot have processes, and if the agent cannot be resumed."""
        name = self.config.agent.name
        notes = []
        if self.why_inline:
            notes.append(f"{name} runs in this process, one seed after another: {self.why_inline}")
        if not can_resume(self.agent):
            notes.append(cannot_resume(f"{name}: a seed", "it has no state_dict and load_state_dict"))
        return notes


def _rebuild(fields: dict[str, Any], modules: Sequence[str], stream_reference: str) -> Run:
    config: RunConfig = fields["config"]
    if code := fields["stream_code"]:
        register_by_value(config.stream.id, code)
    else:
        ensure_registered(config.stream.id, modules, stream_reference)
    code = fields["agent_code"]
    return Run(agent=unpack(code) if code else load_agent(config.agent.reference), **fields)


def load_data(run: Run) -> LabelledData:
    """Return the data of a run's stream, on the CPU."""
    return run.stream_class.shared_data(run.config.stream)

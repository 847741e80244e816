"""A job is one agent on some seeds in one process; how jobs are cut, and how one is run."""

import importlib
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from clbench.agent import AgentSpec
from clbench.data import LabelledData
from clbench.data.sources import remember
from clbench.errors import AgentError, ClbenchError
from clbench.loading import load_agent
from clbench.records import TaskRecord
from clbench.registration import STREAMS
from clbench.runner import run
from clbench.specs import AgentEntry, StreamSpec

Message = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """One agent on some seeds, with all that another process needs to run it.

    Attributes:
        agent: reference and arguments.
        vectorized: whether the agent trains its seeds in lockstep.
        seeds: one seed for a plain agent.
        stream: fully resolved.
        device: where the learner runs.
        threads: CPU threads.
        modules: modules to import first; they register streams.
        data: folder to map the stream's data from, "" to load it.
    """

    agent: AgentEntry
    vectorized: bool
    seeds: tuple[int, ...]
    stream: StreamSpec
    device: str
    threads: int
    modules: tuple[str, ...] = ()
    data: str = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Job":
        """Rebuild a job from `clbench.specs.plain(job)`."""
        return cls(
            **{
                **data,
                "agent": AgentEntry(**data["agent"]),
                "stream": StreamSpec(**data["stream"]),
                "seeds": tuple(data["seeds"]),
                "modules": tuple(data["modules"]),
            }
        )


@dataclass(frozen=True)
class Division:
    """How work is divided: parts per vectorised agent, processes at a time, threads in each."""

    parts: int
    workers: int
    threads: int


def divide(seeds: int, lockstep: int, plain: int, cores: int, limit: int | None = None) -> Division:
    """Return the quickest way to run some agents, by a rough rule.

    A process's speed grows as threads to the power 0.75 (measured at the backbone's size); lockstep
    seeds take their number times one seed's time; a process never gets fewer threads than one core.

    Args:
        seeds: per agent.
        lockstep: how many agents are vectorised.
        plain: how many are not; each of their seeds is a job of its own.
        cores: to be used, never oversubscribed.
        limit: processes that the user allows at a time.

    >>> divide(seeds=3, lockstep=1, plain=0, cores=2)  # three seeds do not divide by two processes
    Division(parts=1, workers=1, threads=2)
    >>> divide(seeds=3, lockstep=2, plain=0, cores=2)
    Division(parts=1, workers=2, threads=1)
    """

    def division(parts: int) -> Division:
        jobs = lockstep * parts + plain * seeds
        workers = max(1, min(jobs, limit or cores))
        return Division(parts, workers, max(1, cores // workers))

    def cost(parts: int) -> float:
        plan = division(parts)
        work = lockstep * parts * -(-seeds // parts) + plain * seeds
        longest = -(-seeds // parts) if lockstep else 1
        rounds = max(longest, -(-work // plan.workers))
        return rounds / plan.threads**0.75

    return division(min(range(1, seeds + 1 if lockstep else 2), key=cost))


def split(seeds: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Cut `seeds` into `parts` runs of nearly equal length.

    >>> split([0, 1, 2], 2)
    [(0, 1), (2,)]
    """
    size, extra = divmod(len(seeds), parts)
    cuts = [index * size + min(index, extra) for index in range(parts + 1)]
    return [tuple(seeds[start:end]) for start, end in pairwise(cuts)]


def run_job(job: Job, agent_class: type | None = None) -> Iterator[Message]:
    """Run a job; yield messages: "started", "glimpse", "task", then "done" or "failed"."""
    import torch

    try:
        torch.set_num_threads(job.threads)
        for module in job.modules:
            importlib.import_module(module)
        if job.data:
            remember(STREAMS[job.stream.id].load().data_key(job.stream), LabelledData.open(Path(job.data)))
        env = _environment(job)
        agent = _construct(agent_class or load_agent(job.agent.name), job, env.agent_spec)
        yield {"kind": "started"}
        for event in run(env, agent, name=job.agent.name, seeds=job.seeds):
            yield {"kind": "task" if isinstance(event, TaskRecord) else "glimpse", **asdict(event)}
        yield {"kind": "done"}
    except Exception as error:
        text = str(error) if isinstance(error, ClbenchError) else f"{type(error).__name__}: {error}"
        yield {"kind": "failed", "error": text, "traceback": traceback.format_exc()}


def _environment(job: Job) -> Any:
    from clbench.envs.single import StreamEnv
    from clbench.envs.vector import StreamVectorEnv

    overrides = {key: value for key, value in job.stream.to_json().items() if key not in ("id", "options")}
    overrides.update(job.stream.options)
    if job.vectorized:
        return StreamVectorEnv(job.stream.id, num_envs=len(job.seeds), device=job.device, **overrides)
    return StreamEnv(job.stream.id, agent_device=job.device, **overrides)


def _construct(agent_class: type, job: Job, spec: AgentSpec) -> Any:
    seeds: Any = job.seeds if job.vectorized else job.seeds[0]
    try:
        return agent_class(spec, seeds, **job.agent.arguments)
    except ClbenchError as error:
        raise AgentError(f"{job.agent.name}: {error}") from error
    except Exception as error:
        raise AgentError(
            f"{job.agent.name} raised {type(error).__name__}: {error} (seed {seeds}, when constructed)"
        ) from error


def importable(owner: type) -> bool:
    """Tell whether another process could import this class by its module and name."""
    return (
        "<locals>" not in owner.__qualname__
        and owner.__module__ != "__main__"
        and owner.__module__ in sys.modules
    )

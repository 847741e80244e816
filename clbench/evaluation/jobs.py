"""A job is one agent on some seeds in one process; how jobs are cut, and how one is run."""

import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from torch import nn

from clbench.agent import AgentSpec
from clbench.data import LabelledData
from clbench.data.sources import remember
from clbench.errors import AgentError, ClbenchError, WriteError
from clbench.evaluation.profiling import Profile
from clbench.loading import is_vectorized, load_agent
from clbench.observing import Observer
from clbench.records import Glimpse, IndicatorRecord, Savepoint, TaskRecord, Undefined
from clbench.registration import STREAMS, register
from clbench.results import States
from clbench.runner import Run
from clbench.specs import AgentEntry, StreamSpec, plain
from clbench.state import from_bytes

Message = dict[str, Any]

KINDS = {TaskRecord: "task", IndicatorRecord: "indicator", Undefined: "undefined", Glimpse: "glimpse"}


@dataclass(frozen=True)
class Job:
    """One agent on some seeds, with all that another process needs to run it.

    Attributes:
        agent: reference and arguments.
        vectorized: whether the agent trains its seeds in lockstep; None to see when it is loaded.
        seeds: one seed for a plain agent.
        stream: fully resolved.
        device: where the learner runs.
        threads: CPU threads.
        modules: modules to import first; they may register the stream.
        stream_class: "module:Class" to register the stream from if they do not.
        data: folder to map the stream's data from, "" to load it.
        sources: SHA-256 of the files that define agent and stream, and of the data.
        states: folder to keep states in, "" to keep none.
        resume: file of the state to go on from, "" to start anew.
        indicators: what is measured.
        indicators_every: measured every so many steps; None for a task's last only.
        profile: whether to find out where the time goes.
    """

    agent: AgentEntry
    vectorized: bool | None
    seeds: tuple[int, ...]
    stream: StreamSpec
    device: str
    threads: int
    modules: tuple[str, ...] = ()
    stream_class: str = ""
    data: str = ""
    sources: Mapping[str, str | None] = field(default_factory=dict)
    states: str = ""
    resume: str = ""
    indicators: tuple[str, ...] = ()
    indicators_every: int | None = None
    profile: bool = False

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
                "indicators": tuple(data["indicators"]),
            }
        )

    @property
    def total_steps(self) -> int:
        """Lockstep steps of the whole job."""
        return self.stream.num_tasks * self.stream.steps_per_task

    def identity(self) -> dict[str, Any]:
        """Return what a state must be of, to be gone on from by this job."""
        what = plain(self)
        for name in ("data", "states", "resume", "modules", "stream_class", "profile"):
            del what[name]
        what["stream"] = self.stream.identity()
        return what


@dataclass(frozen=True)
class Division:
    """How work is divided: parts per vectorised agent, processes at a time, threads in each."""

    parts: int
    workers: int
    threads: int


def divide(seeds: int, lockstep: int, plain: int, cores: int, limit: int | None = None) -> Division:
    """Return the quickest way to run some agents, by a rough rule.

    Lockstep seeds take their number times one seed's time, and `t` threads make a process t^0.75 times
    faster (measured at the backbone's size). Threads never outnumber cores within a process. Where jobs
    do not fill the cores evenly, up to twice as many single-threaded processes as cores share them in turns
    (5 % dearer): three seeds on two cores take one and a half times one seed's time, not twice.

    Args:
        seeds: per agent.
        lockstep: how many agents are vectorised.
        plain: how many are not; each of their seeds is a job of its own.
        cores: to be used.
        limit: processes at a time, where the user says so.

    >>> divide(seeds=3, lockstep=1, plain=0, cores=2)
    Division(parts=3, workers=3, threads=1)
    >>> divide(seeds=3, lockstep=2, plain=0, cores=2)
    Division(parts=1, workers=2, threads=1)
    >>> divide(seeds=3, lockstep=1, plain=0, cores=6)
    Division(parts=3, workers=3, threads=2)
    """

    def cost(plan: Division) -> float:
        longest = max(-(-seeds // plan.parts) if lockstep else 0, 1 if plain else 0)
        work = seeds * (lockstep + plain)
        if plan.workers > cores:
            return max(1.05 * work / cores, longest)
        jobs = lockstep * plan.parts + plain * seeds
        return max(work / plan.workers, -(-jobs // plan.workers) * longest) / plan.threads**0.75

    plans = []
    for parts in range(1, seeds + 1 if lockstep else 2):
        jobs = lockstep * parts + plain * seeds
        for workers in (limit,) if limit else (min(jobs, cores), min(jobs, 2 * cores)):
            if workers <= jobs or parts == seeds or not lockstep:
                plans.append(Division(parts, min(workers, jobs), max(1, cores // min(workers, jobs))))
    return min(plans, key=cost)


def split(seeds: Sequence[int], parts: int) -> list[tuple[int, ...]]:
    """Cut `seeds` into `parts` runs of nearly equal length.

    >>> split([0, 1, 2], 2)
    [(0, 1), (2,)]
    """
    size, extra = divmod(len(seeds), parts)
    cuts = [index * size + min(index, extra) for index in range(parts + 1)]
    return [tuple(seeds[start:end]) for start, end in pairwise(cuts)]


def run_job(
    job: Job, agent_class: type | None = None, stop: Callable[[], bool] = lambda: False
) -> Iterator[Message]:
    """Run a job; yield messages: "started", then those of `KINDS`, "profile", and "done", "stopped" or "failed".

    Args:
        job: what to run.
        agent_class: if it cannot be loaded by its name.
        stop: asked after every step; when it says true, the job keeps its state and ends.
    """
    profile: Profile | None = None
    try:
        loop, keeper, profile = _prepare(job, agent_class, stop)
        yield {"kind": "started"}
        stopped = False
        for event in loop:
            if isinstance(event, Savepoint):
                stopped = event.stopped
                yield from keeper.save(event.steps)
            else:
                message = {"kind": KINDS[type(event)], **vars(event)}
                keeper.note(message)
                yield message
        if profile is not None:
            yield profile.message()
        yield {"kind": "stopped" if stopped else "done"}
    except Exception as error:
        text = (
            str(error)
            if isinstance(error, ClbenchError)
            else f"{describe_job(job)}: {type(error).__name__}: {error}"
        )
        yield {"kind": "failed", "error": text, "traceback": traceback.format_exc()}
    finally:
        if profile is not None:
            profile.close()


def _prepare(job: Job, agent_class: type | None, stop: Callable[[], bool]) -> tuple[Run, Any, Profile | None]:
    """Return a job's loop, at its start or where it goes on, the keeper of its states, and what times both."""
    for module in job.modules:
        importlib.import_module(module)
    if job.stream.id not in STREAMS:
        register(job.stream.id, job.stream_class)
    if job.data:
        remember(STREAMS[job.stream.id].load().data_key(job.stream), LabelledData.open(Path(job.data)))
    owner = agent_class or load_agent(job.agent.name)
    if job.vectorized is None:
        job = replace(job, vectorized=is_vectorized(owner))
    env = environment(job.stream, len(job.seeds) if job.vectorized else None, job.device)
    agent = _construct(owner, job, env.agent_spec)
    observer: Any = None
    if job.indicators:
        observer = Observer(agent, job.agent.name, job.seeds, job.indicators, job.indicators_every)
    whole = can_resume(type(agent))
    profile = Profile(job.device) if job.profile else None
    if profile is not None:
        env, agent, observer = profile.env(env), profile.agent(agent), observer and profile.observer(observer)
    loop = Run(env, agent, name=job.agent.name, seeds=job.seeds, observer=observer, stop=stop)
    keeper = Keeper(job, loop, whole)
    if job.resume:
        keeper.take_up()
    return loop, profile.keeper(keeper) if profile is not None else keeper, profile


class Keeper:
    """Keeps a job's states: its records so far, and what its loop needs to go on."""

    def __init__(self, job: Job, loop: Run, whole: bool) -> None:
        self._job, self._loop, self._whole = job, loop, whole
        self._records: list[Message] = []
        self._states = States(Path(job.states)) if job.states else None

    def note(self, message: Message) -> None:
        """Remember a record for the next state."""
        if message["kind"] != "glimpse":
            self._records.append(message)

    def take_up(self) -> None:
        """Go on from the job's state."""
        state = from_bytes(Path(self._job.resume).read_bytes())
        self._records = state["records"]
        try:
            self._loop.load_state_dict(state["loop"])
        except ClbenchError:
            raise
        except Exception as error:
            raise AgentError(
                f"{describe_job(self._job)} cannot take up its state: {type(error).__name__}: {error}"
            ) from error

    def save(self, steps: int) -> Iterator[Message]:
        """Keep a state; of an agent that cannot, the end only. Yield a note the first time that it cannot."""
        end = steps == self._job.total_steps
        if self._states is None or not (self._whole or end):
            return
        try:
            loop = None if end else self._loop.state_dict()
            state = {"job": self._job.identity(), "records": self._records, "steps": steps, "loop": loop}
            self._states.save(steps, state)
        except WriteError:
            raise
        except Exception as error:
            self._whole = False
            known = isinstance(error, ClbenchError)
            reason = str(error) if known else f"state_dict raised {type(error).__name__}: {error}"
            yield {"kind": "note", "text": cannot_resume(describe_job(self._job), reason)}


def can_resume(agent: type) -> bool:
    """Tell whether an agent can give its state and take it up again; what a module inherits is its weights alone."""
    names = ("state_dict", "load_state_dict")
    inherited = any(getattr(agent, name, None) is getattr(nn.Module, name) for name in names)
    return not inherited and all(callable(getattr(agent, name, None)) for name in names)


def cannot_resume(who: str, why: str) -> str:
    """Return the note on an agent whose state cannot be kept."""
    return f"{who} will start anew if the run is broken off and resumed: {why}"


def describe_job(job: Job) -> str:
    """Return agent and seeds in words."""
    return f"{job.agent.name} (seed{'s' if len(job.seeds) > 1 else ''} {', '.join(map(str, job.seeds))})"


def environment(stream: StreamSpec, lockstep: int | None, device: str) -> Any:
    """Return the environment of a resolved stream.

    Args:
        stream: the spec.
        lockstep: how many seeds a vectorised agent trains; None for a plain agent's one.
        device: where the learner runs.
    """
    from clbench.envs.single import StreamEnv
    from clbench.envs.vector import StreamVectorEnv

    overrides = {key: value for key, value in stream.to_json().items() if key not in ("id", "options")}
    overrides.update(stream.options)
    if lockstep is None:
        return StreamEnv(stream.id, agent_device=device, **overrides)
    return StreamVectorEnv(stream.id, num_envs=lockstep, device=device, **overrides)


def _construct(agent_class: type, job: Job, spec: AgentSpec) -> Any:
    seeds: Any = job.seeds if job.vectorized else job.seeds[0]
    try:
        return agent_class(spec, seeds, **job.agent.arguments)
    except ClbenchError as error:
        raise AgentError(f"{job.agent.name}: {error}") from error
    except (Exception, SystemExit) as error:
        raise AgentError(
            f"{job.agent.name} raised {type(error).__name__}: {error} (seed {seeds}, when constructed)"
        ) from error


def importable(owner: type) -> bool:
    """Tell whether another process finds this class by its module and name."""
    module = sys.modules.get(owner.__module__)
    return owner.__module__ != "__main__" and getattr(module, owner.__qualname__, None) is owner

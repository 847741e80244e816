"""A job is one agent on some seeds in one process; how jobs are cut, and how one is run."""

import functools
import importlib
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from torch import nn

from clbench.agent import AgentSpec, MemberSpec
from clbench.data import LabelledData
from clbench.data.sources import remember
from clbench.errors import AgentError, ClbenchError, WriteError
from clbench.evaluation.profiling import Profile
from clbench.loading import is_vectorized, load_agent
from clbench.observing import Observer
from clbench.records import Glimpse, IndicatorRecord, Savepoint, TaskRecord, Undefined
from clbench.registration import STREAMS, register
from clbench.replaying import cuda_graph
from clbench.results import States
from clbench.runner import Lockstep, Part
from clbench.specs import AgentEntry, Layers, StreamSpec, plain
from clbench.state import from_bytes

_T = TypeVar("_T")
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
        layers: by which layers it is measured; None for the agent's own.
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
    layers: Layers = None
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
        if self.layers is None:
            del what["layers"]  # as in states of versions that had no other layers
        what |= {"agent": self.agent.to_json(), "stream": self.stream.identity()}
        return what


@dataclass(frozen=True)
class Division:
    """How work is divided: parts per vectorised agent, processes at a time, threads in each, and whether agents that
    can are trained together.
    """

    parts: int
    workers: int
    threads: int
    together: bool = False


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
    Division(parts=3, workers=3, threads=1, together=False)
    >>> divide(seeds=3, lockstep=2, plain=0, cores=2)
    Division(parts=1, workers=2, threads=1, together=False)
    >>> divide(seeds=3, lockstep=1, plain=0, cores=6)
    Division(parts=3, workers=3, threads=2, together=False)
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


def split(values: Sequence[_T], parts: int) -> list[tuple[_T, ...]]:
    """Cut a sequence into `parts` runs of nearly equal length.

    >>> split([0, 1, 2], 2)
    [(0, 1), (2,)]
    """
    size, extra = divmod(len(values), parts)
    cuts = [index * size + min(index, extra) for index in range(parts + 1)]
    return [tuple(values[start:end]) for start, end in pairwise(cuts)]


def run_jobs(
    jobs: Sequence[Job],
    classes: Mapping[str, type] = MappingProxyType({}),
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[int, Message]]:
    """Run jobs of the same stream, device and number of steps in lockstep; yield (place of the job, message).

    Messages are "started", then those of `KINDS`, "profile", "note", and "done", "stopped" or "failed". If one of
    several jobs fails, each goes on alone from its last state, so that the others do not fail with it.

    Args:
        jobs: what to run; several only of agents whose class has `together`.
        classes: of agents that cannot be loaded by their names.
        stop: asked after every step; when it says true, the jobs keep their states and end.
    """
    try:
        yield from _run_in_lockstep(jobs, classes, stop)
        return
    except Exception as error:
        if len(jobs) == 1 or isinstance(error, WriteError):
            known = isinstance(error, ClbenchError)
            for place, job in enumerate(jobs):
                text = str(error) if known else f"{describe_job(job)}: {type(error).__name__}: {error}"
                yield place, {"kind": "failed", "error": text, "traceback": traceback.format_exc()}
            return
        names = ", ".join(dict.fromkeys(job.agent.name for job in jobs))
        text = f"{names} go on one after another, since together they failed: {error}"
        yield 0, {"kind": "note", "text": text}
    # Here, where nothing holds what was made for all of them any longer.
    for place, job in enumerate(jobs):
        for _, message in run_jobs([gone_on_with(job)], classes, stop):
            if message["kind"] != "started":
                yield place, message


def gone_on_with(job: Job) -> Job:
    """Return a job that goes on from its newest state, or begins anew if it has none."""
    found = States(Path(job.states)).newest() if job.states else None
    return replace(job, resume=str(found[0]) if found else "")


def _run_in_lockstep(
    jobs: Sequence[Job], classes: Mapping[str, type], stop: Callable[[], bool]
) -> Iterator[tuple[int, Message]]:
    profile: Profile | None = None
    try:
        loop, keepers, profile = _prepare(jobs, classes, stop)
        yield from ((place, {"kind": "started"}) for place in range(len(jobs)))
        stopped = False
        # Of several jobs, what is not in a state yet is held back: they may have to go back to their states.
        waiting: dict[int, list[Message]] = {place: [] for place in range(len(jobs))}
        for place, event in loop:
            if isinstance(event, Savepoint):
                stopped = event.stopped
                yield from ((place, message) for message in keepers[place].save(event.steps))
                if keepers[place].kept == event.steps:
                    yield from ((place, message) for message in waiting.pop(place))
                    waiting[place] = []
                continue
            message = {"kind": KINDS[type(event)], **vars(event)}
            keepers[place].note(message)
            if len(jobs) == 1 or message["kind"] == "glimpse":
                yield place, message
            else:
                waiting[place].append(message)
        yield from ((place, message) for place, messages in waiting.items() for message in messages)
        if profile is not None:
            yield 0, profile.message()
        yield from ((place, {"kind": "stopped" if stopped else "done"}) for place in range(len(jobs)))
    finally:
        if profile is not None:
            profile.close()


def _prepare(
    jobs: Sequence[Job], classes: Mapping[str, type], stop: Callable[[], bool]
) -> tuple[Lockstep, list[Any], Profile | None]:
    """Return the jobs' loop, at its start or where it goes on, the keepers of their states, and what times both."""
    first = jobs[0]
    introduce(first.stream.id, first.modules, first.stream_class)
    if first.data:
        key = STREAMS[first.stream.id].load().data_key(first.stream)
        remember(key, LabelledData.open(Path(first.data)))
    owners = [classes.get(job.agent.name) or load_agent(job.agent.reference) for job in jobs]
    vectorized = is_vectorized(owners[0]) if first.vectorized is None else first.vectorized
    seeds = sum(len(job.seeds) for job in jobs)
    env = environment(first.stream, seeds if vectorized else None, first.device)
    agent, agents = _build(owners, jobs, env.agent_spec, vectorized)
    observers: list[Any] = [
        Observer(own, job.agent.name, job.seeds, job.indicators, job.indicators_every, job.layers)
        if job.indicators
        else None
        for own, job in zip(agents, jobs, strict=True)
    ]
    on_cuda = vectorized and env.device.type == "cuda" and not first.profile
    record = functools.partial(cuda_graph, device=env.device) if on_cuda else None
    profile = Profile(first.device) if first.profile else None
    if profile is not None:
        env, agents = profile.env(env), [profile.agent(agent)]
        agent, observers = agents[0], [own and profile.observer(own) for own in observers]
    parts = [
        Part(job.agent.name, own, job.seeds, observer)
        for job, own, observer in zip(jobs, agents, observers, strict=True)
    ]
    loop = Lockstep(env, agent, parts, stop=stop, record=record)
    keepers: list[Any] = [
        Keeper(job, functools.partial(loop.state_dict, place), can_resume(owner))
        for place, (job, owner) in enumerate(zip(jobs, owners, strict=True))
    ]
    if first.resume:
        states = [keeper.take_up() for keeper in keepers]
        try:
            loop.load_state_dict(*states)
        except ClbenchError:
            raise
        except Exception as error:
            who = ", ".join(map(describe_job, jobs))
            raise AgentError(f"{who} cannot take up its state: {type(error).__name__}: {error}") from error
    if profile is not None:
        keepers = [profile.keeper(keeper) for keeper in keepers]
    return loop, keepers, profile


def introduce(stream: str, modules: Sequence[str], stream_class: str) -> None:
    """Make a stream known to this process: by modules that may register it, else from "module:Class"."""
    for module in modules:
        importlib.import_module(module)
    if stream not in STREAMS:
        register(stream, stream_class)


class Keeper:
    """Keeps a job's states: its records so far, and what its loop needs to go on.

    Attributes:
        kept: steps of the newest state; 0 before there is one.
    """

    def __init__(self, job: Job, state_dict: Callable[[], Any], whole: bool) -> None:
        self._job, self._state_dict, self._whole = job, state_dict, whole
        self._records: list[Message] = []
        self.kept = 0
        self._states = States(Path(job.states)) if job.states else None

    def note(self, message: Message) -> None:
        """Remember a record for the next state."""
        if message["kind"] != "glimpse":
            self._records.append(message)

    def take_up(self) -> Any:
        """Take up the records of the job's state; return what its loop goes on from."""
        state = from_bytes(Path(self._job.resume).read_bytes())
        self._records = state["records"]
        return state["loop"]

    def save(self, steps: int) -> Iterator[Message]:
        """Keep a state; of an agent that cannot, the end only. Yield a note the first time that it cannot."""
        end = steps == self._job.total_steps
        if self._states is None or not (self._whole or end):
            return
        try:
            loop = None if end else self._state_dict()
            state = {"job": self._job.identity(), "records": self._records, "steps": steps, "loop": loop}
            self._states.save(steps, state)
            self.kept = steps
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


def _build(owners: Sequence[Any], jobs: Sequence[Job], spec: AgentSpec, lockstep: bool) -> tuple[Any, Any]:
    """Return what acts and learns for all jobs, and each job's agent."""
    names, seeds = ", ".join(job.agent.name for job in jobs), jobs[0].seeds if lockstep else jobs[0].seeds[0]
    try:
        if len(jobs) == 1:
            agent = owners[0](spec, seeds, **jobs[0].agent.arguments)
            return agent, [agent]
        pairs = zip(owners, jobs, strict=True)
        members = [MemberSpec(owner, job.seeds, job.agent.arguments) for owner, job in pairs]
        population, agents = owners[0].together(spec, members)
        return population, agents
    except ClbenchError as error:
        raise AgentError(f"{names}: {error}") from error
    except (Exception, SystemExit) as error:
        what = f"{type(error).__name__}: {error}"
        raise AgentError(f"{names} raised {what} (seed {seeds}, when constructed)") from error


def importable(owner: type) -> bool:
    """Tell whether another process finds this class by its module and name."""
    module = sys.modules.get(owner.__module__)
    return owner.__module__ != "__main__" and getattr(module, owner.__qualname__, None) is owner

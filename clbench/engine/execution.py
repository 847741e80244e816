"""Running jobs in this process, several in lockstep."""

import contextlib
import functools
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clbench.agent import Agent, AgentSpec, MemberSpec
from clbench.arguments import as_declared
from clbench.data import LabelledData
from clbench.data.sources import CACHE
from clbench.engine.by_value import register_by_value, unpack
from clbench.engine.checkpointing import Checkpointer, can_resume, records_in
from clbench.engine.events import Event, Failed, Finished, Note, Recorded, Started, Stopped
from clbench.engine.job import Job
from clbench.engine.profiling import Profile, TimedAgent
from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import AgentError, ClbenchError, WriteError
from clbench.loading import is_vectorized, load_agent
from clbench.loop import Loop, Member
from clbench.loop.environment import Environment
from clbench.loop.replay import cuda_graph
from clbench.observing import Observer
from clbench.records import Checkpoint, Progress
from clbench.registration import ensure_registered, lookup
from clbench.seeding import global_states_kept, seed_globals
from clbench.specs import StreamSpec
from clbench.state import from_bytes
from clbench.tracebacks import raised_at

Classes = Mapping[str, type]


def run_jobs(
    jobs: Sequence[Job],
    classes: Classes = MappingProxyType({}),
    stop: Callable[[], bool] = lambda: False,
) -> Generator[tuple[int, Event], None, None]:
    """Run jobs with the same stream, device and number of steps in lockstep; yield (index of the job, event).

    If one of several jobs fails, each continues alone from its last checkpoint, so that it does not fail the others.

    Args:
        jobs: several only of agents whose class has `together`.
        classes: agents that cannot be loaded by reference, by name.
        stop: asked after every step; when true, the jobs save checkpoints and end.
    """
    try:
        with global_states_kept():
            yield from _run_in_lockstep(jobs, classes, stop)
        return
    except Exception as error:
        if len(jobs) == 1 or isinstance(error, WriteError):
            known = isinstance(error, ClbenchError)
            for index, job in enumerate(jobs):
                text = str(error) if known else f"{job}: {type(error).__name__}: {error}"
                yield index, Failed(f"{text}{raised_at(error)}", traceback.format_exc())
            return
        names = ", ".join(dict.fromkeys(job.config.agent.name for job in jobs))
        yield 0, Note(f"running {names} together failed ({error}); retrying one at a time")
    # Outside the handler, so that the failed loop and its networks are freed first.
    for index, job in enumerate(jobs):
        with contextlib.closing(run_jobs([job.from_newest_checkpoint()], classes, stop)) as alone:
            yield from ((index, event) for _, event in alone if not isinstance(event, Started))


def _run_in_lockstep(
    jobs: Sequence[Job], classes: Classes, stop: Callable[[], bool]
) -> Iterator[tuple[int, Event]]:
    if jobs[0].retried and jobs[0].checkpoint:  # a single job
        saved = from_bytes(Path(jobs[0].checkpoint).read_bytes())
        yield from ((0, record) for record in records_in(saved))
        if saved["steps"] == jobs[0].total_steps:
            yield 0, Finished()
            return
    profile = Profile(jobs[0].config.device) if jobs[0].profile else None
    try:
        loop, checkpointers = _build(jobs, classes, stop, profile)
        yield from ((index, Started()) for index in range(len(jobs)))
        stopped = False
        # Of several jobs, records wait for the next checkpoint: after a failure the jobs go back to it.
        pending: list[list[Recorded]] = [[] for _ in jobs]
        for index, event in loop:
            if isinstance(event, Checkpoint):
                stopped = event.stopped
                yield from ((index, note) for note in checkpointers[index].save(event.steps))
                if checkpointers[index].last_step == event.steps:
                    yield from ((index, record) for record in pending[index])
                    pending[index] = []
            elif isinstance(event, Progress):
                yield index, event
            else:
                checkpointers[index].record(event)
                if len(jobs) == 1:
                    yield index, event
                else:
                    pending[index].append(event)
        yield from ((index, record) for index, records in enumerate(pending) for record in records)
        if profile is not None:
            yield from ((0, record) for record in profile.records(jobs[0].config))
        yield from ((index, Stopped() if stopped else Finished()) for index in range(len(jobs)))
    finally:
        if profile is not None:
            profile.close()


def _build(
    jobs: Sequence[Job], classes: Classes, stop: Callable[[], bool], profile: Profile | None
) -> tuple[Loop, list[Checkpointer]]:
    """Return the jobs' loop, at its start or where it resumes, and what saves their checkpoints."""
    first, config = jobs[0], jobs[0].config
    seed_globals(config.seeds[0])
    if first.stream_code:
        register_by_value(config.stream.id, first.stream_code)
    else:
        ensure_registered(config.stream.id, first.modules, first.stream_class)
    if first.data:
        key = lookup(config.stream.id).load().data_key(config.stream)
        CACHE.put(key, LabelledData.open(Path(first.data)))
    owners = [classes.get(job.config.agent.name) or _class_of(job) for job in jobs]
    vectorized = is_vectorized(owners[0]) if first.vectorized is None else first.vectorized
    seeds = sum(len(job.config.seeds) for job in jobs)
    env = environment(config.stream, seeds if vectorized else None, config.device)
    agent, agents = _build_agents(owners, jobs, env.agent_spec, vectorized)
    observers = [
        Observer(
            agent,
            job.config.agent.name,
            job.config.seeds,
            job.config.indicators,
            job.config.indicators_every,
            job.config.layers,
        )
        if job.config.indicators
        else None
        for agent, job in zip(agents, jobs, strict=True)
    ]
    on_cuda = vectorized and env.device.type == "cuda" and profile is None
    record = functools.partial(cuda_graph, device=env.device) if on_cuda else None
    if profile is not None:
        agent = TimedAgent(agent, profile)
        profile.time_env(env)
        for observer in filter(None, observers):
            profile.time_observer(observer)
    members = [
        Member(job.config.agent.name, member, job.config.seeds, observer)
        for job, member, observer in zip(jobs, agents, observers, strict=True)
    ]
    loop = Loop(env, agent, members, stop=stop, record=record)
    checkpointers = [
        Checkpointer(job, functools.partial(loop.state_dict, index), can_resume(owner), profile)
        for index, (job, owner) in enumerate(zip(jobs, owners, strict=True))
    ]
    if first.checkpoint:
        states = [checkpointer.restore() for checkpointer in checkpointers]
        try:
            loop.load_state_dict(*states)
        except ClbenchError:
            raise
        except Exception as error:
            who = ", ".join(map(str, jobs))
            raise AgentError(f"{who} cannot restore its state: {type(error).__name__}: {error}") from error
    return loop, checkpointers


def _class_of(job: Job) -> type:
    return unpack(job.agent_code) if job.agent_code else load_agent(job.reference)


def environment(stream: StreamSpec, seeds: int | None, device: str) -> Environment:
    """Return the environment of a resolved stream.

    Args:
        stream: the spec.
        seeds: number of seeds that a vectorised agent trains; None for a plain agent's one.
        device: where the learner runs.
    """
    stream_class = lookup(stream.id).load()
    if seeds is None:
        return StreamEnv(stream_class, stream, device)
    return StreamVectorEnv(stream_class, stream, seeds, device)


def _build_agents(
    owners: Sequence[Any], jobs: Sequence[Job], spec: AgentSpec, vectorized: bool
) -> tuple[Agent[Any], list[Any]]:
    """Return what acts and learns for all jobs, and each job's agent."""
    configs = [job.config for job in jobs]
    names = ", ".join(config.agent.name for config in configs)
    seeds: Any = configs[0].seeds if vectorized else configs[0].seeds[0]
    arguments = [
        as_declared(owner, config.agent.arguments) for owner, config in zip(owners, configs, strict=True)
    ]
    seed_globals(configs[0].seeds[0])  # after imports, which may have drawn from them in this process or not
    try:
        if len(jobs) == 1:
            agent = owners[0](spec, seeds, **arguments[0])
            return agent, [agent]
        members = [
            MemberSpec(owner, config.seeds, given)
            for owner, config, given in zip(owners, configs, arguments, strict=True)
        ]
        population, agents = owners[0].together(spec, members)
        return population, agents
    except ClbenchError as error:
        raise AgentError(f"{names}: {error}") from error
    except (Exception, SystemExit) as error:
        where = f"(seed {seeds}, when constructed)"
        raise AgentError(f"{names} raised {type(error).__name__}: {error} {where}") from error

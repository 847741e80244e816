"""From a request to a plan: every name looked up, every value checked, before anything starts."""

import itertools
import json
import math
import numbers
from collections.abc import Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from clbench.envs.vector import check_device
from clbench.errors import LoadError, OptionError, UnknownNameError
from clbench.evaluation.jobs import Division, Job, can_resume, divide, importable, split
from clbench.indicators.layers import LayerChoice, check_layer_choice
from clbench.loading import (
    check_agent,
    check_arguments,
    is_vectorized,
    load_agent,
    load_indicator,
    parameters,
)
from clbench.machine import cores
from clbench.observing import ALL, DEFAULT
from clbench.places import recorded
from clbench.registration import lookup, resolve
from clbench.seeding import check_seed
from clbench.specs import (
    AgentEntry,
    Layers,
    Protocol,
    RunSpec,
    StreamSpec,
    check_choice,
    check_count,
    names_in,
    protocol,
)

AgentLike = str | type


@dataclass(frozen=True)
class Plan:
    """A checked evaluation.

    Attributes:
        spec: what is run; its stream's num_samples may still be None until the data is loaded.
        classes: agent classes by name.
        division: how the work is divided.
        modules: modules that a worker imports; they may register the stream.
        stream_class: "module:Class", to register it from if they do not.
        inline: run in this process, since no other could import the classes.
        env: the stream as the user named it.
        profile: whether to find out where the time goes.
        log: names of the trackers that follow the run.
    """

    spec: RunSpec
    classes: Mapping[str, type]
    division: Division
    modules: tuple[str, ...]
    stream_class: str
    inline: bool
    env: str
    profile: bool = False
    log: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.profile and self.division.together:
            raise OptionError(
                "a profile looks at one agent at a time: profile agents that are not run together"
            )

    def jobs(self, data: str) -> list[Job]:
        """Return the jobs, agent by agent; `data` is the folder that workers map the data from."""
        jobs = []
        for agent in self.spec.agents:
            vectorized = is_vectorized(self.classes[agent.name])
            parts = self.division.parts if vectorized else len(self.spec.seeds)
            jobs += [
                Job(
                    agent=agent,
                    vectorized=vectorized,
                    seeds=seeds,
                    stream=self.spec.stream,
                    device=self.spec.device,
                    threads=self.division.threads,
                    modules=self.modules,
                    stream_class=self.stream_class,
                    data=data,
                    indicators=self.spec.indicators,
                    indicators_every=self.spec.indicators_every,
                    layers=self.spec.layers,
                    profile=self.profile,
                )
                for seeds in split(self.spec.seeds, parts)
            ]
        return jobs

    def groups(self, jobs: Mapping[int, Job]) -> list[dict[int, Job]]:
        """Return jobs, by their numbers, in groups that run in lockstep; each alone unless asked otherwise."""
        return (
            in_lockstep(jobs, self.classes)
            if self.division.together
            else [{n: job} for n, job in jobs.items()]
        )


def in_lockstep(jobs: Mapping[int, Job], classes: Mapping[str, type]) -> list[dict[int, Job]]:
    """Return jobs in groups that can run in lockstep: of the same stream, device and seeds, and equally far."""
    groups: dict[Hashable, dict[int, Job]] = {}
    for number, job in jobs.items():
        alike = [job.stream.identity(), job.data, job.device, job.threads, job.seeds, Path(job.resume).name]
        key = (together(classes[job.agent.name]) or number, json.dumps(alike))
        groups.setdefault(key, {})[number] = job
    return list(groups.values())


def together(agent: type) -> Hashable | None:
    """Return what makes one agent of several, equal for all classes that it can be used on; None if nothing does."""
    method = getattr(agent, "together", None)
    return getattr(method, "__func__", None) if is_vectorized(agent) and can_resume(agent) else None


def make_plan(
    agents: AgentLike | Sequence[AgentLike],
    env: str,
    protocol_name: str,
    seeds: int | Sequence[int] | None,
    overrides: Mapping[str, Any],
    arguments: Mapping[str, Any],
    device: str,
    workers: int | None,
    indicators: str | Sequence[str] | None = None,
    indicators_every: int | None = None,
    together: bool = False,
    layers: LayerChoice = None,
) -> Plan:
    """Check a request and return the plan for it.

    Raises:
        UsageError: something in the request does not exist or is not possible.
    """
    entries, classes = _resolve_agents([agents] if isinstance(agents, (str, type)) else agents, arguments)
    rules = protocol(protocol_name)
    overrides = {name: value for name, value in overrides.items() if value is not None}
    stream_class = lookup(env).load()
    settings = protocol_settings(rules, stream_class.custom_data, overrides)
    by_protocol, stream = resolve(env, settings), resolve(env, {**settings, **overrides})
    inline = not all(importable(owner) for owner in (stream_class, *classes.values()))
    chosen = choose_device(device)
    roots = check_seeds(rules.seeds if seeds is None else seeds)
    if workers is not None:
        workers = check_count("workers", workers)
    lockstep = sum(is_vectorized(owner) for owner in classes.values())
    if inline or (chosen != "cpu" and lockstep and workers is None):
        workers = 1  # one process keeps an accelerator busy; several would only share it
    stacks = lockstep and (1 if together else lockstep)
    division = divide(len(roots), stacks, len(classes) - lockstep, cores(), workers)
    division = replace(division, together=together)
    spec = RunSpec(
        agents=entries,
        stream=stream,
        protocol=protocol_name,
        overrides=_changes(by_protocol, stream, overrides),
        seeds=roots,
        device=chosen,
        workers=division.workers,
        threads=division.threads,
        indicators=check_indicators(indicators),
        indicators_every=None
        if indicators_every is None
        else check_count("indicators_every", indicators_every),
        layers=check_layers(layers),
    )
    return plan_of(spec, classes, division, env)


def plan_of(spec: RunSpec, classes: Mapping[str, type], division: Division, env: str) -> Plan:
    """Return the plan for a spec; `env` is the stream as the user named it."""
    owner = lookup(env).load()
    # The class's module and the one that the user named; either may hold the call to `register`.
    modules = tuple(dict.fromkeys(name for name in (env.rpartition(":")[0], owner.__module__) if name))
    inline = not all(importable(one) for one in (owner, *classes.values()))
    return Plan(spec, classes, division, modules, f"{owner.__module__}:{owner.__qualname__}", inline, env)


def protocol_settings(rules: Protocol, own_data: bool, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a protocol says about a stream: of one with data of its own, only the length."""
    settings: dict[str, Any] = {"num_tasks": rules.num_tasks, "epochs_per_task": rules.epochs_per_task}
    if not own_data:
        settings |= {"source": rules.source, "num_samples": rules.num_samples}
        if overrides.get("source", rules.source) != rules.source:
            settings["num_samples"] = None  # another source: all that it has
    return settings


def _changes(by_protocol: StreamSpec, stream: StreamSpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that make this run another than the protocol's; where files lie does not."""

    def value(spec: StreamSpec, name: str) -> Any:
        return spec.options[name] if name in spec.options else getattr(spec, name)

    return {
        name: value(stream, name)
        for name in overrides
        if name != "data_dir" and value(stream, name) != value(by_protocol, name)
    }


def check_seeds(seeds: Any) -> tuple[int, ...]:
    """Return root seeds: 0, 1, ... for a count, else those listed, which must differ."""
    if isinstance(seeds, numbers.Integral):
        return tuple(range(check_count("seeds", seeds)))
    listed = tuple(check_seed(seed) for seed in seeds)
    if not listed:
        raise OptionError("seeds: give at least one")
    if len(set(listed)) < len(listed):
        raise OptionError(f"seeds {', '.join(map(str, listed))}: each may occur once")
    return listed


def check_indicators(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names of indicators: those listed, "all", "none", or for None those that cost next to nothing.

    A name with a colon is a reference to a function of one's own, which must be there.

    >>> check_indicators("sharpness,feature_rank")
    ('sharpness', 'feature_rank')
    """
    if wanted is None:
        return DEFAULT
    names = names_in(wanted)
    if names in (["all"], ["none"]):
        return ALL if names == ["all"] else ()
    for name in names:
        if ":" in name:  # a user's own
            load_indicator(name)
            continue
        check_choice("indicator", name, dict.fromkeys((*ALL, "all", "none")))
        if name in ("all", "none"):
            raise OptionError(f"indicators: '{name}' goes alone, not with others")
    return tuple(dict.fromkeys(names))


def check_layers(wanted: LayerChoice) -> Layers:
    """Return what a layer is: None, a depth, patterns, or patterns by layer, as it is or as the command line says it.

    >>> check_layers("1"), check_layers("blocks.*, head"), check_layers("body=blocks.*,body=stem,head=fc")
    (1, ['blocks.*', 'head'], {'body': ['blocks.*', 'stem'], 'head': ['fc']})
    """
    if isinstance(wanted, str):
        names = names_in(wanted)
        if len(names) == 1 and names[0].isdecimal():
            wanted = int(names[0])
        elif any("=" in name for name in names):
            named: dict[str, list[str]] = {}
            for layer, equals, pattern in (name.partition("=") for name in names):
                if not (layer and equals and pattern):
                    raise OptionError(
                        f"layers={wanted!r}: either all or none have a name, as in body=blocks.*"
                    )
                named.setdefault(layer, []).append(pattern)
            wanted = named
        else:
            wanted = names
    check_layer_choice(wanted)
    if wanted is None or isinstance(wanted, int):
        return wanted
    if isinstance(wanted, Mapping):
        return {layer: [own] if isinstance(own, str) else list(own) for layer, own in wanted.items()}
    return list(wanted)


def choose_device(name: str) -> str:
    """Return `name` checked, or for "auto" the best device here: cuda, mps, cpu."""
    import torch

    if name != "auto":
        return str(check_device(name))
    if torch.cuda.is_available():
        return str(check_device("cuda"))
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _resolve_agents(
    agents: Sequence[AgentLike], arguments: Mapping[str, Any]
) -> tuple[tuple[AgentEntry, ...], dict[str, type]]:
    if not agents:
        raise UnknownNameError("no agent was named; for example: agents.vanilla (--list shows all)")
    classes: dict[str, type] = {}
    entries: list[AgentEntry] = []
    for agent in agents:
        if not isinstance(agent, (str, type)):
            raise LoadError(f"{agent!r} is no agent: name one, or give its class")
        reference = agent if isinstance(agent, str) else f"{agent.__module__}:{agent.__qualname__}"
        if any(entry.reference == reference for entry in entries):
            raise OptionError(f"agent '{reference}' is named twice")
        name = _new_name(recorded(reference), classes)
        classes[name] = load_agent(agent) if isinstance(agent, str) else check_agent(agent, name)
        given = dict(arguments)
        check_arguments(name, classes[name], given)
        if "step_size" in given and not 0 < given["step_size"] < math.inf:
            raise OptionError(f"step_size={given['step_size']} must be above 0 and finite")
        for key, value in given.items():
            if not _is_plain(value):
                raise OptionError(
                    f"{key}={value!r} cannot be recorded: give numbers, strings, true, false or lists"
                )
        defaults = {key: value for key, value in parameters(classes[name]).items() if _is_plain(value)}
        check = getattr(classes[name], "check_arguments", None)
        if check is not None:
            check({**defaults, **given})
        entries.append(AgentEntry(name, {**defaults, **given}, "" if name == reference else reference))
    return tuple(entries), classes


def _new_name(name: str, taken: Collection[str]) -> str:
    """Return a name that no other agent has: files of one name may lie in several folders."""
    numbered = (f"{name} ({number})" for number in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))

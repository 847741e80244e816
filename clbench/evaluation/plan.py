"""From a request to a plan: every name looked up, every value checked, before anything starts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from clbench.envs.vector import check_device
from clbench.errors import OptionError, UnknownNameError
from clbench.evaluation.jobs import Division, Job, divide, importable, split
from clbench.loading import check_arguments, load_agent, parameters
from clbench.machine import cores
from clbench.registration import lookup, resolve
from clbench.seeding import check_seed
from clbench.specs import AgentEntry, RunSpec, check_count, protocol

AgentLike = str | type


@dataclass(frozen=True)
class Plan:
    """A checked evaluation.

    Attributes:
        spec: what is run; its stream's num_samples may still be None until the data is loaded.
        classes: agent classes by name.
        division: how the work is divided.
        modules: modules that a worker must import so that the stream is registered.
        inline: run in this process, since no other could import the classes.
    """

    spec: RunSpec
    classes: Mapping[str, type]
    division: Division
    modules: tuple[str, ...]
    inline: bool

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
                    data=data,
                )
                for seeds in split(self.spec.seeds, parts)
            ]
        return jobs


def make_plan(
    agents: AgentLike | Sequence[AgentLike],
    env: str,
    protocol_name: str,
    seeds: int | Sequence[int] | None,
    overrides: Mapping[str, Any],
    arguments: Mapping[str, Any],
    device: str,
    workers: int | None,
) -> Plan:
    """Check a request and return the plan for it.

    Raises:
        UsageError: something in the request does not exist or is not possible.
    """
    entries, classes = _resolve_agents([agents] if isinstance(agents, (str, type)) else agents, arguments)
    rules = protocol(protocol_name)
    overrides = {name: value for name, value in overrides.items() if value is not None}
    settings = {
        name: getattr(rules, name) for name in ("source", "num_samples", "num_tasks", "epochs_per_task")
    }
    if overrides.get("source", rules.source) != rules.source and "num_samples" not in overrides:
        settings["num_samples"] = None  # another source: all that it has
    stream = resolve(env, {**settings, **overrides})
    stream_class = lookup(env).load()
    inline = not all(importable(owner) for owner in (stream_class, *classes.values()))
    chosen = choose_device(device)
    numbers = check_seeds(rules.seeds if seeds is None else seeds)
    lockstep = sum(is_vectorized(owner) for owner in classes.values())
    if workers is not None:
        check_count("workers", workers)
    # One process keeps an accelerator busy; several would only share it.
    division = divide(
        len(numbers),
        lockstep,
        len(classes) - lockstep,
        cores(),
        1 if inline or (chosen != "cpu" and lockstep) else workers,
    )
    if workers and chosen != "cpu" and not inline:
        division = replace(division, workers=workers)
    spec = RunSpec(
        agents=entries,
        stream=stream,
        protocol=protocol_name,
        overrides=overrides,
        seeds=numbers,
        device=chosen,
        workers=division.workers,
        threads=division.threads,
    )
    # The class's module and the one that the user named; either may hold the call to `register`.
    modules = tuple(dict.fromkeys(name for name in (env.rpartition(":")[0], stream_class.__module__) if name))
    return Plan(spec, classes, division, modules, inline)


def check_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return root seeds: 0, 1, ... for a count, else those listed, which must differ."""
    if isinstance(seeds, int):
        return tuple(range(check_count("seeds", seeds)))
    numbers = tuple(check_seed(seed) for seed in seeds)
    if not numbers:
        raise OptionError("seeds: give at least one")
    if len(set(numbers)) < len(numbers):
        raise OptionError(f"seeds {', '.join(map(str, numbers))}: each may occur once")
    return numbers


def choose_device(name: str) -> str:
    """Return `name` checked, or for "auto" the best device here: cuda, mps, cpu."""
    import torch

    if name != "auto":
        return str(check_device(name))
    if torch.cuda.is_available():
        return str(check_device("cuda"))
    return "mps" if torch.backends.mps.is_available() else "cpu"


def is_vectorized(agent: type) -> bool:
    """Tell whether an agent trains all its seeds in lockstep."""
    return bool(getattr(agent, "vectorized", False))


def _resolve_agents(
    agents: Sequence[AgentLike], arguments: Mapping[str, Any]
) -> tuple[tuple[AgentEntry, ...], dict[str, type]]:
    if not agents:
        raise UnknownNameError("no agent was named; for example: agents.vanilla (--list shows all)")
    classes: dict[str, type] = {}
    entries = []
    for agent in agents:
        name = agent if isinstance(agent, str) else f"{agent.__module__}:{agent.__qualname__}"
        if name in classes:
            raise OptionError(f"agent '{name}' is named twice")
        classes[name] = load_agent(name) if isinstance(agent, str) else agent
        given = dict(arguments)
        check_arguments(name, classes[name], given)
        if "step_size" in given and not given["step_size"] > 0:
            raise OptionError(f"step_size={given['step_size']} must be above 0")
        defaults = {key: value for key, value in parameters(classes[name]).items() if _is_plain(value)}
        entries.append(AgentEntry(name, {**defaults, **given}))
    return tuple(entries), classes


def _is_plain(value: object) -> bool:
    return value is None or isinstance(value, (bool, int, float, str))

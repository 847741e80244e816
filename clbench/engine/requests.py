"""From a request to checked runs: every name looked up, every value validated, before anything starts."""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from clbench.agent import check_boundaries
from clbench.checks import check_choice, check_count, split_names
from clbench.config import RunConfig
from clbench.data import SOURCES
from clbench.engine.agents import Agents, load_agents
from clbench.engine.parallelism import choose_parallelism
from clbench.engine.run import Run
from clbench.envs.vector import check_device
from clbench.errors import OptionError
from clbench.indicators.layers import LayerChoice, check_layer_choice
from clbench.loading import load_indicator
from clbench.machine import cores
from clbench.observing import ALL, DEFAULT
from clbench.places import expanded
from clbench.provenance import checksums_of
from clbench.registration import Registration, lookup, resolve
from clbench.results.manifest import FIGURES
from clbench.seeding import check_seed
from clbench.specs import PROTOCOLS, Layers, Protocol, StreamSpec, protocol


@dataclass(frozen=True, kw_only=True)
class Request:
    """What the user asks for, unchecked; see `clbench.evaluate` for the fields."""

    agents: Agents
    env: str = "RandomLabelMNIST-v0"
    protocol: str = "quick"
    seeds: int | Sequence[int] | None = None
    overrides: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    workers: int | None = None
    indicators: str | Sequence[str] | None = None
    indicators_every: int | None = None
    layers: LayerChoice = None
    together: bool = False
    profile: bool = False
    log: tuple[str, ...] = ()
    figures: tuple[str, ...] = FIGURES

    def __post_init__(self) -> None:
        if self.profile and self.together:
            raise OptionError(
                "profile and together are mutually exclusive: a profile covers one agent at a time"
            )


def check_request(request: Request) -> list[Run]:
    """Return the runs that a request asks for, one per agent.

    Raises:
        UsageError: something in the request does not exist or is not possible.
    """
    agents = load_agents(request.agents, request.arguments)
    rules = protocol(request.protocol)
    overrides = {name: value for name, value in request.overrides.items() if value is not None}
    entry = lookup(request.env)
    settings = protocol_settings(rules, entry, overrides)
    by_protocol, stream = resolve(request.env, settings), resolve(request.env, {**settings, **overrides})
    if not entry.load().custom_data:
        check_choice("source", stream.source, SOURCES)
    for agent, owner in agents:
        check_boundaries(agent.name, owner, agent.arguments, stream.boundaries)
    shared: dict[str, Any] = {
        "stream": stream,
        "protocol": request.protocol,
        "overrides": _changes(by_protocol, stream, overrides),
        "seeds": check_seeds(rules.seeds if request.seeds is None else request.seeds),
        "device": choose_device(request.device),
        "indicators": check_indicators(request.indicators),
        "indicators_every": None
        if request.indicators_every is None
        else check_count("indicators_every", request.indicators_every),
        "layers": check_layers(request.layers),
    }
    shared["indicator_sources"] = indicator_sources(shared["indicators"])
    runs = [
        Run(
            config=RunConfig(agent=agent, **shared),
            agent=owner,
            label=agent.name,
            env=request.env,
            profile=request.profile,
            log=request.log,
            figures=request.figures,
            position=position,
        )
        for position, (agent, owner) in enumerate(agents)
    ]
    return _in_parallel(runs, request)


def _in_parallel(runs: Sequence[Run], request: Request) -> list[Run]:
    """Return the runs spread over processes so that all together are quickest."""
    workers = None if request.workers is None else check_count("workers", request.workers)
    vectorized = sum(run.vectorized for run in runs)
    local = [run for run in runs if run.inline]
    # Vectorized ones need one process, and stay in this one.
    alone = bool(local) and all(run.vectorized for run in local)
    if alone or (runs[0].on_accelerator and vectorized and workers is None):
        workers = 1  # one process keeps an accelerator busy; several would only share it
    groups = min(vectorized, 1) if request.together else vectorized
    seeds, plain = len(runs[0].config.seeds), len(runs) - vectorized
    parallelism = choose_parallelism(seeds, groups, plain, cores(), workers)
    planned = [run.with_parallelism(parallelism).sent() for run in runs]
    if parallelism.workers > 1 and any(run.inline for run in planned):
        parallelism = choose_parallelism(seeds, groups, plain, cores(), 1)
        return [run.with_parallelism(parallelism) for run in planned]
    return planned


def protocol_settings(rules: Protocol, entry: Registration, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a protocol sets of a stream; if it has its own data, only the length.

    What a stream is registered with is part of its definition: no protocol changes it.
    """
    settings: dict[str, Any] = {"num_tasks": rules.num_tasks, "epochs_per_task": rules.epochs_per_task}
    if not entry.load().custom_data:
        settings |= {"source": rules.source, "num_samples": rules.num_samples}
        if {**entry.defaults, **overrides}.get("source", rules.source) != rules.source:
            settings["num_samples"] = None  # another source: all that it has
    return {name: value for name, value in settings.items() if name not in entry.defaults}


def closest_protocol(stream: StreamSpec) -> tuple[str, dict[str, Any]]:
    """Return the protocol that a resolved stream differs from least, and the settings in which it does."""
    given = {name: value for name, value in stream.to_json().items() if name not in ("id", "options")}
    given |= stream.options
    candidates: dict[str, dict[str, Any]] = {}
    for name, rules in PROTOCOLS.items():
        settings = protocol_settings(rules, lookup(stream.id), given)
        candidates[name] = _changes(resolve(stream.id, settings), stream, given)
    name = min(candidates, key=lambda candidate: len(candidates[candidate]))
    return name, candidates[name]


def _changes(by_protocol: StreamSpec, stream: StreamSpec, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return the overrides that change the protocol; where files are does not, nor what agents are told."""

    def value(spec: StreamSpec, name: str) -> object:
        return spec.options[name] if name in spec.options else getattr(spec, name)

    return {
        name: value(stream, name)
        for name in overrides
        if name not in ("data_dir", "boundaries") and value(stream, name) != value(by_protocol, name)
    }


def check_seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    """Return root seeds: 0, 1, ... for a count, else those listed, which must differ."""
    if isinstance(seeds, numbers.Integral):
        return tuple(range(check_count("seeds", seeds)))
    listed = tuple(check_seed(seed) for seed in seeds)  # type: ignore[union-attr]
    if not listed:
        raise OptionError("seeds: give at least one")
    if len(set(listed)) < len(listed):
        raise OptionError(f"seeds {', '.join(map(str, listed))}: each may occur only once")
    return listed


def check_indicators(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names of indicators: those listed, "all", "none", or for None those that cost next to nothing.

    A name with a colon refers to a custom function, which is loaded; "all" stands for all others.

    Raises:
        OptionError: "none" is combined with others.

    >>> check_indicators("sharpness,feature_rank")
    ('sharpness', 'feature_rank')
    """
    if wanted is None:
        return DEFAULT
    names = list(map(expanded, split_names(wanted)))
    if names == ["none"]:
        return ()
    chosen: list[str] = []
    for name in names:
        if ":" in name:
            load_indicator(name)
        elif name == "none":
            raise OptionError("indicators: 'none' cannot be combined with others")
        else:
            check_choice("indicator", name, dict.fromkeys((*ALL, "all", "none")))
        chosen += ALL if name == "all" else [name]
    return tuple(dict.fromkeys(chosen))


def indicator_sources(names: Sequence[str]) -> dict[str, str | None]:
    """Return the checksum of the code of each custom indicator, by reference."""
    return {name: checksums_of(load_indicator(name))[0] for name in names if ":" in name}


def check_layers(wanted: LayerChoice) -> Layers:
    """Return a choice of layers as JSON holds it: None, a depth, patterns, or patterns by layer.

    A text is read as on the command line.

    >>> check_layers("1"), check_layers("blocks.*, head"), check_layers("body=blocks.*,body=stem,head=fc")
    (1, ['blocks.*', 'head'], {'body': ['blocks.*', 'stem'], 'head': ['fc']})
    """
    if isinstance(wanted, str):
        wanted = _parse_layers(wanted)
    check_layer_choice(wanted)
    if wanted is None or isinstance(wanted, int):
        return wanted
    if isinstance(wanted, Mapping):
        return {
            layer: [patterns] if isinstance(patterns, str) else list(patterns)
            for layer, patterns in wanted.items()
        }
    return list(wanted)


def _parse_layers(text: str) -> Layers:
    names = split_names(text)
    if len(names) == 1 and names[0].isdecimal():
        return int(names[0])
    if not any("=" in name for name in names):
        return names
    named: dict[str, list[str]] = {}
    for layer, equals, pattern in (name.partition("=") for name in names):
        if not (layer and equals and pattern):
            raise OptionError(f"layers={text!r}: name all layers or none, such as body=blocks.*")
        named.setdefault(layer, []).append(pattern)
    return named


def choose_device(name: str) -> str:
    """Return `name` checked, or for "auto" the best device here: cuda, mps, cpu."""
    if name != "auto":
        return str(check_device(name))
    if torch.cuda.is_available():
        return str(check_device("cuda"))
    return "mps" if torch.backends.mps.is_available() else "cpu"

"""What a run is, as frozen data: one agent on one stream with some seeds."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from clbench.checks import count
from clbench.jsondata import IF_SET, UNRECORDED, from_json, to_json
from clbench.specs import Layers, Options, StreamSpec

KEY_DIGITS = 8


@dataclass(frozen=True, kw_only=True)
class AgentConfig:
    """An agent and what it is constructed with.

    Attributes:
        name: what tables, curves and the run folder call it: its label, else the reference as the user typed it,
            without this machine's folders.
        arguments: constructor arguments besides `spec` and the seed.
        label_of: the reference without this machine's folders, if the name is a label; else "".
        location: what the user typed if that is not recorded.
    """

    name: str
    arguments: Options = field(default_factory=dict)
    label_of: str = field(default="", metadata=IF_SET)
    location: str = field(default="", metadata=UNRECORDED)

    @property
    def reference(self) -> str:
        """What the class is loaded by."""
        return self.location or self.label_of or self.name


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """A run: one agent on one stream with some seeds.

    Attributes:
        agent: what learns.
        stream: fully resolved.
        protocol: name of the protocol that the stream was resolved from.
        overrides: settings that differ from the protocol's; empty for a comparable run.
        seeds: root seeds, one stream and one learner each.
        device: where the learners run, such as "cpu" or "cuda".
        threads: CPU threads per process; rounding in matrix products may depend on it.
        indicators: names of what is measured.
        indicators_every: measure every so many steps of a task, besides its last step; None for the last step only.
        layers: how parameters are grouped into layers, see `clbench.indicators.layer_parameters`; None for the agent's
            grouping.
        indicator_sources: SHA-256 of the file of each custom indicator, by reference.
    """

    agent: AgentConfig
    stream: StreamSpec
    protocol: str
    overrides: Options = field(default_factory=dict)
    seeds: tuple[int, ...]
    device: str = "cpu"
    threads: int = 1
    indicators: tuple[str, ...] = ()
    indicators_every: int | None = None
    layers: Layers = None
    indicator_sources: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """Eight hexadecimal digits that identify the run, which the name of its folder in a sweep ends in.

        The key covers everything that decides the results but where and on how many threads the run is carried out.
        """
        agent = {"name": self.agent.reference, "arguments": self.agent.arguments}
        what = {
            "agents": [agent],  # a list, for the keys of sweeps made by earlier versions
            "stream": self.stream.identity(),
            "protocol": self.protocol,
            "overrides": self.overrides,
            "seeds": self.seeds,
            "indicators": self.indicators,
            "indicators_every": self.indicators_every,
            "layers": self.layers,
            **({"indicator_sources": self.indicator_sources} if self.indicator_sources else {}),
        }
        return hashlib.sha256(json.dumps(to_json(what), sort_keys=True).encode()).hexdigest()[:KEY_DIGITS]

    def describe(self, data: str, with_seeds: bool = True) -> str:
        """Return stream, protocol and size in one line.

        Args:
            data: name of the data, "" if unknown; other than the source's name, they are the stream's own.
            with_seeds: whether the line says how many seeds there are.
        """
        stream = self.stream
        own = data and data != stream.source
        changed = f" (changed: {', '.join(self.overrides)})" if self.overrides else ""
        hidden = " · boundaries hidden" if stream.hides_boundaries else ""
        return (
            f"{stream.id} · {self.protocol}{changed} · "
            f"{count(stream.num_tasks, 'task')} x {count(stream.epochs_per_task, 'epoch')} · "
            f"{count(len(self.seeds), 'seed') + ' · ' if with_seeds else ''}"
            f"{stream.num_samples:,} {f'examples ({data})' if own else f'{stream.source} images'}{hidden}"
        )

    def identity(self) -> dict[str, Any]:
        """Return the config as JSON data without where files are: what must be equal to resume."""
        return self.to_json() | {"stream": self.stream.identity()}

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = to_json(self)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunConfig":
        """Return the config that `to_json` returned as `data`; `ValueError` names a missing or impossible field."""
        config: RunConfig = from_json(cls, data, "config")
        for item in fields(StreamSpec):
            if item.name not in data["stream"] and item.name != "boundaries":  # told before it was recorded
                raise ValueError(f"'config.stream.{item.name}' is missing")
        return config

"""What is run, as frozen data: streams, protocols, runs. Validated once, to and from JSON."""

import dataclasses
import numbers
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from clbench.errors import OptionError, UnknownNameError, did_you_mean

Options = Mapping[str, Any]

Layers = int | list[str] | dict[str, list[str]] | None
"""What a layer is, as JSON holds it; see `clbench.indicators.layer_parameters`."""


@dataclass(frozen=True)
class StreamSpec:
    """A stream to the last number: what, over how many tasks, on which images.

    Attributes:
        id: registered id, such as "RandomLabelMNIST-v0".
        num_tasks: tasks in the stream.
        epochs_per_task: visits to a task's data set, each in fresh random order.
        batch_size: examples per step, `B`.
        num_samples: images drawn once per seed; None takes all that the source has.
        source: where images come from, "embedded" or "torchvision".
        data_dir: folder to find the source's files in; None for the usual places.
        options: what this kind of stream has beside these, such as `relabel_fraction`.
    """

    id: str
    num_tasks: int = 15
    epochs_per_task: int = 40
    batch_size: int = 256
    num_samples: int | None = None
    source: str = "embedded"
    data_dir: str | None = None
    options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("num_tasks", "epochs_per_task", "batch_size", "num_samples"):
            if name != "num_samples" or self.num_samples is not None:
                object.__setattr__(self, name, check_count(name, getattr(self, name)))
        if self.num_samples is not None and self.batch_size > self.num_samples:
            raise OptionError(
                f"batch_size={self.batch_size} is more than num_samples={self.num_samples}: not one full batch"
            )
        for name in ("source", "data_dir"):
            value = getattr(self, name)
            if not (isinstance(value, str) or (name == "data_dir" and value is None)):
                raise OptionError(f"{name}={value!r} is not a string")
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __hash__(self) -> int:
        return hash((self.id, self.num_tasks, self.epochs_per_task, self.batch_size, self.num_samples))

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the last incomplete one is dropped."""
        if self.num_samples is None:
            raise OptionError("num_samples is not known before the images are loaded")
        return self.num_samples // self.batch_size

    @property
    def steps_per_task(self) -> int:
        """Steps in a task."""
        return self.steps_per_epoch * self.epochs_per_task

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON data; `StreamSpec(**data)` is its inverse."""
        return plain(self)

    def identity(self) -> dict[str, Any]:
        """Return the spec as plain JSON data but for where files lie: what must be equal for equal streams."""
        return {name: value for name, value in self.to_json().items() if name != "data_dir"}

    def __reduce__(self) -> tuple[Any, ...]:
        return (_stream_spec, (self.to_json(),))


def _stream_spec(data: dict[str, Any]) -> StreamSpec:
    return StreamSpec(**data)


@dataclass(frozen=True)
class Protocol:
    """How long a comparable run is and on which images.

    Source: Baveja et al., arXiv 2509.19698, App. A and figures, for the two `paper` protocols.
    """

    name: str
    source: str
    num_samples: int
    num_tasks: int
    epochs_per_task: int
    purpose: str
    seeds: int = 3


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol("quick", "embedded", 5_000, 15, 40, "a first look: about two minutes on two cores"),
            Protocol("standard", "torchvision", 60_000, 10, 100, "a leaderboard entry without a GPU"),
            Protocol("paper", "torchvision", 60_000, 40, 250, "the paper's main figures"),
            Protocol("paper-21k", "torchvision", 21_000, 40, 250, "the paper's text, to the letter"),
        )
    }
)


def protocol(name: str) -> Protocol:
    """Return the protocol called `name`, or raise `UnknownNameError` with the nearest match.

    >>> protocol("paper").num_tasks
    40
    """
    check_choice("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


@dataclass(frozen=True)
class AgentEntry:
    """An agent of a run: where its class is, and what it is constructed with.

    Attributes:
        name: the name that rows and curves carry; the reference as the user typed it, without folders of one machine.
        arguments: constructor arguments beyond `spec` and the seed.
        place: what was typed if that is another; never recorded.
    """

    name: str
    arguments: Options = field(default_factory=dict)
    place: str = ""

    @property
    def reference(self) -> str:
        """What `clbench.loading.load_agent` finds the class by."""
        return self.place or self.name

    def to_json(self) -> dict[str, Any]:
        """Return what is recorded of the agent as plain JSON data."""
        return {"name": self.name, "arguments": plain(self.arguments)}


@dataclass(frozen=True)
class RunSpec:
    """A whole evaluation: agents, stream, seeds, machine use. Two equal ones give equal results.

    Attributes:
        agents: compared on the same streams.
        stream: fully resolved.
        protocol: name of the protocol that the stream was resolved from.
        overrides: what the user changed of the protocol; empty for a comparable run.
        seeds: root seeds, one stream and one learner each.
        device: where learners run, such as "cpu" or "cuda".
        workers: processes at a time.
        threads: CPU threads per process; rounding in matrix products may depend on it.
        indicators: what is measured; `clbench.observing.ALL` has all names.
        indicators_every: measured every so many steps of a task, beside its last; None for its last only.
        layers: by which layers it is measured, see `clbench.indicators.layer_parameters`; None for the agent's own.
    """

    agents: tuple[AgentEntry, ...]
    stream: StreamSpec
    protocol: str
    overrides: Options
    seeds: tuple[int, ...]
    device: str = "cpu"
    workers: int = 1
    threads: int = 1
    indicators: tuple[str, ...] = ()
    indicators_every: int | None = None
    layers: Layers = None

    def to_json(self) -> dict[str, Any]:
        """Return the spec as plain JSON data, without what only this machine needs to find the agents."""
        return {**plain(self), "agents": [agent.to_json() for agent in self.agents]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunSpec":
        """Rebuild a spec from what `to_json` gave."""
        return cls(
            **{
                **data,
                "agents": tuple(AgentEntry(**entry) for entry in data["agents"]),
                "stream": StreamSpec(**data["stream"]),
                "seeds": tuple(data["seeds"]),
                "indicators": tuple(data.get("indicators", ())),
            }
        )


def check_count(name: str, value: object) -> int:
    """Return `value` if it is a whole number of 1 or above, else raise `OptionError` naming it."""
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise OptionError(f"{name}={value!r} is not a whole number")
    if value < 1:
        raise OptionError(f"{name}={value} is too small: it must be at least 1")
    return int(value)


def names_in(wanted: str | Sequence[str]) -> list[str]:
    """Return names that are listed, or that are in a text with commas between them.

    >>> names_in("sharpness, feature_rank")
    ['sharpness', 'feature_rank']
    """
    return [name.strip() for name in wanted.split(",")] if isinstance(wanted, str) else list(wanted)


def check_choice(what: str, name: str, choices: Collection[str]) -> None:
    """Raise `UnknownNameError` with the nearest match unless `name` is one of `choices`."""
    if name not in choices:
        known = f" There are: {', '.join(choices)}." if choices else ""
        raise UnknownNameError(f"no {what} '{name}'.{did_you_mean(name, choices)}{known}")


def plain(value: Any) -> Any:
    """Return dataclasses, mappings and tuples as dicts and lists that JSON can hold."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {item.name: plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    return value

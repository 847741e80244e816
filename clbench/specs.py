"""Specifications of streams, and protocols: frozen, validated once, to and from JSON."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from clbench.checks import check_choice, check_count
from clbench.errors import OptionError
from clbench.jsondata import to_json
from clbench.places import expanded

Options = Mapping[str, Any]

TOLD, HIDDEN = BOUNDARIES = ("told", "hidden")

Layers = int | list[str] | dict[str, list[str]] | None
"""How parameters are grouped into layers, as JSON data; see `clbench.indicators.layer_parameters`."""


@dataclass(frozen=True)
class StreamSpec:
    """A stream: which tasks, how many, on which data.

    Attributes:
        id: registered id, such as "RandomLabelMNIST-v0".
        epochs_per_task: visits to a task's data set, each in fresh random order.
        batch_size: examples per step, `B`.
        num_samples: examples drawn once per seed; None for all that the source has, until `resolve` counts them.
        source: where images come from, "embedded" or "torchvision".
        data_dir: folder with the source's files; None for the usual ones.
        boundaries: whether agents are told where a task begins, "told" or "hidden".
        options: further options of this kind of stream, such as `relabel_fraction`.
    """

    id: str
    num_tasks: int = 15
    epochs_per_task: int = 40
    batch_size: int = 256
    num_samples: int | None = None
    source: str = "embedded"
    data_dir: str | None = None
    boundaries: str = TOLD
    options: Options = field(default_factory=dict)

    def __post_init__(self) -> None:
        counts = ["num_tasks", "epochs_per_task", "batch_size"]
        for name in counts if self.num_samples is None else [*counts, "num_samples"]:
            object.__setattr__(self, name, check_count(name, getattr(self, name)))
        if self.num_samples is not None and self.batch_size > self.num_samples:
            raise OptionError(
                f"batch_size={self.batch_size} is more than num_samples={self.num_samples}: not even one full batch"
            )
        if not isinstance(self.source, str):
            raise OptionError(f"source={self.source!r} is not a string")
        if not isinstance(self.data_dir, str | os.PathLike | None):
            raise OptionError(f"data_dir={self.data_dir!r} is not a path")
        if self.data_dir is not None:
            object.__setattr__(self, "data_dir", expanded(self.data_dir))
        if not isinstance(self.boundaries, str):
            raise OptionError(f"boundaries={self.boundaries!r} is not a string")
        check_choice("kind of boundaries", self.boundaries, BOUNDARIES)
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __hash__(self) -> int:
        return hash((self.id, self.num_tasks, self.epochs_per_task, self.batch_size, self.num_samples))

    def resolve(self, available: int, source: str) -> "StreamSpec":
        """Return the spec with `num_samples` known, for data of `available` examples."""
        if self.num_samples is None:
            return replace(self, num_samples=available)
        if self.num_samples > available:
            raise OptionError(
                f"num_samples={self.num_samples:,} is more than the {available:,} examples of '{source}': "
                "use fewer, or another source"
            )
        return self

    @property
    def hides_boundaries(self) -> bool:
        return self.boundaries == HIDDEN

    @property
    def examples_per_task(self) -> int:
        """Examples in each task, `N`; known once the spec is resolved."""
        if self.num_samples is None:
            raise OptionError("num_samples is unknown until the data is loaded: set it, or resolve the spec")
        return self.num_samples

    @property
    def steps_per_epoch(self) -> int:
        """Full batches in an epoch; the last incomplete one is dropped."""
        return self.examples_per_task // self.batch_size

    @property
    def steps_per_task(self) -> int:
        return self.steps_per_epoch * self.epochs_per_task

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = to_json(self)
        return data

    def identity(self) -> dict[str, Any]:
        """Return the JSON data that is equal for equal streams: all but the folder of the files.

        `boundaries` is left out where they are told, as in runs from before they could be hidden.
        """
        left_out = ("data_dir",) if self.hides_boundaries else ("data_dir", "boundaries")
        return {name: value for name, value in self.to_json().items() if name not in left_out}

    def locate(self, seeds: Sequence[int], task: int, step: int) -> str:
        """Return a step in words, counted from 1, for error messages.

        >>> spec = StreamSpec("RandomLabelMNIST-v0", epochs_per_task=2, num_samples=5_120)
        >>> spec.locate([7], task=2, step=16)
        'seed 7, task 3 of 15, step 17 of 40'
        """
        roots = list(dict.fromkeys(seeds))
        who = f"seed {roots[0]}" if len(roots) == 1 else f"seeds {', '.join(map(str, roots))}"
        return f"{who}, task {task + 1} of {self.num_tasks}, step {step + 1} of {self.steps_per_task}"

    def __reduce__(self) -> tuple[Any, ...]:
        # Read-only mappings cannot be pickled.
        return partial(StreamSpec, **self.to_json()), ()


@dataclass(frozen=True)
class Protocol:
    """Length and images of a comparable run.

    Source: Baveja et al., arXiv 2509.19698, App. A and figures, for the two `paper` protocols.
    """

    name: str
    source: str
    num_samples: int
    num_tasks: int
    epochs_per_task: int
    purpose: str
    seeds: int = 3


_PROTOCOLS = (
    Protocol("quick", "embedded", 5_000, 15, 40, "a first look: about two minutes on two cores"),
    Protocol("standard", "torchvision", 60_000, 10, 100, "a leaderboard entry without a GPU"),
    Protocol("paper", "torchvision", 60_000, 40, 250, "the paper's main figures"),
    Protocol("paper-21k", "torchvision", 21_000, 40, 250, "the paper's text, to the letter"),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _PROTOCOLS})


def protocol(name: str) -> Protocol:
    """Return the protocol called `name`.

    >>> protocol("paper").num_tasks
    40
    """
    check_choice("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]

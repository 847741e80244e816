"""How large the runs of a reproduction are: a protocol, seeds, and what is changed of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clbench.checks import check_choice, check_count
from clbench.evaluation.progress import count
from clbench.observing import ALL, DEFAULT
from clbench.specs import Protocol, protocol
from clbench.sweeping.request import Settings

STREAM = "RandomLabelMNIST-v0"
LENGTHS = ("num_tasks", "epochs_per_task", "num_samples", "batch_size")
PLACES = ("source", "data_dir")
SEEDS, INDICATORS = "seeds=", "indicators="


def length_of(name: str) -> str:
    """Return the name of a scale without its seeds and indicators: what runs of equal length have in common.

    >>> length_of("standard,seeds=1"), length_of("standard,num_tasks=4,seeds=1,indicators=gap")
    ('standard', 'standard,num_tasks=4')
    """
    return name.partition(f",{SEEDS}")[0].partition(f",{INDICATORS}")[0]


@dataclass(frozen=True)
class Scale:
    """What all cells of a reproduction have in common.

    Attributes:
        protocol: its name.
        seeds: how many, or which; None for the protocol's.
        changes: overrides of the protocol: `LENGTHS`, and where images come from.
        device: where learners run.
        indicators: references to indicators of one's own, measured beside all others.
    """

    protocol: str = "quick"
    seeds: int | tuple[int, ...] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    indicators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        protocol(self.protocol)  # complains if there is none
        for name, value in self.changes.items():
            check_choice("setting of a reproduction", name, (*LENGTHS, *PLACES))
            if name in LENGTHS:
                check_count(name, value)

    @property
    def rules(self) -> Protocol:
        """The protocol."""
        return protocol(self.protocol)

    @property
    def name(self) -> str:
        """What its folder is called: the protocol and what is changed of it, "quick,num_tasks=3,seeds=5"."""
        changed = [f"{name}={value}" for name, value in sorted(self.changes.items()) if name != "data_dir"]
        seeds = "+".join(map(str, self.seeds)) if isinstance(self.seeds, tuple) else self.seeds
        own = [f"{SEEDS}{seeds}"] if seeds not in (None, self.rules.seeds) else []
        if self.indicators:  # other runs than those of the other figures
            own.append(INDICATORS + "+".join(one.rpartition(":")[2] for one in self.indicators))
        return ",".join([self.protocol, *changed, *own])

    @property
    def about(self) -> str:
        """What is run, in words."""
        tasks = self.changes.get("num_tasks", self.rules.num_tasks)
        seeds = self.rules.seeds if self.seeds is None else self.seeds
        number = len(seeds) if isinstance(seeds, tuple) else seeds
        return f"{self.name}: {count(tasks, 'task')} x {self.epochs(1)} epochs, {count(number, 'seed')}"

    def epochs(self, share: float) -> int:
        """Return epochs per task as a multiple of what the scale says, rounded, at least one."""
        return max(1, round(share * self.changes.get("epochs_per_task", self.rules.epochs_per_task)))

    @property
    def images(self) -> int:
        """How many a task has."""
        number: int = self.changes.get("num_samples", self.rules.num_samples)
        return number

    def cell(
        self,
        agent: str,
        *,
        env: str = STREAM,
        epochs: float = 1.0,
        images: int | None = None,
        full: bool = True,
        **arguments: Any,
    ) -> Settings:
        """Return a cell as a sweep file has it.

        Args:
            agent: reference.
            env: stream.
            epochs: per task, as a multiple of what the scale says.
            images: in a task, if not as many as the scale says.
            full: measure every indicator, so that figures can share the cell; else those that cost next to nothing.
            **arguments: of the agent.
        """
        settings: Settings = {
            "agent": agent,
            "env": env,
            "protocol": self.protocol,
            **self.changes,
            "epochs_per_task": self.epochs(epochs),
            "arguments": arguments,
            "indicators": [*ALL, *self.indicators] if full else list(DEFAULT),
            "device": self.device,
        }
        if images not in (None, self.images):
            settings["num_samples"] = images
        if self.seeds is not None:
            settings["seeds"] = list(self.seeds) if isinstance(self.seeds, tuple) else self.seeds
        return settings

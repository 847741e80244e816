"""How large the runs of a reproduction are: a protocol, seeds, and what is changed of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from clbench.evaluation.progress import count
from clbench.observing import ALL, DEFAULT
from clbench.specs import Protocol, check_count, protocol
from clbench.sweeping.request import Settings

STREAM = "RandomLabelMNIST-v0"


@dataclass(frozen=True)
class Scale:
    """What all cells of a reproduction have in common.

    Attributes:
        protocol: its name.
        seeds: how many, or which; None for the protocol's.
        changes: overrides of the protocol, such as `num_tasks`, and `data_dir`.
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
        for name in ("num_tasks", "epochs_per_task", "num_samples", "batch_size"):
            if name in self.changes:
                check_count(name, self.changes[name])

    @property
    def rules(self) -> Protocol:
        """The protocol."""
        return protocol(self.protocol)

    @property
    def name(self) -> str:
        """What its folder is called: the protocol, and whether anything is changed of it."""
        return f"{self.protocol}-changed" if self.changes.keys() - {"data_dir"} else self.protocol

    @property
    def about(self) -> str:
        """What is run, in words."""
        tasks = self.changes.get("num_tasks", self.rules.num_tasks)
        seeds = self.rules.seeds if self.seeds is None else self.seeds
        number = len(seeds) if isinstance(seeds, tuple) else seeds
        return f"{self.name}: {tasks} tasks x {self.epochs(1)} epochs, {count(number, 'seed')}"

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

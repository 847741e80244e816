"""The size of a reproduction's runs: a protocol, seeds, and what is changed of the protocol."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from clbench import PROTOCOLS
from clbench.errors import OptionError, UnknownNameError, did_you_mean
from studies.noise_curvature.frames import Key
from studies.noise_curvature.runs import Request

STREAM = "RandomLabelMNIST-v0"
LENGTHS = ("num_tasks", "epochs_per_task", "num_samples", "batch_size")
IMAGES = ("source", "data_dir")
SEEDS, INDICATORS = "seeds=", "indicators="


def length_name(scale: str) -> str:
    """Return a scale's name without seeds and indicators, which is equal for runs of equal length.

    >>> length_name("standard,seeds=1"), length_name("standard,num_tasks=4,seeds=1,indicators=gap")
    ('standard', 'standard,num_tasks=4')
    """
    return scale.partition(f",{SEEDS}")[0].partition(f",{INDICATORS}")[0]


def check_name(kind: str, name: str, choices: Collection[str]) -> None:
    """Raise `UnknownNameError` with the nearest choice unless `name` is one of `choices`."""
    if name not in choices:
        known = ", ".join(choices)
        raise UnknownNameError(f"no {kind} '{name}'.{did_you_mean(name, choices)} There are: {known}.")


@dataclass(frozen=True)
class Scale:
    """What all runs of a reproduction have in common.

    Attributes:
        seeds: how many, or which; None for the protocol's.
        changes: settings other than the protocol's: `LENGTHS`, and where images come from.
        indicators: custom indicators as "file.py:function", measured besides all others.
    """

    protocol: str = "quick"
    seeds: int | tuple[int, ...] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    indicators: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("protocol", self.protocol, PROTOCOLS)
        for name in self.changes:
            check_name("setting of a reproduction", name, (*LENGTHS, *IMAGES))
        numbers = {name: value for name, value in self.changes.items() if name in LENGTHS}
        if isinstance(self.seeds, int):
            numbers["seeds"] = self.seeds
        for name, value in numbers.items():
            if not (isinstance(value, int) and value > 0):
                raise OptionError(f"{name}={value!r}: give a whole number of at least 1")

    @property
    def name(self) -> str:
        """The name of its folder: the protocol and what is changed of it, "quick,num_tasks=3,seeds=5"."""
        parts = [self.protocol]
        parts += [f"{name}={value}" for name, value in sorted(self.changes.items()) if name != "data_dir"]
        if self.seeds not in {None, PROTOCOLS[self.protocol].seeds}:
            listed = self.seeds if isinstance(self.seeds, tuple) else [self.seeds]
            parts.append(SEEDS + "+".join(map(str, listed)))
        if self.indicators:  # these runs are not those of other figures
            parts.append(INDICATORS + "+".join(name.rpartition(":")[2] for name in self.indicators))
        return ",".join(parts)

    @property
    def summary(self) -> str:
        seeds = (
            len(self.seeds) if isinstance(self.seeds, tuple) else self.seeds or PROTOCOLS[self.protocol].seeds
        )
        tasks = self.changes.get("num_tasks", PROTOCOLS[self.protocol].num_tasks)
        length = f"{tasks} task{'s' * (tasks != 1)} x {self.epochs(1)} epochs"
        return f"{self.name}: {length}, {seeds} seed{'s' * (seeds != 1)}"

    @property
    def images(self) -> int:
        number: int = self.changes.get("num_samples", PROTOCOLS[self.protocol].num_samples)
        return number

    def epochs(self, multiple: float) -> int:
        usual: int = self.changes.get("epochs_per_task", PROTOCOLS[self.protocol].epochs_per_task)
        return max(1, round(multiple * usual))

    def request(
        self,
        agent: str,
        *,
        env: str = STREAM,
        epochs: float = 1.0,
        images: int | None = None,
        full: bool = True,
        **arguments: object,
    ) -> Request:
        """Return a run as a `[[cell]]` table of a sweep file.

        `epochs` multiplies the scale's; `full` measures every indicator, so that figures can share the run, else only
        those that cost next to nothing are measured.
        """
        request: Request = {
            "agent": agent,
            "env": env,
            "protocol": self.protocol,
            **self.changes,
            "epochs_per_task": self.epochs(epochs),
            "arguments": arguments,
            **({"indicators": ["all", *self.indicators]} if full else {}),
            "device": self.device,
        }
        if images not in {None, self.images}:
            request["num_samples"] = images
        if self.seeds is not None:
            request["seeds"] = list(self.seeds) if isinstance(self.seeds, tuple) else self.seeds
        return request


LEARNERS: Mapping[str, tuple[str, str]] = {
    "CReLU": ("agents.crelu", "agents.reset:CReLU"),
    "L2": ("agents.l2", "agents.reset:L2"),
    "Wasserstein": ("agents.wasserstein", "agents.reset:Wasserstein"),
}
"""By name: the learner, and the same learner reset at task boundaries."""
SCHEDULERS = {
    "vanilla": "none",
    **dict.fromkeys(
        ("scheduled", "combined", "per layer"), "per-layer"
    ),  # named after what it is compared with
    "whole network": "full-network",
    "noise only": "noise-only",
    "volatility only": "volatility-only",
}
"""By variant."""
FIRST_LAYER = "fc1"


def variants(scale: Scale, *names: str, learners: Iterable[str] = tuple(LEARNERS)) -> dict[Key, Request]:
    return {(learner, name): variant(scale, learner, name) for name in names for learner in learners}


def variant(scale: Scale, learner: str, name: str, epochs: float = 1.0) -> Request:
    """Return one learner's run: reset, or with one of `SCHEDULERS`. Those of the predictors measure every indicator."""
    plain, reset = LEARNERS[learner]
    if name == "reset":
        return scale.request(reset, epochs=epochs, full=False)
    scheduler = SCHEDULERS[name]
    full = epochs == 1 and scheduler in {"none", "per-layer"}
    return scale.request(plain, epochs=epochs, full=full, scheduler=scheduler)

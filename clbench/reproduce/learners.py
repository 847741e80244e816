"""The three learners that the paper schedules, in their variants; cells that several figures share."""

from collections.abc import Iterable, Mapping

from clbench.reproduce.frames import Key
from clbench.reproduce.scale import Scale
from clbench.sweeping.request import Settings

LEARNERS: Mapping[str, tuple[str, str]] = {
    "CReLU": ("agents.crelu", "agents.reset:CReLU"),
    "L2": ("agents.l2", "agents.reset:L2"),
    "Wasserstein": ("agents.wasserstein", "agents.reset:Wasserstein"),
}
"""By name: the learner, and the same one that forgets everything at task boundaries."""

VANILLA, RESET, SCHEDULED = "vanilla", "reset", "scheduled"
SCHEDULERS = {
    SCHEDULED: "per-layer",
    "whole network": "full-network",
    "noise only": "noise-only",
    "volatility only": "volatility-only",
}


def variants(scale: Scale, names: Iterable[str]) -> dict[Key, Settings]:
    """Return cells by learner and variant: vanilla, reset, or one of `SCHEDULERS`."""
    return {(learner, name): variant(scale, learner, name) for name in names for learner in LEARNERS}


def variant(scale: Scale, learner: str, name: str, epochs: float = 1.0) -> Settings:
    """Return one learner's cell."""
    plain, reset = LEARNERS[learner]
    if name == RESET:
        return scale.cell(reset, epochs=epochs)
    return scale.cell(plain, epochs=epochs, scheduler=SCHEDULERS.get(name, "none"))

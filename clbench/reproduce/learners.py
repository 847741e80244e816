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

VANILLA, RESET, SCHEDULED, COMBINED, PER_LAYER = "vanilla", "reset", "scheduled", "combined", "per layer"
WHOLE_NETWORK, NOISE_ONLY, VOLATILITY_ONLY = "whole network", "noise only", "volatility only"
SCHEDULERS = {
    **dict.fromkeys((SCHEDULED, COMBINED, PER_LAYER), "per-layer"),  # called what it is compared as
    WHOLE_NETWORK: "full-network",
    NOISE_ONLY: "noise-only",
    VOLATILITY_ONLY: "volatility-only",
}
FIRST_LAYER = "fc1"


def variants(scale: Scale, names: Iterable[str]) -> dict[Key, Settings]:
    """Return cells by learner and variant: vanilla, reset, or one of `SCHEDULERS`."""
    return {(learner, name): variant(scale, learner, name) for name in names for learner in LEARNERS}


def variant(scale: Scale, learner: str, name: str, epochs: float = 1.0) -> Settings:
    """Return one learner's cell; every indicator is measured of those that are in `predictors`, too."""
    plain, reset = LEARNERS[learner]
    if name == RESET:
        return scale.cell(reset, epochs=epochs, full=False)
    scheduler = SCHEDULERS.get(name, "none")
    full = epochs == 1 and scheduler in ("none", SCHEDULERS[SCHEDULED])
    return scale.cell(plain, epochs=epochs, full=full, scheduler=scheduler)

"""The three learners that the paper schedules, in the variants that several figures share."""

from collections.abc import Iterable, Mapping

from studies.noise_curvature.frames import Key
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import Scale

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
    """Return runs by learner and variant: "reset", or a key of `SCHEDULERS`."""
    return {(learner, name): variant(scale, learner, name) for name in names for learner in learners}


def variant(scale: Scale, learner: str, name: str, epochs: float = 1.0) -> Request:
    """Return one learner's run; those that the figure of predictors shares measure every indicator."""
    plain, reset = LEARNERS[learner]
    if name == "reset":
        return scale.request(reset, epochs=epochs, full=False)
    scheduler = SCHEDULERS[name]
    full = epochs == 1 and scheduler in {"none", "per-layer"}
    return scale.request(plain, epochs=epochs, full=full, scheduler=scheduler)

"""The rule: when a layer's step size is cooled, warmed or left alone."""

import sys
from dataclasses import dataclass, fields
from typing import Any

import torch

from clbench.checks import check_value
from clbench.errors import OptionError, UnknownNameError, did_you_mean
from clbench.indicators.bounds import BETA
from clbench.indicators.volatility import KINDS

WARMUPS = ("every-task", "first-task", "off")
WARM_BELOW = 0.3  # warming needs the effective step size to be below this share of the limit


@dataclass(frozen=True)
class Constants:
    """A scheduler's constants, with the benchmark's defaults.

    Attributes:
        every: `K`, steps between decisions.
        gamma: the limit is `gamma * bound`.
        cool: factor of a layer above its limit.
        warm: factor of a layer far below it, in the warm-up window. Alg. 1 of the paper has about 1.001, its
            published code 1.01.
        floor: layers whose effective step size is below it are never cooled.
        beta: weight of curvature volatility in `alpha~`.
        warmup: "every-task", "first-task" or "off".
        warmup_fraction: length of the warm-up window, from a task's start, as a share of its steps.
        volatility: "window" or "ema".
        window: how many values volatility looks back on.
        decay: decay of the moving averages of "ema".
        unbiased: whether the noise within `||g_hat||^2` is subtracted.
        cap_delta: above 0, bounds are also capped by `clbench.indicators.cantelli_cap` with this probability of
            failure, from the volatility tracker's mean and deviation of normalised sharpness (paper, B.4).

    Source: Baveja et al., arXiv 2509.19698, Alg. 1 and App. A.

    Raises:
        OptionError: a constant is out of range.
    """

    every: int = 40
    gamma: float = 0.8
    cool: float = 0.99
    warm: float = 1.001
    floor: float = 0.12
    beta: float = BETA
    warmup: str = "every-task"
    warmup_fraction: float = 0.1
    volatility: str = "window"
    window: int = 30
    decay: float = 0.97
    unbiased: bool = False
    cap_delta: float = 0.0

    def __post_init__(self) -> None:
        for name in ("every", "window"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int):
                raise OptionError(f"{name}={value!r} is not a whole number")
        if not isinstance(self.unbiased, bool):
            raise OptionError(f"unbiased={self.unbiased!r} must be true or false")
        check_value("warmup", self.warmup, WARMUPS)
        check_value("volatility", self.volatility, KINDS)
        for name, (low, high, text) in RANGES.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise OptionError(f"{name}={value!r} is not a number")
            if not low <= value <= high:
                raise OptionError(f"{name}={value} must be {text}")


def make_constants(**values: Any) -> Constants:
    """Return constants, checked."""
    names = [field.name for field in fields(Constants)]
    for name in sorted(values.keys() - names):
        raise UnknownNameError(f"a scheduler has no constant '{name}'.{did_you_mean(name, names)}")
    return Constants(**values)


LEAST, MOST = sys.float_info.min, sys.float_info.max
# Smallest and largest value, and the same in words.
RANGES = {
    "every": (1, MOST, "at least 1"),
    "gamma": (LEAST, MOST, "above 0"),
    "cool": (LEAST, 1, "above 0 and at most 1"),
    "warm": (1, MOST, "at least 1"),
    "floor": (0, MOST, "0 or above"),
    "beta": (0, MOST, "0 or above"),
    "warmup_fraction": (0, 1, "between 0 and 1"),
    "window": (2, MOST, "at least 2: one value has no deviation"),
    "decay": (LEAST, 1 - 1e-12, "above 0 and below 1"),
    "cap_delta": (0, 1 - 1e-12, "0 (no cap), or above 0 and below 1"),
}


def factors(
    constants: Constants,
    effective: torch.Tensor,
    bound: torch.Tensor,
    gradient_squares: torch.Tensor,
    warming: bool,
) -> torch.Tensor:
    """Return what each step size is multiplied by: `cool`, `warm` or 1, element by element.

    cool: `alpha > gamma * bound` and `alpha > floor`. warm: in the warm-up window, `alpha < 0.3 gamma * bound`.
    The factor is 1 where the gradient is zero (a dead layer) or a measurement is not finite. An infinite bound
    counts as a bound: nothing is above it, so it allows warming.

    Args:
        constants: gamma, cool, warm and floor are used.
        effective: `alpha`, of any shape.
        bound: the critical step size, `inf` where nothing bounds, NaN where it is undefined.
        gradient_squares: `||g_hat||^2`.
        warming: whether the warm-up window is open.
    """
    limit = constants.gamma * bound
    measured = (gradient_squares > 0) & torch.isfinite(effective) & ~torch.isnan(bound)
    cool = measured & (effective > limit) & (effective > constants.floor)
    warm = measured & (effective < WARM_BELOW * limit) & warming
    # In float64, so that a Python step size is multiplied by exactly these numbers; Apple's GPUs lack it.
    ones = torch.ones_like(effective, dtype=None if effective.device.type == "mps" else torch.float64)
    return torch.where(cool, constants.cool, torch.where(warm, constants.warm, ones))

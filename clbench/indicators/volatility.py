"""Curvature volatility: how much normalised sharpness fluctuates."""

from collections.abc import Mapping
from typing import Any

import torch

from clbench.checks import check_value
from clbench.errors import OptionError
from clbench.indicators.networks import check_tensors

KINDS = ("window", "ema")


class VolatilityTracker:
    """Tracks `Vol = sigma^2 / (|mu| + eps)` of a series of normalised sharpness, number by number.

    "window" (the default): `mu` is the mean of the last `window` values, the newest included, and `sigma^2` the
    squared deviation of the newest from `mu`. "ema": exponential moving mean and variance,
    `mu <- d mu + (1-d) x` and `sigma^2 <- d (sigma^2 + (1-d) (x - mu_before)^2)`, from the first value on. The
    attributes `mean` and `variance` are the current `mu` and `sigma^2`.

    A value that is not finite is skipped. After the first value `Vol` is 0. The magnitude of `mu` is taken, since the
    quotient of an unconverged iteration may be negative.

    Source: Baveja et al., arXiv 2509.19698, Eq. 1 and C.1; "window" is also the published code's. The "ema"
    variance is that of Finch, "Incremental calculation of weighted mean and variance", 2009.

    Args:
        kind: "window" or "ema".
        window: how many values.
        decay: `d`.
        eps: keeps `Vol` finite where sharpness vanishes.

    Raises:
        OptionError: an argument is out of range.

    >>> tracker = VolatilityTracker(window=2)
    >>> [float(tracker.update(torch.tensor(value))) for value in (1.0, 3.0, 3.0)]
    [0.0, 0.5, 0.0]
    """

    def __init__(
        self, kind: str = "window", window: int = 30, decay: float = 0.97, eps: float = 1e-8
    ) -> None:
        check_value("volatility", kind, KINDS)
        if window < 2:
            raise OptionError(f"window={window} must be at least 2: one value has no deviation")
        if not 0 < decay < 1:
            raise OptionError(f"decay={decay} must be between 0 and 1")
        self.kind, self.window, self.decay, self.eps = kind, window, decay, eps
        self._values: torch.Tensor | None = None
        self.mean: torch.Tensor | None = None
        self.variance: torch.Tensor | None = None

    def update(self, values: torch.Tensor) -> torch.Tensor:
        """Add the newest values, of any shape, and return Vol, of the same shape."""
        check_tensors(values=values)
        values = values.detach()
        if self.mean is None or self.variance is None or self._values is None:
            self.mean, self.variance = torch.full_like(values, torch.nan), torch.zeros_like(values)
            length = self.window if self.kind == "window" else 1
            self._values = values.new_full((length, *values.shape), torch.nan)
        self._values = self._values.to(values)  # a state may come from another device
        self.mean, self.variance = self.mean.to(values), self.variance.to(values)
        usable = torch.isfinite(values)
        # Tensors keep their place in memory: an update can be replayed.
        if self.kind == "window":
            shifted = torch.cat([self._values[1:], values[None]])
            self._values.copy_(torch.where(usable, shifted, self._values))
            # A running sum adds each number's values in order, whatever other numbers there are.
            total = torch.nan_to_num(self._values).cumsum(dim=0)[-1]
            mean = total / (~torch.isnan(self._values)).sum(dim=0)
            variance = (values - mean).square()
        else:
            first = torch.isnan(self.mean)
            step = torch.where(first, 0, values - self.mean)
            mean = torch.where(first, values, self.mean + (1 - self.decay) * step)
            variance = self.decay * (self.variance + (1 - self.decay) * step.square())
        self.mean.copy_(torch.where(usable, mean, self.mean))
        self.variance.copy_(torch.where(usable, variance, self.variance))
        return self.value

    @property
    def value(self) -> torch.Tensor:
        """The current Vol; 0 before the first finite value."""
        if self.mean is None or self.variance is None:
            raise OptionError("no value yet: call update first")
        return self.variance / (torch.nan_to_num(self.mean).abs() + self.eps)

    def state_dict(self) -> dict[str, Any]:
        values = {"values": self._values, "mean": self.mean, "variance": self.variance}
        return {key: None if value is None else value.clone() for key, value in values.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._values, self.mean, self.variance = (
            None if state[key] is None else state[key].clone() for key in ("values", "mean", "variance")
        )

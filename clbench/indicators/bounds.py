"""Critical step sizes, and the loss of trainability that they predict."""

from typing import NamedTuple

import torch

from clbench.errors import OptionError
from clbench.indicators.networks import check_tensors

BETA = 20.0


class CriticalStepSizes(NamedTuple):
    """The three bounds, in the shape of the arguments.

    Attributes:
        noise: `alpha_g = B ||g_hat||^2 / sigma^2`.
        volatility: `alpha_vol = 1 / (kappa Vol)`.
        combined: `alpha~ = B ||g_hat||^2 / (sigma^2 + beta ||g_hat||^2 Vol)`.
    """

    noise: torch.Tensor
    volatility: torch.Tensor
    combined: torch.Tensor


def critical_step_sizes(
    gradient_squares: torch.Tensor,
    noise: torch.Tensor,
    volatility: torch.Tensor,
    batch_size: int,
    beta: float = BETA,
    kappa: float | None = None,
    unbiased: bool = False,
) -> CriticalStepSizes:
    """Return the bounds on a layer's effective step size, number by number.

    With `kappa = beta / B`, `alpha~` is the harmonic combination of the other two and above neither. In pure noise
    `alpha_g` tends to 1 and not to 0, since `||g_hat||^2` contains `sigma^2 / B`; `unbiased` subtracts that share, and
    corrects sigma^2 for the batch's mean: `sigma^2 B / (B - 1)`.

    Where nothing bounds (no noise, as in a batch of one, or no volatility yet), a bound is `inf`. Where the measured
    gradient is zero the layer is dead: `alpha_g` and `alpha~` are 0 / 0, NaN. `alpha_vol` does not depend on the
    gradient, but there is no step to bound: a scheduler has NaN for all three. With `unbiased`, a gradient that is
    nothing but noise is not dead: its bounds are 0.

    Source: Baveja et al., arXiv 2509.19698, Eq. 2. The paper says beta in [0, 1], where at B = 256 `alpha~` stays
    within a percent or so of `alpha_g`; its published code has 10 and 20.

    Args:
        gradient_squares: `||g_hat||^2` of the loss as trained.
        noise: `sigma^2` of the data loss.
        volatility: `Vol` of normalised sharpness.
        batch_size: `B`.
        beta: weight of curvature volatility, 0 or above.
        kappa: scale of `alpha_vol`; `beta / B` by default.
        unbiased: see above.

    Returns:
        step sizes (those of plain gradient descent), `inf` for no bound, NaN for none defined.

    Raises:
        OptionError: `beta` or `kappa` is negative.

    >>> bounds = critical_step_sizes(torch.tensor(2.0), torch.tensor(64.0), torch.tensor(8.0), 32, beta=4)
    >>> [float(bound) for bound in bounds]  # 1 and 1: together 1/2
    [1.0, 1.0, 0.5]
    """
    check_tensors(gradient_squares=gradient_squares, noise=noise, volatility=volatility)
    harmonic = kappa is None
    kappa = beta / batch_size if kappa is None else kappa
    if not (beta >= 0 and kappa >= 0):
        raise OptionError(f"beta={beta} and kappa={kappa} must not be negative")
    dead = gradient_squares == 0
    if unbiased and batch_size > 1:
        noise = noise * (batch_size / (batch_size - 1))
        gradient_squares = (gradient_squares - noise / batch_size).clamp_min(0)
    by_noise = quotient(batch_size * gradient_squares, noise)
    by_volatility = quotient(torch.ones_like(volatility), kappa * volatility)
    combined = quotient(batch_size * gradient_squares, noise + beta * gradient_squares * volatility)
    if harmonic:  # rounding may lift it above that, and does where kappa Vol is a denormal number
        combined = torch.minimum(combined, by_volatility)
    by_noise, combined = (torch.where(dead, torch.nan, bound) for bound in (by_noise, combined))
    return CriticalStepSizes(by_noise, by_volatility, combined)


def quotient(above: torch.Tensor, below: torch.Tensor) -> torch.Tensor:
    """Return above / below: NaN for 0 / 0, `inf` for anything else over 0, or over what rounding left below 0."""
    return above / torch.where(below > 0, below, 0 * below.abs())


def cantelli_cap(mean: torch.Tensor, deviation: torch.Tensor, delta: float = 0.05) -> torch.Tensor:
    """Return `2 / (mu + sigma sqrt((1 - delta) / delta))`, below which a step is stable with probability 1 - delta.

    Gradient descent is stable below `2 / lambda`; Cantelli's inequality bounds lambda from its mean and deviation.
    `inf` where neither mean nor deviation bounds.

    Source: Baveja et al., arXiv 2509.19698, B.4.

    Args:
        mean: mu of sharpness.
        deviation: sigma of sharpness.
        delta: probability of failure, in (0, 1).

    Returns:
        step sizes.

    Raises:
        OptionError: `delta` is not between 0 and 1.

    >>> cantelli_cap(torch.tensor(3.0), torch.tensor(1.0), delta=0.5)
    tensor(0.5000)
    """
    if not 0 < delta < 1:
        raise OptionError(f"delta={delta} must be between 0 and 1")
    return quotient(torch.full_like(mean, 2), mean + deviation * ((1 - delta) / delta) ** 0.5)


def predicted_loss_of_trainability(effective: torch.Tensor, bound: torch.Tensor) -> torch.Tensor:
    """Return `rho = (1/T) sum_t 1{some layer has alpha > bound}`, the share of a task's decisions.

    A layer without a bound (NaN: it is dead, or could not be measured) is left out of a decision, and a decision
    without any bound is left out of T; NaN if none is left. Nothing is above a bound of `inf`.

    Source: Baveja et al., arXiv 2509.19698, App. C.2.

    Args:
        effective: alpha at T decisions of L layers, `(T, L)`, or `(T, L, S)` for S networks.
        bound: a critical step size, usually `alpha~`, of the same shape.

    Returns:
        share in [0, 1], or NaN: a scalar, or `(S,)`.

    Raises:
        OptionError: the shapes differ, or there is no decision.

    >>> predicted_loss_of_trainability(torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.ones(2, 2))
    tensor(0.5000)
    >>> dead = torch.tensor([[1.0, float("nan")], [float("nan"), float("nan")]])
    >>> predicted_loss_of_trainability(torch.full((2, 2), 2.0), dead)  # of the only decision left
    tensor(1.)
    """
    check_tensors(effective=effective, bound=bound)
    if effective.shape != bound.shape or effective.ndim not in (2, 3) or not len(effective):
        raise OptionError(
            f"effective step sizes {tuple(effective.shape)} and bounds {tuple(bound.shape)} must both be "
            "(T, L) or (T, L, S), T at least 1"
        )
    known = ~(torch.isnan(effective) | torch.isnan(bound))
    above = (known & (effective > bound)).any(dim=1).to(effective.dtype)
    return above.sum(dim=0) / known.any(dim=1).sum(dim=0)

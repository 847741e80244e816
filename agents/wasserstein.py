"""Wasserstein regularisation: weights keep their initial distribution, not their initial values."""

from collections.abc import Sequence

import numpy as np
import torch

from .arguments import NON_NEGATIVE
from .learner import Learner
from .networks import Tensors


class Agent(Learner):
    """Penalty strength * sum over parameter tensors of ||sort(theta) - sort(theta_0)||^2.

    theta_0 are the initial weights. The gradient of a weight of rank r within its tensor is
    2 * strength * (theta - sort(theta_0)[r]); of equal weights the first has the lowest rank.

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity",
    2023; constants of Baveja et al., arXiv 2509.19698, App. A.
    """

    RANGES = {"strength": NON_NEGATIVE}
    strength = 1e-3

    def initial_state(self, parameters: Tensors) -> Tensors:
        return {name: value.detach().flatten(1).sort(dim=1).values for name, value in parameters.items()}

    def penalty(self, parameters: Tensors) -> torch.Tensor:
        distances = [
            (value - self.targets(name, value)).square().flatten(1).sum(dim=1)
            for name, value in parameters.items()
        ]
        return self.strength * torch.stack(distances).sum(dim=0)

    def penalty_gradients(self) -> Sequence[torch.Tensor] | None:
        if type(self).penalty is not Agent.penalty:
            return super().penalty_gradients()
        return [
            (value.detach() - self.targets(name, value)).mul_(2 * self.strength)
            for name, value in self.parameters.items()
        ]

    def targets(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return, for each weight of a tensor `(S, ...)`, the initial weight of its rank."""
        return by_rank(value.detach().flatten(1), self.state[name]).view_as(value)


def by_rank(values: torch.Tensor, ranked: torch.Tensor) -> torch.Tensor:
    """Replace each of `(S, N)` values by what `ranked` has at its rank in its row; equal values rank in order.

    On a CPU float32 is sorted digit by digit, in linear time: two stable passes of NumPy's radix sort, 16 bits each,
    instead of a comparison sort. Infinities are allowed, NaN is not.

    >>> by_rank(torch.tensor([[0.5, -1.0, 0.5, -0.0, 0.0]]), torch.arange(5.0).view(1, 5))
    tensor([[3., 0., 4., 1., 2.]])
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return by_sorting(values, ranked)
    result = torch.empty_like(ranked)
    for row, source, target in zip(values.numpy(), ranked.numpy(), result.numpy(), strict=True):
        target[_radix_argsort(row)] = source
    return result


def by_sorting(values: torch.Tensor, ranked: torch.Tensor) -> torch.Tensor:
    """Return what `by_rank` does, by PyTorch's sort."""
    order = values.sort(dim=1, stable=True).indices
    return torch.empty_like(ranked).scatter_(1, order, ranked)


def _radix_argsort(values: np.ndarray) -> np.ndarray:
    # Adding 0 makes -0 to 0. A float's bits, read as an integer, have its order: reversed below zero.
    bits = (values + np.float32(0)).view(np.int32)
    digits = (bits ^ ((bits >> 31) | np.int32(-(2**31)))).view(np.uint32)
    low, high = digits.astype(np.uint16), (digits >> 16).astype(np.uint16)
    order = np.argsort(low, kind="stable")
    result: np.ndarray = order[np.argsort(high[order], kind="stable")]
    return result

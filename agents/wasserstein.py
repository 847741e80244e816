"""Wasserstein regularisation: weights keep their initial distribution, not their initial values."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .adam import Tensors
from .regularized import RegularizedLearner


class Agent(RegularizedLearner):
    """Penalty strength * sum over parameter tensors of ||sort(theta) - sort(theta_0)||^2.

    theta_0 are the initial weights. The gradient of a weight of rank r within its tensor is
    2 * strength * (theta - sort(theta_0)[r]); of equal weights the first has the lowest rank.

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity",
    2023; constants of Baveja et al., arXiv 2509.19698, App. A.
    """

    def initialise(self) -> None:
        """Start over, and remember the sorted initial weights."""
        super().initialise()
        drawn = {
            name: value.detach().flatten(1).sort(dim=1).values for name, value in self.parameters.items()
        }
        if not hasattr(self, "initial"):
            self.initial = drawn
        for name, value in self.initial.items():  # where they are: steps that are replayed know the place
            value.copy_(drawn[name])

    def penalty(self, parameters: Tensors) -> torch.Tensor:
        """Return the penalty of each seed, `(S,)`."""
        distances = [
            (value - self.partners(name, value)).square().flatten(1).sum(dim=1)
            for name, value in parameters.items()
        ]
        return self.strength * torch.stack(distances).sum(dim=0)

    @torch.no_grad()
    def penalty_gradients(self) -> Sequence[torch.Tensor]:
        """Return 2 * strength * (theta - sort(theta_0)[r])."""
        return [
            (value - self.partners(name, value)).mul_(2 * self.strength)
            for name, value in self.parameters.items()
        ]

    def partners(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return, for each weight of a tensor `(S, ...)`, the initial weight of its rank."""
        return by_rank(value.detach().flatten(1), self.initial[name]).view_as(value)

    def state_dict(self) -> dict[str, Any]:
        """Return the learner's state and the sorted initial weights."""
        return {
            **super().state_dict(),
            "initial": {name: value.clone() for name, value in self.initial.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        super().load_state_dict(state)
        for name, value in self.initial.items():
            value.copy_(state["initial"][name])


def by_rank(values: torch.Tensor, ranked: torch.Tensor) -> torch.Tensor:
    """Return, for each of `(S, N)` values, what `ranked` has at its rank in its row; equal ones rank in order.

    On a CPU float32 is sorted digit by digit, in linear time: two stable passes of NumPy's radix sort, 16 bits each,
    instead of a comparison sort. There may be infinities, but no NaN.

    >>> by_rank(torch.tensor([[0.5, -1.0, 0.5, -0.0, 0.0]]), torch.arange(5.0).view(1, 5))
    tensor([[3., 0., 4., 1., 2.]])
    """
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return by_sorting(values, ranked)
    found = torch.empty_like(ranked)
    for row, source, target in zip(values.numpy(), ranked.numpy(), found.numpy(), strict=True):
        target[_radix_argsort(row)] = source
    return found


def by_sorting(values: torch.Tensor, ranked: torch.Tensor) -> torch.Tensor:
    """Return what `by_rank` does, by PyTorch's own sort."""
    order = values.sort(dim=1, stable=True).indices
    return torch.empty_like(ranked).scatter_(1, order, ranked)


def _radix_argsort(values: np.ndarray) -> np.ndarray:
    # Adding 0 makes -0 to 0. A float's bits, read as an integer, have its order: reversed below zero.
    bits = (values + np.float32(0)).view(np.int32)
    digits = (bits ^ ((bits >> 31) | np.int32(-(2**31)))).view(np.uint32)
    low, high = digits.astype(np.uint16), (digits >> 16).astype(np.uint16)
    order = np.argsort(low, kind="stable")
    found: np.ndarray = order[np.argsort(high[order], kind="stable")]
    return found

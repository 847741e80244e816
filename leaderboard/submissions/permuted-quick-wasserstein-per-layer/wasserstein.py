"""Wasserstein regularisation: weights keep their initial distribution, not their initial values."""

import torch

from .adam import Tensors
from .regularized import RegularizedLearner


class Agent(RegularizedLearner):
    """Penalty strength * sum over parameter tensors of ||sort(theta) - sort(theta_0)||^2.

    theta_0 are the initial weights. The gradient of a weight of rank r within its tensor is
    2 * strength * (theta - sort(theta_0)[r]).

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity",
    2023; constants of Baveja et al., arXiv 2509.19698, App. A.
    """

    def initialise(self) -> None:
        """Start over, and remember the sorted initial weights."""
        super().initialise()
        self.initial = {
            name: value.detach().flatten(1).sort(dim=1).values for name, value in self.parameters.items()
        }

    def penalty(self, parameters: Tensors) -> torch.Tensor:
        """Return the penalty of each seed, `(S,)`."""
        distances = [
            (value.flatten(1).sort(dim=1).values - self.initial[name]).square().sum(dim=1)
            for name, value in parameters.items()
        ]
        return self.strength * torch.stack(distances).sum(dim=0)

    def state_dict(self) -> dict[str, object]:
        """Return the learner's state and the sorted initial weights."""
        return {
            **super().state_dict(),
            "initial": {name: value.clone() for name, value in self.initial.items()},
        }

    def load_state_dict(self, state: dict[str, object]) -> None:  # type: ignore[override]
        """Take up what `state_dict` gave."""
        super().load_state_dict(state)
        self.initial = {name: value.clone() for name, value in state["initial"].items()}  # type: ignore[attr-defined]

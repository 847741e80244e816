"""Wasserstein regularisation: weights keep their initial distribution, not their initial values."""

from collections.abc import Sequence

import torch

from clbench.agent import AgentSpec
from clbench.errors import OptionError

from .adam import Tensors
from .learner import Learner


class Agent(Learner):
    """Penalty strength * sum over parameter tensors of ||sort(theta) - sort(theta_0)||^2.

    theta_0 are the initial weights. The gradient of a weight of rank r within its tensor is
    2 * strength * (theta - sort(theta_0)[r]).

    Args:
        spec: the stream to learn on.
        seeds: one per network.
        step_size: Adam's.
        strength: lambda.

    Source: Lewandowski et al., "Directions of Curvature as an Explanation for Loss of Plasticity",
    2023; constants of Baveja et al., arXiv 2509.19698, App. A.
    """

    def __init__(
        self, spec: AgentSpec, seeds: Sequence[int], step_size: float = 1e-3, strength: float = 1e-3
    ) -> None:
        if strength < 0:
            raise OptionError(f"strength={strength} must not be negative")
        super().__init__(spec, seeds, step_size)
        self.strength = strength

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

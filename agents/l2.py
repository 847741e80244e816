"""L2 regularisation: weights are drawn towards zero."""

from collections.abc import Sequence

import torch

from clbench.agent import AgentSpec
from clbench.errors import OptionError

from .adam import Tensors
from .learner import Learner


class Agent(Learner):
    """Adds strength * theta to the gradient before Adam's moments (coupled, as Adam's weight_decay).

    That is the gradient of the penalty strength/2 * ||theta||^2 over all parameters, biases too.

    Args:
        spec: the stream to learn on.
        seeds: one per network.
        step_size: Adam's.
        strength: lambda.

    Source: Baveja et al., arXiv 2509.19698, App. A; `torch.optim.Adam(weight_decay=strength)`.
    """

    def __init__(
        self, spec: AgentSpec, seeds: Sequence[int], step_size: float = 1e-3, strength: float = 1e-3
    ) -> None:
        if strength < 0:
            raise OptionError(f"strength={strength} must not be negative")
        super().__init__(spec, seeds, step_size)
        self.strength = strength

    def penalty(self, parameters: Tensors) -> torch.Tensor:
        """Return strength/2 * ||theta||^2 of each seed, `(S,)`."""
        squares = [value.square().flatten(1).sum(dim=1) for value in parameters.values()]
        return self.strength / 2 * torch.stack(squares).sum(dim=0)

"""L2 regularisation: weights are drawn towards zero."""

import torch

from .adam import Tensors
from .regularized import RegularizedLearner


class Agent(RegularizedLearner):
    """Adds strength * theta to the gradient before Adam's moments (coupled, as Adam's weight_decay).

    That is the gradient of the penalty strength/2 * ||theta||^2 over all parameters, biases too.

    Source: Baveja et al., arXiv 2509.19698, App. A; `torch.optim.Adam(weight_decay=strength)`.
    """

    def penalty(self, parameters: Tensors) -> torch.Tensor:
        """Return strength/2 * ||theta||^2 of each seed, `(S,)`."""
        squares = [value.square().flatten(1).sum(dim=1) for value in parameters.values()]
        return self.strength / 2 * torch.stack(squares).sum(dim=0)

"""L2 regularisation: weights are drawn towards zero."""

from collections.abc import Sequence

import torch

from .arguments import NON_NEGATIVE
from .learner import Learner
from .networks import Tensors


class Agent(Learner):
    """Adds strength * theta to the gradient before Adam's moments (coupled, as Adam's weight_decay).

    That is the gradient of the penalty strength/2 * ||theta||^2 over all parameters, biases too.

    Source: Baveja et al., arXiv 2509.19698, App. A; `torch.optim.Adam(weight_decay=strength)`.
    """

    RANGES = {"strength": NON_NEGATIVE}
    strength = 1e-3

    def penalty(self, parameters: Tensors) -> torch.Tensor:
        squares = [value.square().flatten(1).sum(dim=1) for value in parameters.values()]
        return self.strength / 2 * torch.stack(squares).sum(dim=0)

    def penalty_gradients(self) -> Sequence[torch.Tensor] | None:
        if type(self).penalty is not Agent.penalty:
            return super().penalty_gradients()
        return [self.strength * value.detach() for value in self.parameters.values()]

"""Deep linear: no activation at all, yet no convex problem either."""

import torch
from torch import nn

from .learner import Learner


class Agent(Learner):
    """The backbone with the identity for its activation.

    Source: Baveja et al., arXiv 2509.19698, Fig. 1; Lewandowski et al., "Plastic Learning with Deep Fourier
    Features", 2024, on deep linear networks keeping trainability.
    """

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Return the backbone without activations."""
        return self.make_mlp(generator, activation=nn.Identity())

"""Deep linear: no activation at all, yet not a convex problem either."""

from .learner import Learner
from .networks import Architecture, identity


class Agent(Learner):
    """The backbone with the identity for its activation.

    Source: Baveja et al., arXiv 2509.19698, Fig. 1; Lewandowski et al., "Plastic Learning with Deep Fourier
    Features", 2024, on deep linear networks keeping trainability.
    """

    def architecture(self) -> Architecture:
        return self.mlp(activation=identity)

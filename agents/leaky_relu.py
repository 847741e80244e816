"""Leaky ReLU: silent units keep a slope, and with it a gradient."""

from .arguments import FINITE
from .learner import Learner
from .networks import Architecture, LeakyReLU


class Agent(Learner):
    """Activation max(x, 0) + slope min(x, 0).

    Source: Baveja et al., arXiv 2509.19698, Fig. 1, with slopes 0.7 and 0.3.
    """

    RANGES = {"slope": FINITE}
    slope = 0.7

    def architecture(self) -> Architecture:
        return self.mlp(activation=LeakyReLU(self.slope))

"""The plain learner with the per-layer step-size scheduler."""

from .learner import Learner


class Agent(Learner):
    """Adam whose step sizes are kept below each layer's critical step size.

    Source: Baveja et al., arXiv 2509.19698, Alg. 1.
    """

    default_scheduler = "per-layer"

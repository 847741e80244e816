"""The plain learner: Adam on the mean cross-entropy, nothing against loss of trainability."""

from .learner import Learner


class Agent(Learner):
    """`Learner` as it is."""

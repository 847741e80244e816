"""New weights and optimizer state at each task boundary: what a fresh network can do."""

from . import crelu, l2, wasserstein
from .learner import Learner


class Agent(Learner):
    """Forgets everything at a boundary; the reference that a learner should not fall below."""

    def begin_task(self, task: int) -> None:
        if task > 0:
            self.reset()
        super().begin_task(task)


class CReLU(Agent, crelu.Agent):
    """`agents.crelu` that forgets everything at a boundary."""


class L2(Agent, l2.Agent):
    """`agents.l2` that forgets everything at a boundary."""


class Wasserstein(Agent, wasserstein.Agent):
    """`agents.wasserstein` that forgets everything at a boundary."""

"""The plain learner with the per-layer step-size scheduler."""

from collections.abc import Sequence
from typing import Any

from clbench.agent import AgentSpec

from .learner import Learner


class Agent(Learner):
    """Adam whose step sizes are kept below each layer's critical step size.

    Source: Baveja et al., arXiv 2509.19698, Alg. 1.
    """

    def __init__(
        self,
        spec: AgentSpec,
        seeds: Sequence[int],
        step_size: float = 1e-3,
        scheduler: str = "per-layer",
        **constants: Any,
    ) -> None:
        super().__init__(spec, seeds, step_size, scheduler, **constants)

"""Concatenated ReLU: no unit can fall silent for good."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from clbench.agent import AgentSpec

from .learner import Learner
from .networks import crelu


class Agent(Learner):
    """Activation `[relu(x), relu(-x)]`; the next layer takes twice the inputs.

    Source: Abbas et al., "Loss of Plasticity in Continual Deep Reinforcement Learning", 2023; step
    size 1e-2 as in Baveja et al., arXiv 2509.19698, App. A.
    """

    def __init__(
        self, spec: AgentSpec, seeds: Sequence[int], step_size: float = 1e-2, **scheduling: Any
    ) -> None:
        super().__init__(spec, seeds, step_size, **scheduling)

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Return the backbone with CReLU for ReLU."""
        return self.make_mlp(generator, activation=crelu, expansion=2)

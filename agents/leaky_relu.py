"""Leaky ReLU: silent units keep a slope, and with it a gradient."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from clbench.agent import AgentSpec
from clbench.errors import OptionError

from .learner import Learner


class Agent(Learner):
    """Activation max(x, 0) + slope min(x, 0).

    Source: Baveja et al., arXiv 2509.19698, Fig. 1, with slopes 0.7 and 0.3.
    """

    def __init__(
        self,
        spec: AgentSpec,
        seeds: Sequence[int],
        step_size: float = 1e-3,
        slope: float = 0.7,
        **scheduling: Any,
    ) -> None:
        self.check_arguments({"slope": slope})
        self.slope = slope
        super().__init__(spec, seeds, step_size, **scheduling)

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Raise unless a learner can be made with these."""
        super().check_arguments(arguments)
        if not math.isfinite(arguments.get("slope", 0)):
            raise OptionError(f"slope={arguments['slope']} must be finite")

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Return the backbone with leaky ReLU for ReLU."""
        return self.make_mlp(generator, activation=nn.LeakyReLU(self.slope))

"""Batch normalisation before each activation, with weight decay."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from clbench.errors import UndefinedError

from . import l2


class Agent(l2.Agent):
    """The backbone with batch normalisation, and strength * theta added to the gradient.

    Predictions and training both use the batch's own statistics. Samples then have no gradients of their own:
    of the schedulers, only "volatility-only" works.

    Source: Baveja et al., arXiv 2509.19698, Fig. 1; Ioffe and Szegedy, "Batch Normalization", 2015.
    """

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Raise unless a learner can be made with these."""
        super().check_arguments(arguments)
        scheduler = arguments.get("scheduler", "none")
        if scheduler not in ("none", "volatility-only"):
            raise UndefinedError(
                f"scheduler={scheduler} needs per-sample gradients, which batch normalisation has not: "
                "choose volatility-only"
            )

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Return the backbone with batch normalisation."""
        return self.make_mlp(generator, normalize=True)

"""Batch normalisation before each activation, with weight decay."""

import torch
from torch import nn

from . import l2


class Agent(l2.Agent):
    """The backbone with batch normalisation, and strength * theta added to the gradient.

    Predictions and training both use the batch's own statistics. Samples then have no gradients of their own:
    of the schedulers, only "volatility-only" works.

    Source: Baveja et al., arXiv 2509.19698, Fig. 1; Ioffe and Szegedy, "Batch Normalization", 2015.
    """

    def make_network(self, generator: torch.Generator) -> nn.Module:
        """Return the backbone with batch normalisation."""
        return self.make_mlp(generator, normalize=True)

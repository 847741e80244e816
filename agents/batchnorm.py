"""Batch normalisation before each activation, with weight decay."""

from torch import nn

from . import l2
from .networks import Architecture


class Agent(l2.Agent):
    """The backbone with batch normalisation, and strength * theta added to the gradient.

    Predictions and training both use the batch's statistics. Samples then have no gradients of their own:
    of the schedulers, only "volatility-only" works.

    Source: Baveja et al., arXiv 2509.19698, Fig. 1; Ioffe and Szegedy, "Batch Normalization", 2015.
    """

    schedulers = ("none", "volatility-only")

    def architecture(self) -> Architecture:
        return self.mlp(norm=nn.BatchNorm1d)

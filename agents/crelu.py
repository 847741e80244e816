"""Concatenated ReLU: no unit can fall silent for good."""

from .learner import Learner
from .networks import Architecture, crelu


class Agent(Learner):
    """Activation `[relu(x), relu(-x)]`; the next layer takes twice the inputs.

    Source: Shang et al., "Understanding and Improving Convolutional Neural Networks via Concatenated Rectified Linear
    Units", ICML 2016; Abbas et al., "Loss of Plasticity in Continual Deep Reinforcement Learning", CoLLAs 2023; step
    size 1e-2 as in Baveja et al., arXiv 2509.19698, App. A.
    """

    step_size = 1e-2

    def architecture(self) -> Architecture:
        return self.mlp(activation=crelu, expansion=2)

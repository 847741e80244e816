"""The backbone: a multilayer perceptron with a choice of activation."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional as F

Activation = Callable[[torch.Tensor], torch.Tensor]

DTYPE = torch.float32
"""Of new networks, whatever PyTorch's default is."""


def crelu(x: torch.Tensor) -> torch.Tensor:
    """Return `[relu(x), relu(-x)]`, twice as wide.

    Source: Shang et al., "Understanding and Improving Convolutional Neural Networks via Concatenated
    Rectified Linear Units", ICML 2016; against loss of plasticity: Abbas et al., CoLLAs 2023.
    """
    return torch.cat([F.relu(x), F.relu(-x)], dim=-1)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer whose values are still to be set: its own come from the global random state, put back here."""
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(inputs, outputs, device="cpu", dtype=DTYPE)


class MLP(nn.Module):
    """Layers `fc1`, `fc2`, ... and `out`, with an activation after all but the last.

    Weights are Kaiming-uniform for ReLU (fan-in, gain sqrt 2), biases zero, as in Baveja et al., arXiv
    2509.19698, App. A.

    Args:
        input_size: `D`.
        num_classes: `C`.
        hidden: widths of the hidden layers.
        activation: applied after each hidden layer.
        expansion: how many times wider the activation makes its input.
        normalize: whether a batch normalisation, `norm1` of `fc1`, comes before each activation.
        generator: where weights are drawn from; a CPU generator.

    >>> MLP(784, 10)(torch.zeros(2, 784)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        input_size: int,
        num_classes: int,
        hidden: Sequence[int] = (256, 256),
        activation: Activation = F.relu,
        expansion: int = 1,
        normalize: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.hidden_layers = [
            (f"fc{index + 1}", *([f"norm{index + 1}"] if normalize else [])) for index in range(len(hidden))
        ]
        width = input_size
        for names, size in zip(self.hidden_layers, hidden, strict=True):
            self.add_module(names[0], _linear(width, size))
            for name in names[1:]:
                self.add_module(name, nn.BatchNorm1d(size, device="cpu", dtype=DTYPE))
            width = size * expansion
        self.out = _linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(module.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits `(B, C)` for inputs `(B, ...)`, flattened to `(B, D)`."""
        inputs = inputs.flatten(1)
        for names in self.hidden_layers:
            for name in names:
                inputs = self.get_submodule(name)(inputs)
            inputs = self.activation(inputs)
        logits: torch.Tensor = self.out(inputs)
        return logits

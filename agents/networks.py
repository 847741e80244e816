"""The backbone, a multilayer perceptron, and how networks are specified before they are built."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.func import stack_module_state
from torch.nn import functional as F

Tensors = dict[str, torch.Tensor]
Activation = Callable[[torch.Tensor], torch.Tensor]
DTYPE = torch.float32  # of new networks, whatever PyTorch's default is


def cloned(tensors: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: value.detach().clone() for name, value in tensors.items()}


@torch.no_grad()
def copy_into(tensors: Mapping[str, torch.Tensor], source: Mapping[str, torch.Tensor]) -> None:
    """Overwrite tensors in place: replayed steps know their addresses."""
    for name, value in tensors.items():
        value.copy_(source[name])


@dataclass(frozen=True)
class Architecture:
    """A specification of networks: those of equal ones differ in their weights only.

    `factory` is called with `arguments`, with `options`, and with `generator`, to draw weights from.
    """

    factory: Callable[..., nn.Module]
    arguments: tuple[Hashable, ...] = ()
    options: frozenset[tuple[str, Hashable]] = frozenset()

    def build(self, generators: Sequence[torch.Generator]) -> tuple[nn.Module, Tensors, Tensors]:
        """Build a network with each generator; return one, and the `(S, ...)` parameters and buffers of all."""
        options = dict(self.options)
        networks = [self.factory(*self.arguments, generator=each, **options) for each in generators]
        parameters, buffers = stack_module_state(networks)
        return networks[0], {name: value.detach() for name, value in parameters.items()}, buffers


def identity(x: torch.Tensor) -> torch.Tensor:
    return x


def crelu(x: torch.Tensor) -> torch.Tensor:
    """Return `[relu(x), relu(-x)]`, twice as wide."""
    return torch.cat([F.relu(x), F.relu(-x)], dim=-1)


@dataclass(frozen=True)
class LeakyReLU:
    """max(x, 0) + slope min(x, 0); equals others of the same slope."""

    slope: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return F.leaky_relu(x, self.slope)


def _linear(inputs: int, outputs: int) -> nn.Linear:
    """Return a layer whose weights are still to be drawn, without a trace in the global random state."""
    with torch.random.fork_rng(devices=[]):
        return nn.Linear(inputs, outputs, device="cpu", dtype=DTYPE)


class MLP(nn.Module):
    """Layers `fc1`, `fc2`, ... and `out`, with an activation after all but the last.

    Weights are Kaiming-uniform for ReLU (fan-in, gain sqrt 2), biases zero, as in Baveja et al., arXiv
    2509.19698, App. A.

    Args:
        activation: applied after each hidden layer.
        expansion: how many times wider the activation makes its input.
        norm: a normalisation before each activation, such as `nn.BatchNorm1d`; that of `fc1` is `norm1`.
        generator: a CPU generator to draw weights from.

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
        norm: Callable[..., nn.Module] | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.hidden_layers: list[list[str]] = []
        width = input_size
        for number, size in enumerate(hidden, start=1):
            self.hidden_layers.append([f"fc{number}"])
            self.add_module(f"fc{number}", _linear(width, size))
            if norm is not None:
                self.hidden_layers[-1].append(f"norm{number}")
                self.add_module(f"norm{number}", norm(size, device="cpu", dtype=DTYPE))
            width = size * expansion
        self.out = _linear(width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.kaiming_uniform_(module.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(module.bias)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        inputs = inputs.flatten(1)
        for names in self.hidden_layers:
            for name in names:
                inputs = self.get_submodule(name)(inputs)
            inputs = self.activation(inputs)
        logits: torch.Tensor = self.out(inputs)
        return logits

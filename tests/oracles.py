"""Independent, plain ways to compute what clbench computes: loops, autograd, torch.optim."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F


def plain_mlp(seed: int, activation: nn.Module | None = None, widths: tuple[int, ...] = (784, 256, 256, 10)):
    """A plain torch network with the initial weights that the backbone has for `seed`."""
    generator = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layer = nn.Linear(inputs, outputs)
        bound = (6 / inputs) ** 0.5  # Kaiming-uniform: gain sqrt 2 times sqrt(3 / fan-in)
        with torch.no_grad():
            layer.weight.uniform_(-bound, bound, generator=generator)
            layer.bias.zero_()
        layers += [layer, activation or nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def train_plainly(network, optimizer, batches, penalty=None):
    """The usual loop; returns logits before each update."""
    shown = []
    for inputs, targets in batches:
        logits = network(inputs)
        loss = F.cross_entropy(logits, targets)
        if penalty is not None:
            loss = loss + penalty(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shown.append(logits.detach())
    return shown


def wasserstein_penalty(parameters, initial, strength: float):
    """strength * sum over tensors of ||sort(theta) - sort(theta_0)||^2, by autograd through sort."""
    total = torch.zeros((), dtype=parameters[0].dtype)
    for value, start in zip(parameters, initial, strict=True):
        total = total + ((value.flatten().sort().values - start.flatten().sort().values) ** 2).sum()
    return strength * total

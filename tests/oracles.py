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
        total = (
            total + ((value.flatten().sort(stable=True).values - start.flatten().sort().values) ** 2).sum()
        )
    return strength * total


def flat_parameters(model):
    """All trained parameters as one vector, and a function of such a vector that runs the model on inputs."""
    names = [name for name, value in model.named_parameters() if value.requires_grad]
    shapes = {name: dict(model.named_parameters())[name].shape for name in names}
    vector = torch.cat([dict(model.named_parameters())[name].detach().flatten() for name in names])

    def run(theta, inputs):
        pieces = theta.split([shapes[name].numel() for name in names])
        state = {name: piece.view(shapes[name]) for name, piece in zip(names, pieces, strict=True)}
        buffers = {name: value.clone() for name, value in model.named_buffers()}
        return torch.func.functional_call(model, {**state, **buffers}, (inputs,))

    return vector, run


def places(model):
    """Indices into the flat vector by layer: the module that owns a parameter, in order.

    A normalisation counts with the layer before it; in these networks it is the module before.
    """
    found, at, last = {}, 0, None
    for name, value in model.named_parameters():
        if value.requires_grad:
            owner = name.rpartition(".")[0] or name
            if value.ndim == 1 and "Norm" in type(model.get_submodule(name.rpartition(".")[0])).__name__:
                owner = last
            found.setdefault(owner, []).extend(range(at, at + value.numel()))
            at, last = at + value.numel(), owner
    return {layer: torch.tensor(indices) for layer, indices in found.items()}


def gradient(model, loss_fn, inputs, targets, penalty=None):
    """The batch loss's gradient as one vector."""
    theta, run = flat_parameters(model)
    theta.requires_grad_()
    loss = loss_fn(run(theta, inputs), targets)
    if penalty is not None:
        loss = loss + penalty(theta)
    return torch.autograd.grad(loss, theta)[0]


def sample_gradients(model, loss_fn, inputs, targets):
    """Per-sample gradients `(B, P)`: a loop over samples."""
    return torch.stack(
        [
            gradient(model, loss_fn, inputs[index : index + 1], targets[index : index + 1])
            for index in range(len(inputs))
        ]
    )


def noise(model, loss_fn, inputs, targets):
    """(1/B) sum ||g_i - g_bar||^2 by layer and in all, from explicit per-sample gradients."""
    rows = sample_gradients(model, loss_fn, inputs, targets)
    spread = (rows - rows.mean(dim=0)).square().mean(dim=0)
    return {layer: spread[place].sum() for layer, place in places(model).items()} | {
        "whole network": spread.sum()
    }


def hessian(model, loss_fn, inputs, targets, penalty=None):
    """The explicit Hessian `(P, P)` of the batch loss."""
    theta, run = flat_parameters(model)

    def loss(vector):
        value = loss_fn(run(vector, inputs), targets)
        return value if penalty is None else value + penalty(vector)

    return torch.autograd.functional.hessian(loss, theta)


def top_eigenvalue(matrix):
    """The eigenvalue of largest magnitude."""
    values = torch.linalg.eigvalsh(matrix)
    return values[values.abs().argmax()]

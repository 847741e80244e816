"""Small settings that many tests share."""

import contextlib
import functools
import os
from pathlib import Path

import pytest
import torch
from torch import nn

import clbench
from agents.networks import MLP
from clbench.indicators import Stacked

SHORT = {"num_tasks": 2, "epochs_per_task": 2, "num_samples": 300, "batch_size": 100}
IDS = ["RandomLabelMNIST-v0", "PermutedMNIST-v0"]


def short_env(id: str = "RandomLabelMNIST-v0", **overrides: object):
    return clbench.make(id, **{**SHORT, **overrides})


def short_vec(num_envs: int, id: str = "RandomLabelMNIST-v0", **overrides: object):
    return clbench.make_vec(id, num_envs, **{**SHORT, **overrides})


def full_mnist() -> Path | None:
    """The folder with the real MNIST that the environment names, if any."""
    named = os.environ.get("CLBENCH_DATA_DIR")
    return Path(named) if named else None


@contextlib.contextmanager
def small_networks():
    """The learners' hidden layers have 12 and 8 units, for speed; not in worker processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("agents.learner.MLP", functools.partial(MLP, hidden=(12, 8)))
        yield


class ConvNet(nn.Module):
    """A small convolutional network with group and layer normalisation."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3)
        self.norm = nn.GroupNorm(1, 3)
        self.head = nn.Sequential(nn.Linear(12, 5), nn.LayerNorm(5), nn.Tanh(), nn.Linear(5, 3))

    def forward(self, x):
        x = torch.tanh(self.norm(self.conv(x.view(-1, 1, 4, 4))))
        return self.head(x.flatten(1))


class Tied(nn.Module):
    """One linear layer called twice, another whose weight is shared: no closed form for either."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(16, 16)
        self.first = nn.Linear(16, 16)
        self.second = nn.Linear(16, 16)
        self.second.weight = self.first.weight
        self.out = nn.Linear(16, 3)

    def forward(self, x):
        x = torch.tanh(self.inner(torch.tanh(self.inner(x))))
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def batch_normalised():
    """In eval mode, with statistics of its own."""
    model = nn.Sequential(nn.Linear(16, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))
    with torch.no_grad():
        model(torch.randn(32, 16))
    return model.eval()


NETWORKS = {
    "linear layers": lambda: nn.Sequential(
        nn.Linear(16, 7), nn.Tanh(), nn.Linear(7, 6, bias=False), nn.Tanh(), nn.Linear(6, 3)
    ),
    "mlp": lambda: MLP(16, 3, hidden=(8, 6), activation=torch.tanh),
    "convolution": ConvNet,
    "batch normalisation, evaluated": batch_normalised,
    "tied": Tied,
}


def network(name, seed=0, dtype=torch.float64):
    """One of `NETWORKS`, its weights moved away from any special place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = NETWORKS[name]()
        with torch.no_grad():
            for value in model.parameters():
                value.add_(0.1 * torch.randn_like(value))
    return model.to(dtype)


def batch(size=12, seed=0, dtype=torch.float64, features=16, classes=3):
    """Inputs `(B, 16)` and targets `(B,)`."""
    generator = torch.Generator().manual_seed(seed)
    inputs = torch.randn(size, features, generator=generator, dtype=torch.float64).to(dtype)
    return inputs, torch.randint(classes, (size,), generator=generator)


def stack(models, method=None):
    """The models as `Stacked` ones."""
    parameters, buffers = torch.func.stack_module_state(models)
    parameters = {name: value.detach() for name, value in parameters.items()}
    return Stacked(models[0], parameters, buffers, method)


def precision(dtype):
    """Relative tolerance that indicators must meet."""
    return {
        "rtol": 1e-5 if dtype == torch.float64 else 1e-3,
        "atol": 1e-12 if dtype == torch.float64 else 1e-5,
    }

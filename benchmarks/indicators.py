"""Indicators and the scheduler's decisions against loops, and against a task's time (g)."""

from collections.abc import Callable, Iterator

import torch
from torch.nn import functional as F

import clbench
from agents.vanilla import Agent as Vanilla
from benchmarks.loops import make_network
from benchmarks.measuring import Row, milliseconds, ratio_row, setting
from clbench.indicators import gradient_noise
from clbench.machine import threads
from clbench.observing import ALL, DEFAULT, Observer
from clbench.scheduling import PerLayerScheduler

STANDARD_STEPS = 23_400  # of a task


def rows(rounds: int, device: str) -> Iterator[Row]:
    few = max(3, rounds // 5)
    with threads(1):
        yield from decisions(few, device)
        for label, names in (("those by default", DEFAULT), ("all but critical_step_sizes", ALL)):
            yield task_end(few, device, label, names)


def decisions(rounds: int, device: str) -> Iterator[Row]:
    torch.manual_seed(0)
    images = clbench.load_images("embedded")
    inputs, targets = images.inputs[:256].flatten(1).to(device), torch.randint(10, (256,), device=device)
    model = make_network().to(device)
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    scheduler = PerLayerScheduler(model, optimizer, every=1)
    pairs: dict[str, tuple[str, Callable[[], object], Callable[[], object]]] = {
        "gradient noise": (
            "256 backward passes",
            lambda: looped_noise(model, inputs, targets),
            lambda: gradient_noise(model, F.cross_entropy, inputs, targets),
        ),
        "a decision of the scheduler": (
            "256 backward passes, 100 products a layer",
            lambda: looped_decision(model, inputs, targets),
            lambda: scheduler.step(F.cross_entropy, inputs, targets),
        ),
    }
    for name, (how, looped, direct) in pairs.items():
        milliseconds(direct, device)
        found = [
            (milliseconds(looped, device), sum(milliseconds(direct, device) for _ in range(10)) / 10)
            for _ in range(rounds)
        ]
        yield ratio_row("indicators", setting(1, device), found, f"{name}, {how}", name, target=">= 150")


def looped_decision(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    looped_noise(model, inputs, targets)
    looped_sharpness(model, inputs, targets)


def looped_noise(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Measure gradient noise as research scripts do: a backward pass per sample."""
    gradients: dict[str, list[torch.Tensor]] = {name: [] for name, _ in model.named_parameters()}
    for index in range(len(inputs)):
        model.zero_grad()
        F.cross_entropy(model(inputs[index : index + 1]), targets[index : index + 1]).backward()
        for name, value in model.named_parameters():
            assert value.grad is not None
            gradients[name].append(value.grad.flatten().clone())
    for rows in gradients.values():
        stacked = torch.stack(rows)
        (stacked - stacked.mean(dim=0)).square().sum(dim=1).mean().item()


def looped_sharpness(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Measure each layer's sharpness as research scripts do: a hundred Hessian-vector products from scratch."""
    for layer in model.children():
        values = list(layer.parameters())
        vectors = [torch.randn_like(value) for value in values]
        for _ in range(100 if values else 0):
            loss = F.cross_entropy(model(inputs), targets)
            first = torch.autograd.grad(loss, values, create_graph=True)
            inner = sum((g * v).sum() for g, v in zip(first, vectors, strict=True))
            assert isinstance(inner, torch.Tensor)
            products = torch.autograd.grad(inner, values)
            norm = torch.sqrt(sum((p.square().sum() for p in products), torch.zeros(())))
            vectors = [product / norm for product in products]


def task_end(rounds: int, device: str, label: str, indicators: tuple[str, ...]) -> Row:
    """Compare all indicators of a task's end with a task of `standard`, after some training.

    Critical step sizes are not measured at a task's end: their cost is that of the scheduler's decisions.
    """
    envs = clbench.make_vec("RandomLabelMNIST-v0", 1, device=device)
    agent = Vanilla(envs.agent_spec, [0])
    obs, _ = envs.reset(seed=0)

    def train(steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal obs
        for _ in range(steps):
            shown = obs
            obs, _, _, _, info = envs.step(agent.act(shown))
            agent.learn(info["targets"])
        return shown, info["targets"]

    shown, targets = train(400)
    found = []
    for _ in range(rounds):
        step = milliseconds(lambda: train(40), device) / 40
        agent.act(shown)
        observer = Observer(agent, "vanilla", [0], indicators, None)
        ours = milliseconds(
            lambda: list(observer.observe(shown, targets, 0, 1, last=True)),  # noqa: B023
            device,
        )
        found.append((ours, step * STANDARD_STEPS))
    return ratio_row(
        "indicators",
        setting(1, device),
        found,
        f"indicators at a task's end, {label}",
        "a standard task",
        target="<= 0.02" if indicators == ALL else "",
    )

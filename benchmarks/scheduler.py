"""What measuring costs: `python -m benchmarks.scheduler`.

A decision of the scheduler against the looped way (a backward pass per sample, a hundred Hessian-vector
products per layer); a step with the scheduler against one without; all indicators of a task's end against a
task of `standard`. Variants take turns in one process; reported are medians over rounds.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

import clbench
from agents.learner import Learner
from agents.perlayer import Agent as PerLayer
from agents.vanilla import Agent as Vanilla
from benchmarks.step import measure
from clbench.machine import hardware, versions
from clbench.observing import ALL, DEFAULT, Observer
from clbench.scheduling import PerLayerScheduler

STANDARD_STEPS = 23_400  # of a task


def looped_decision(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Measure gradient noise and each layer's sharpness as research scripts do."""
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
    for layer in model.children():
        values = list(layer.parameters())
        vectors = [torch.randn_like(value) for value in values]
        for _ in range(100):
            loss = F.cross_entropy(model(inputs), targets)
            first = torch.autograd.grad(loss, values, create_graph=True)
            inner = sum((g * v).sum() for g, v in zip(first, vectors, strict=True))
            assert isinstance(inner, torch.Tensor)
            products = torch.autograd.grad(inner, values)
            norm = torch.sqrt(sum((p.square().sum() for p in products), torch.zeros(())))
            vectors = [product / norm for product in products]


def seconds(action: Callable[[], Any]) -> float:
    """Return how long an action takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def decisions(rounds: int) -> dict[str, Any]:
    """Compare a decision with the looped one, on the same network and batch."""
    torch.manual_seed(0)
    images = clbench.load_images("embedded")
    inputs, targets = images.inputs[:256].flatten(1), torch.randint(10, (256,))
    model = Vanilla(clbench.make("RandomLabelMNIST-v0").agent_spec, [0]).model
    optimizer = torch.optim.Adam(model.parameters())
    for _ in range(3):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs), targets).backward()
        optimizer.step()
    scheduler = PerLayerScheduler(model, optimizer, every=1)
    ours: list[float] = []
    ratios: list[float] = []
    scheduler.step(F.cross_entropy, inputs, targets)
    for _ in range(rounds):
        looped = seconds(lambda: looped_decision(model, inputs, targets))
        single = [seconds(lambda: scheduler.step(F.cross_entropy, inputs, targets)) for _ in range(10)]
        ours += single
        ratios.append(looped / statistics.median(single))
    return {
        "decision_ms": round(statistics.median(ours) * 1e3, 2),
        "looped_over_decision": round(statistics.median(ratios), 1),
        "spread": [round(min(ratios), 1), round(max(ratios), 1)],
    }


def training(kind: type[Learner], seeds: int) -> Iterator[None]:
    """Train on the stream for ever; yield after every 40 steps, one decision's period."""
    while True:
        envs = clbench.make_vec("RandomLabelMNIST-v0", seeds)
        agent = kind(envs.agent_spec, range(seeds))
        obs, _ = envs.reset(seed=0)
        done, steps = False, 0
        while not done:
            predictions = agent.act(obs)
            obs, _, ended, _, info = envs.step(predictions)
            agent.learn(info["targets"])
            done, steps = ended.all(), steps + 1
            if steps % 40 == 0:
                yield


def overhead(rounds: int, seeds: int) -> dict[str, Any]:
    """Compare steps with the scheduler at K = 40 and without."""
    times = measure(
        {"vanilla": training(Vanilla, seeds), "perlayer": training(PerLayer, seeds)}, rounds, steps=1
    )
    ratios = [ours / base for ours, base in zip(times["perlayer"], times["vanilla"], strict=True)]
    return {
        "seeds": seeds,
        "vanilla_step_ms": round(statistics.median(times["vanilla"]) / 40, 3),
        "scheduled_over_vanilla": round(statistics.median(ratios), 3),
        "spread": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def task_end(rounds: int, indicators: tuple[str, ...]) -> dict[str, Any]:
    """Compare all indicators of a task's end with a task of `standard`, after some training."""
    envs = clbench.make_vec("RandomLabelMNIST-v0", 1)
    agent = Vanilla(envs.agent_spec, [0])
    obs, _ = envs.reset(seed=0)
    steps: list[float] = []
    for _ in range(400):
        started = time.perf_counter()
        shown = obs
        obs, _, _, _, info = envs.step(agent.act(shown))
        agent.learn(info["targets"])
        steps.append(time.perf_counter() - started)
    agent.act(obs)
    step = statistics.median(steps)
    times = []
    for _ in range(rounds):
        observer = Observer(agent, "vanilla", [0], indicators, None)
        times.append(seconds(lambda: list(observer.observe(shown, info["targets"], 0, 1, last=True))))  # noqa: B023
    return {
        "indicators": "all" if indicators == ALL else "default",
        "milliseconds": round(statistics.median(times) * 1e3, 1),
        "share_of_a_standard_task": round(statistics.median(times) / (STANDARD_STEPS * step), 5),
    }


def main() -> None:
    """Measure, print, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/scheduler.json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "decision": decisions(options.rounds),
        "scheduler": [overhead(6 * options.rounds, seeds) for seeds in (1, 3)],
        "task_end": [task_end(options.rounds, names) for names in (DEFAULT, ALL)],
    }
    print(json.dumps(found, indent=1))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"hardware": hardware("cpu"), "versions": versions(), "threads": 1, **found}
    options.out.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()

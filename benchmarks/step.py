"""What a step costs, against a bare loop of the same mathematics: `python -m benchmarks.step`.

Variants take turns in one process, some steps each, so that whatever else the machine does falls on
all alike; reported are medians over rounds and their ratio to the bare loop's.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

import clbench
from agents.vanilla import Agent
from clbench.machine import hardware, versions

BATCH = 256


def bare_loop(seeds: int) -> Iterator[None]:
    """Eager PyTorch with the data in memory: gather, forward, loss, backward, torch.optim.Adam, accuracy."""
    images = clbench.load_images("embedded")
    networks = [
        nn.Sequential(nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
        for _ in range(seeds)
    ]
    optimizers = [torch.optim.Adam(network.parameters(), lr=1e-3) for network in networks]
    right = torch.zeros(seeds)
    targets = torch.randint(10, (len(images),))
    while True:
        orders = [torch.randperm(len(images)) for _ in range(seeds)]
        for at in range(0, len(images) - BATCH + 1, BATCH):
            for seed, (network, optimizer, order) in enumerate(
                zip(networks, optimizers, orders, strict=True)
            ):
                rows = order[at : at + BATCH]
                inputs, labels = images.inputs.index_select(0, rows), targets[rows]
                logits = network(inputs)
                loss = F.cross_entropy(logits, labels)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                right[seed] += (logits.detach().argmax(dim=1) == labels).float().mean()
            yield


def our_loop(seeds: int, stacked: bool) -> Iterator[None]:
    """The environment and the vanilla learner, S seeds in lockstep."""

    class Learner(Agent):
        _stacked = stacked  # type: ignore[assignment]

    while True:
        envs = clbench.make_vec("RandomLabelMNIST-v0", seeds)
        agent = Learner(envs.agent_spec, range(seeds))
        right = torch.zeros(seeds, dtype=torch.float64)
        obs, _ = envs.reset(seed=0)
        done = False
        while not done:
            predictions = agent.act(obs)
            obs, rewards, ended, _, info = envs.step(predictions)
            agent.learn(info["targets"])
            right += rewards
            done = ended.all()
            yield


def measure(variants: dict[str, Iterator[None]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Return milliseconds per step of each variant, a number per round."""
    found: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(rounds + 1):
        for name, loop in variants.items():
            started = time.perf_counter()
            for _ in range(steps):
                next(loop)
            if turn:  # the first turn warms up
                found[name].append((time.perf_counter() - started) / steps * 1e3)
    return found


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--steps", type=int, default=30, help="steps of each variant per round")
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks/step.json"))
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        for seeds in (1, 3):
            times = measure(
                {
                    "bare loop": bare_loop(seeds),
                    "clbench": our_loop(seeds, stacked=False),
                    "clbench, batched products": our_loop(seeds, stacked=True),
                },
                options.rounds,
                options.steps,
            )
            base = times["bare loop"]
            for name, values in times.items():
                ratios = [value / other for value, other in zip(values, base, strict=True)]
                rows.append(
                    {
                        "threads": threads,
                        "seeds": seeds,
                        "variant": name,
                        "median_ms": round(statistics.median(values), 3),
                        "spread_ms": [round(min(values), 3), round(max(values), 3)],
                        "ratio_to_bare": round(statistics.median(ratios), 3),
                    }
                )
                row = rows[-1]
                print(
                    f"{threads} thread(s)  {seeds} seed(s)  {name:<26} {row['median_ms']:7.2f} ms/step  "
                    f"{row['ratio_to_bare']:.2f} x bare",
                    flush=True,
                )
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(
        json.dumps({"hardware": hardware("cpu"), "versions": versions(), "rows": rows}, indent=1)
    )


if __name__ == "__main__":
    main()

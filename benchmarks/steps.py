"""Steps: vanilla against a research script, PyTorch and matrix products (a, b, c), learners against vanilla (d, e)."""

from collections.abc import Iterator

import torch

from agents import batchnorm, crelu, deep_linear, l2, leaky_relu, reset, vanilla, wasserstein
from benchmarks.loops import bare, ours, products, research
from benchmarks.measuring import Row, compare, setting, take_turns
from clbench.engine.profiling import operators
from clbench.machine import threads

OTHERS = (reset, l2, wasserstein, crelu, leaky_relu, deep_linear, batchnorm)
K = 40
"""Steps from one decision of the scheduler to the next."""


def rows(rounds: int, device: str) -> Iterator[Row]:
    for count in (1, 2) if device == "cpu" else (1,):
        with threads(count):
            for seeds in (1, 3):
                yield from _rows(rounds, device, count, seeds)


def _rows(rounds: int, device: str, count: int, seeds: int) -> Iterator[Row]:
    where = setting(seeds, device, count)
    if seeds == 1:
        times = take_turns(
            {"research script": research(device), "clbench": ours(device=device)},
            rounds,
            30,
            device,
            "research script",
        )
        for clock, target in (("cpu", ">= 3" if device == "cpu" else ""), ("wall", "")):
            yield compare("steps", where, times, "research script", "clbench", clock, target)
    loops = {
        "clbench": ours(seeds=seeds, device=device),
        "bare loop": bare(seeds, device),
        "matrix products": products(seeds, device),
    }
    times = take_turns(loops, rounds, 30, device)
    yield compare("steps", where, times, "clbench", "bare loop", target="<= 1.15" if device == "cpu" else "")
    aim = ">= 0.65" if device == "cpu" and count == 2 else ""
    yield compare("steps", where, times, "matrix products", "clbench", target=aim)


def learners(rounds: int, device: str) -> Iterator[Row]:
    with threads(1):
        for seeds in (1, 3):
            loops = {
                "vanilla": ours(seeds=seeds, device=device),
                "per-layer scheduler": ours(seeds=seeds, device=device, scheduler="per-layer"),
            }
            times = take_turns(loops, rounds, K, device)
            yield compare(
                "scheduler", setting(seeds, device), times, "per-layer scheduler", "vanilla", target="<= 1.10"
            )
        loops = {module.__name__: ours(module.Agent, device=device) for module in (vanilla, *OTHERS)}
        times = take_turns(loops, rounds, K, device)
        for module in OTHERS:
            aim = "<= 2" if module is wasserstein else ""
            yield compare(
                "learners", setting(1, device), times, module.__name__, vanilla.__name__, target=aim
            )


def busy_shares(device: str) -> dict[str, float]:
    return {f"S={seeds}": round(busy_share(device, seeds), 3) for seeds in (1, 3, 27)}


def busy_share(device: str, seeds: int, steps: int = 200) -> float:
    """Return the share of time that a GPU computes while our loop trains, by steps recorded and replayed."""
    loop = ours(seeds=seeds, device=device)
    for _ in range(steps):
        next(loop)
    kinds = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=kinds) as profile:
        for _ in range(steps):
            next(loop)
        torch.cuda.synchronize(device)
    events = [event for event in profile.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    spans = [event.time_range for event in events]
    whole = max(span.end for span in spans) - min(span.start for span in spans)
    return sum(span.end - span.start for span in spans) / whole


def operator_shares(device: str, steps: int = 100) -> dict[str, float]:
    """Return the operators that take most of our step's CPU time, S = 1 on two threads, with their shares."""
    with threads(2):
        loop = ours(device=device)
        for _ in range(steps):
            next(loop)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorder:
            for _ in range(steps):
                next(loop)
    rows = operators(recorder, on_device=False)
    total = sum(seconds for _, _, seconds in rows)
    return {name: seconds / total for name, _, seconds in rows[:12]}

"""Each learner, and the scheduler on and off, against vanilla (d, e)."""

from collections.abc import Iterator

from agents import batchnorm, crelu, deep_linear, l2, leaky_relu, reset, vanilla, wasserstein
from benchmarks.loops import ours
from benchmarks.measuring import Row, compare, setting, take_turns
from clbench.machine import threads

OTHERS = (reset, l2, wasserstein, crelu, leaky_relu, deep_linear, batchnorm)
K = 40
"""Steps from one decision of the scheduler to the next."""


def rows(rounds: int, device: str) -> Iterator[Row]:
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

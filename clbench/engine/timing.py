"""How long steps of an agent take, outside a run."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from clbench.agent import learner
from clbench.arguments import as_declared
from clbench.engine.execution import environment
from clbench.loading import is_vectorized
from clbench.loop.environment import task_beginner
from clbench.machine import wait_for
from clbench.specs import StreamSpec

STEPS = 40
"""Steps that are timed together: as many as between two decisions of a scheduler."""


def step_times(
    stream: StreamSpec, owner: type, arguments: Mapping[str, Any], seeds: tuple[int, ...], device: str
) -> Iterator[float]:
    """Yield the seconds that the next 40 steps of an agent take, again and again."""
    vectorized = is_vectorized(owner)
    env = environment(stream, len(seeds) if vectorized else None, device)
    agent: Any = owner(env.agent_spec, seeds if vectorized else seeds[0], **as_declared(owner, arguments))
    begin_task, learn = task_beginner(env, agent), learner(agent.learn)
    roots: Any = list(seeds) if vectorized else seeds[0]
    obs, _ = env.reset(seed=roots)
    while True:
        started = time.perf_counter()
        for _ in range(STEPS):
            if (position := env.position())["boundary"]:
                begin_task(position["task"])
            shown = obs
            obs, _, _, _, info = env.step(agent.act(shown))
            learn(info["targets"], shown)
        wait_for(device)
        yield time.perf_counter() - started

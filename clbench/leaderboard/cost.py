"""What a step costs relative to vanilla: both are timed in one process, in turns."""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from clbench.config import RunConfig
from clbench.errors import AgentError
from clbench.evaluation.jobs import environment
from clbench.leaderboard.submission import Cost
from clbench.loading import is_vectorized, load_agent
from clbench.machine import threads, wait_for
from clbench.specs import StreamSpec

VANILLA = "agents.vanilla"
ROUNDS = 5
STEPS = 40  # of a round: as many as between two decisions of a scheduler


def relative_cost(config: RunConfig, agent_class: type) -> Cost:
    """Return the median, over rounds, of an agent's time for 40 steps divided by vanilla's.

    They take turns on one thread, so that whatever else the machine does slows both. A vectorised agent is measured
    with the run's seeds in lockstep, a plain one with one seed, and vanilla with the same seeds.

    Raises:
        AgentError: the agent raised.
    """
    seeds = config.seeds if is_vectorized(agent_class) else config.seeds[:1]
    stream, arguments = config.stream, config.agent.arguments
    try:
        with threads(1):
            times = step_times(stream, agent_class, arguments, seeds, config.device)
            vanilla_times = step_times(stream, load_agent(VANILLA), {}, seeds, config.device)
            next(times), next(vanilla_times)  # warm up
            ratios = [next(times) / next(vanilla_times) for _ in range(ROUNDS)]
    except Exception as error:
        raise AgentError(f"the agent's cost cannot be measured: {type(error).__name__}: {error}") from error
    return Cost(relative_to_vanilla=round(statistics.median(ratios), 3), rounds=ROUNDS)


def step_times(
    stream: StreamSpec, agent_class: type, arguments: Mapping[str, Any], seeds: tuple[int, ...], device: str
) -> Iterator[float]:
    """Yield the seconds that the next 40 steps of an agent take, again and again."""
    lockstep = is_vectorized(agent_class)
    env = environment(stream, len(seeds) if lockstep else None, device)
    agent: Any = agent_class(env.agent_spec, seeds if lockstep else seeds[0], **arguments)
    begin_task = getattr(agent, "begin_task", lambda task: None)
    obs, info = env.reset(seed=list(seeds) if lockstep else seeds[0])
    while True:
        started = time.perf_counter()
        for _ in range(STEPS):
            if info["boundary"]:
                begin_task(info["task"])
            obs, _, _, _, info = env.step(agent.act(obs))
            agent.learn(info["targets"])
        wait_for(device)
        yield time.perf_counter() - started

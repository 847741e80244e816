"""What a step costs, relative to vanilla: both in one process, in turns."""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

from clbench.errors import AgentError
from clbench.evaluation.jobs import environment
from clbench.loading import is_vectorized, load_agent
from clbench.machine import threads, wait_for
from clbench.specs import RunSpec, StreamSpec

VANILLA = "agents.vanilla"
ROUNDS = 5
STEPS = 40  # of a round: as many as between two decisions of a scheduler


def relative_cost(spec: RunSpec, owner: type, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return the median, over rounds, of an agent's time for 40 steps over vanilla's, and how many rounds.

    Both take turns on one thread, so that whatever else the machine does slows both. A vectorised agent is measured
    with the run's seeds in lockstep, a plain one with one seed, and vanilla alike.

    Args:
        spec: of the run.
        owner: the agent's class.
        arguments: it was constructed with.

    Raises:
        AgentError: the agent raised.
    """
    seeds = spec.seeds if is_vectorized(owner) else spec.seeds[:1]
    try:
        with threads(1):
            own = stints(spec.stream, owner, arguments, seeds, spec.device)
            vanilla = stints(spec.stream, load_agent(VANILLA), {}, seeds, spec.device)
            next(own), next(vanilla)  # warms up
            ratios = [next(own) / next(vanilla) for _ in range(ROUNDS)]
    except Exception as error:
        raise AgentError(f"the agent's cost cannot be measured: {type(error).__name__}: {error}") from error
    return {"relative_to_vanilla": round(statistics.median(ratios), 3), "rounds": ROUNDS}


def stints(
    stream: StreamSpec, owner: type, arguments: Mapping[str, Any], seeds: tuple[int, ...], device: str
) -> Iterator[float]:
    """Yield the seconds that the next 40 steps of an agent take, again and again."""
    lockstep = is_vectorized(owner)
    env = environment(stream, len(seeds) if lockstep else None, device)
    agent: Any = owner(env.agent_spec, seeds if lockstep else seeds[0], **arguments)
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

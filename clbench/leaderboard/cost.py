"""What a step costs, relative to vanilla: both in one process, in turns."""

import statistics
import time
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from clbench.envs.single import StreamEnv
from clbench.envs.vector import StreamVectorEnv
from clbench.errors import AgentError
from clbench.loading import load_agent
from clbench.specs import RunSpec

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
    vectorized = bool(getattr(owner, "vectorized", False))
    seeds = spec.seeds if vectorized else spec.seeds[:1]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        own = _stints(spec, owner, arguments, vectorized, seeds)
        vanilla = _stints(spec, load_agent(VANILLA), {}, True, seeds)
        next(own), next(vanilla)  # warms up
        ratios = [next(own) / next(vanilla) for _ in range(ROUNDS)]
    except Exception as error:
        raise AgentError(f"the agent's cost cannot be measured: {type(error).__name__}: {error}") from error
    finally:
        torch.set_num_threads(before)
    return {"relative_to_vanilla": round(statistics.median(ratios), 3), "rounds": ROUNDS}


def _stints(
    spec: RunSpec, owner: type, arguments: Mapping[str, Any], vectorized: bool, seeds: tuple[int, ...]
) -> Iterator[float]:
    """Yield the seconds that the next 40 steps take, again and again."""
    overrides = {key: value for key, value in spec.stream.to_json().items() if key not in ("id", "options")}
    overrides.update(spec.stream.options)
    device = spec.device if vectorized else "cpu"
    env: Any
    if vectorized:
        env = StreamVectorEnv(spec.stream.id, num_envs=len(seeds), device=device, **overrides)
    else:
        env = StreamEnv(spec.stream.id, agent_device=spec.device, **overrides)
    agent: Any = owner(env.agent_spec, seeds if vectorized else seeds[0], **arguments)
    begin_task = getattr(agent, "begin_task", lambda task: None)
    obs, info = env.reset(seed=list(seeds) if vectorized else seeds[0])
    while True:
        started = time.perf_counter()
        for _ in range(STEPS):
            if info["boundary"]:
                begin_task(info["task"])
            obs, _, _, _, info = env.step(agent.act(obs))
            agent.learn(info["targets"])
        if spec.device.startswith("cuda"):
            torch.cuda.synchronize()
        yield time.perf_counter() - started

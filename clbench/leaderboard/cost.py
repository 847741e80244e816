"""What a step costs, relative to vanilla: both in one process, in turns."""

import statistics
from collections.abc import Mapping
from typing import Any

from clbench.config import RunConfig
from clbench.engine.timing import step_times
from clbench.errors import AgentError
from clbench.loading import is_vectorized, load_agent
from clbench.machine import threads

VANILLA = "agents.vanilla"
ROUNDS = 5


def relative_cost(config: RunConfig, owner: type, arguments: Mapping[str, Any]) -> dict[str, float]:
    """Return the median, over rounds, of an agent's time for 40 steps over vanilla's, and how many rounds.

    Both take turns on one thread, so that whatever else the machine does slows both. A vectorised agent is measured
    with the run's seeds in lockstep, a plain one with one seed, and vanilla alike.

    Args:
        config: of the run.
        owner: the agent's class.
        arguments: it was constructed with.

    Raises:
        AgentError: the agent raised.
    """
    seeds = config.seeds if is_vectorized(owner) else config.seeds[:1]
    try:
        with threads(1):
            own = step_times(config.stream, owner, arguments, seeds, config.device)
            vanilla = step_times(config.stream, load_agent(VANILLA), {}, seeds, config.device)
            next(own), next(vanilla)  # warms up
            ratios = [next(own) / next(vanilla) for _ in range(ROUNDS)]
    except Exception as error:
        raise AgentError(f"the agent's cost cannot be measured: {type(error).__name__}: {error}") from error
    return {"relative_to_vanilla": round(statistics.median(ratios), 3), "rounds": ROUNDS}

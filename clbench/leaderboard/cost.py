"""What a step costs relative to vanilla: both are timed in one process, in turns."""

import statistics

from clbench.config import RunConfig
from clbench.engine.timing import step_times
from clbench.errors import AgentError
from clbench.leaderboard.submission import Cost
from clbench.loading import is_vectorized, load_agent
from clbench.machine import threads

VANILLA = "agents.vanilla"
ROUNDS = 5


def relative_cost(config: RunConfig, agent_class: type) -> Cost:
    """Return the median, over rounds, of an agent's time for 40 steps divided by vanilla's, in turns on one thread."""
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

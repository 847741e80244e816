"""What `clbench evaluate` and `clbench list` print."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from clbench.checks import count
from clbench.engine.evaluation import Evaluation
from clbench.loading import bundled_agents
from clbench.registration import STREAMS
from clbench.report.console import percent, plain_table, short
from clbench.scoring import Score
from clbench.specs import PROTOCOLS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console
    from rich.table import Table

    from clbench.engine.run import Run

LISTS = ("streams", "protocols", "agents")

LOSS_WORTH_SAYING = 0.1
VAGUE = 4.0  # width of an interval of the share lost that tells nothing
STEPS = {
    "step_size": "\nstep size",
    "effective_step_size": "effective\nstep size",
    "noise_bound": "noise\nbound",
    "volatility_bound": "volatility\nbound",
    "combined_bound": "combined\nbound",
    "violations": "decisions\nabove it",
}
SCORES_LEGEND = (
    "average: over all tasks [95 % t interval over n seeds]; last 10 %: mean over the last tenth of the tasks; "
    "slope: least squares"
)
STEPS_LEGEND = (
    "bound: a layer whose effective step size stays above it loses its ability to learn; above it: share of the "
    "decisions, without those at which the layer was dead: had no gradient"
)
DEAD, DEAD_DECISIONS = "dead", "dead_decisions"
BOUND_OF = {"noise-only": "noise", "volatility-only": "volatility"}


def print_report(console: "Console", evaluation: Evaluation) -> None:
    """Print the table of scores, which agents lost the ability to learn, and where the results are."""
    if evaluation.scores:
        seeds = {config.agent.name: len(config.seeds) for config in evaluation.configs}
        console.print()
        console.print(score_table(evaluation.scores, seeds, evaluation.steps_per_second))
        console.print(SCORES_LEGEND)
        console.print()
    for score in evaluation.scores:
        if text := loss(score):
            console.print(text)
    tables = step_tables(evaluation)
    for agent, steps in tables.items():
        console.print(f"\n{agent}, last task, medians over decisions and seeds:")
        console.print(steps)
    if tables:
        console.print(STEPS_LEGEND)
        console.print()
    for agent, shares in time_shares(evaluation).items():
        console.print(f"{agent} spent {', '.join(f'{percent(share)} on {name}' for name, share in shares)}")
    files = sorted(path.name for path in evaluation.folder.iterdir() if path.is_file())
    console.print(f"{evaluation.folder}/   {'  '.join(files)}")


def header(runs: "Sequence[Run]") -> str:
    """Return the line above the progress of an evaluation."""
    run, parallelism = runs[0], runs[0].parallelism
    config = replace(run.config, stream=run.stream)
    data = run.stream_class.shared_data(run.config.stream).source if run.stream_class.custom_data else ""
    threads = f" x {parallelism.threads} threads" if parallelism.threads > 1 else ""
    return f"{config.describe(data)} · {config.device}, {count(parallelism.workers, 'worker')}{threads}"


def loss(score: Score) -> str:
    """Return what an agent has lost in words; "" if it is not worth saying."""
    lost = score.share_lost
    if math.isnan(lost.mean):
        return f"{score.agent} started at chance level: the share it lost is undefined."
    if lost.high - lost.low > VAGUE:
        return f"{score.agent} started near chance level: the share it lost cannot be told from so few seeds."
    if lost.mean < LOSS_WORTH_SAYING:
        return ""
    ends = "" if math.isnan(lost.low) else f" [{100 * lost.low:.0f}, {100 * lost.high:.0f}]"
    return f"{score.agent} lost {percent(lost.mean)}{ends} of its accuracy above chance."


def time_shares(evaluation: Evaluation) -> dict[str, list[tuple[str, float]]]:
    """Return the share of the time that each part of the loop took, the largest first, by agent, if it was profiled."""
    seconds: dict[str, dict[str, float]] = {}
    for record in evaluation.profile:
        if record.kind == "part":
            of_agent = seconds.setdefault(record.agent, {})
            of_agent[record.name] = of_agent.get(record.name, 0.0) + record.seconds
    return {
        agent: sorted(
            ((name, value / sum(parts.values())) for name, value in parts.items()), key=lambda pair: -pair[1]
        )
        for agent, parts in seconds.items()
    }


def score_table(
    scores: "Sequence[Score]", seeds: "Mapping[str, int]", steps_per_second: "Mapping[str, float]"
) -> "Table":
    """Return the table of scores.

    Args:
        scores: best first.
        seeds: how many each agent was to have.
        steps_per_second: of each agent.
    """
    titles = (
        *("\nagent", "\nn", "average\ntask accuracy", "first\ntask", "last\n10 %", "slope\nper task"),
        "\nsteps/s",
    )
    table = plain_table(titles, numbers=True)
    for score in scores:
        wanted = seeds[score.agent]
        table.add_row(
            score.agent + (f" ({score.seeds} of {wanted} seeds)" if score.seeds < wanted else ""),
            str(score.seeds),
            str(score.average_task_accuracy),
            f"{score.first_task.mean:.3f}",
            f"{score.last_tenth.mean:.3f}",
            f"{score.slope.mean:+.3f}",
            f"{steps_per_second[score.agent]:,.0f}",
        )
    return table


def step_tables(evaluation: Evaluation) -> "dict[str, Table]":
    """Return tables of the layers' step sizes and bounds in the last task, for agents with decisions in it.

    Where a layer was dead at some decision, a last column has the share of those; the bounds are of the others.
    """
    frame = evaluation.indicators
    frame = frame[frame.task == evaluation.configs[0].stream.num_tasks - 1]
    shares = frame[frame.indicator.str.endswith(("_violations", DEAD_DECISIONS))]
    frame = frame[frame.agent.isin(shares.agent)]  # step sizes are also measured where nothing is decided
    decided = frame[frame.indicator == "step_size"][["agent", "seed", "step"]].drop_duplicates()
    frame = frame.merge(decided, on=["agent", "seed", "step"])
    in_force = {
        config.agent.name: BOUND_OF.get(str(config.agent.arguments.get("scheduler")), "combined")
        for config in evaluation.configs
    }
    keys = ["agent", "layer", "indicator"]
    medians = frame.groupby(keys, sort=False).value.median().to_dict()
    means = shares.groupby(keys, sort=False).value.mean().to_dict()
    dying = {agent for (agent, _, name), share in means.items() if name == DEAD_DECISIONS and share > 0}
    tables: dict[str, Table] = {}
    for agent, layer in [key[:2] for key in medians if key[2] == "step_size"]:
        if agent not in tables:
            titles = ["\nlayer", *STEPS.values()]
            if agent in dying:  # of other decisions than the share of the dead ones
                titles[-1:] = ["above it,\nif alive", "decisions\ndead"]
            tables[agent] = plain_table(titles, numbers=True)
        cells = []
        for name in list(STEPS)[:-1]:
            median = medians.get((agent, layer, name), math.nan)
            # A bound that is recorded, and never as a number, is that of a dead layer.
            dead = math.isnan(median) and (agent, layer, name) in medians
            cells.append(DEAD if dead else short(median))
        above = means.get((agent, layer, f"{in_force[agent]}_violations"), math.nan)
        share = means.get((agent, layer, DEAD_DECISIONS), math.nan)
        cells.append(DEAD if share == 1 else "-" if math.isnan(above) else percent(above))
        if agent in dying:
            cells.append("-" if math.isnan(share) else percent(share))
        tables[agent].add_row(layer, *cells)
    return tables


def print_list(console: "Console", wanted: str | None = None) -> None:
    """Print all streams, protocols and agents, a line each; or only those `wanted`, one of `LISTS`."""
    protocols = {
        name: f"{each.num_tasks} tasks x {each.epochs_per_task} epochs on {each.num_samples:,} {each.source} "
        f"images; {each.purpose}"
        for name, each in PROTOCOLS.items()
    }
    streams = {id: entry.about for id, entry in STREAMS.items()}
    for title, rows in zip(LISTS, (streams, protocols, bundled_agents()), strict=True):
        if wanted in (None, title):
            console.print(title, style="bold")
            width = max(map(len, rows))
            for name, about in rows.items():
                console.print(f"  {name:<{width}}  {about}")

"""What the command prints: header, table of scores, list of what there is."""

import math
from typing import TYPE_CHECKING

from rich.table import Table

from clbench.evaluation.api import Evaluation
from clbench.loading import bundled_agents
from clbench.registration import STREAMS
from clbench.scoring import Estimate, Score
from clbench.specs import PROTOCOLS

if TYPE_CHECKING:
    from rich.console import Console

LOSS_WORTH_SAYING = 0.1
STEPS = {
    "step_size": "\nstep size",
    "effective_step_size": "effective\nstep size",
    "noise_bound": "noise\nbound",
    "volatility_bound": "volatility\nbound",
    "combined_bound": "combined\nbound",
    "violations": "decisions\nabove it",
}
DEAD, DEAD_DECISIONS = "dead", "dead_decisions"
BOUND_OF = {"noise-only": "noise", "volatility-only": "volatility"}


def print_report(console: "Console", evaluation: Evaluation) -> None:
    """Print the table of scores, who lost the ability to learn, and where the results are."""
    if evaluation.scores:
        console.print()
        console.print(table(evaluation))
        console.print()
    for score in evaluation.scores:
        if text := loss(score):
            console.print(text)
    for agent, steps in step_tables(evaluation).items():
        console.print(f"\n{agent}, last task, medians over decisions and seeds:")
        console.print(steps)
        console.print()
    for agent, shares in parts_of(evaluation).items():
        console.print(f"{agent} spent {', '.join(f'{percent(share)} on {name}' for name, share in shares)}")
    files = sorted(path.name for path in evaluation.folder.iterdir() if path.is_file())
    console.print(f"{evaluation.folder}/   {'  '.join(files)}", soft_wrap=True)


def loss(score: Score) -> str:
    """Return in words what an agent has lost; "" if that is not worth saying."""
    lost = score.share_lost
    if math.isnan(lost.mean):
        return f"{score.agent} started at chance: what it lost is not defined."
    if lost.mean < LOSS_WORTH_SAYING:
        return ""
    ends = "" if math.isnan(lost.low) else f" [{100 * lost.low:.0f}, {100 * lost.high:.0f}]"
    return f"{score.agent} lost {percent(lost.mean)}{ends} of what lay above chance."


def parts_of(evaluation: Evaluation) -> dict[str, list[tuple[str, float]]]:
    """Return each agent's parts of the loop with their shares of the time, the greatest first, if it was profiled."""
    found: dict[str, dict[str, float]] = {}
    for record in evaluation.profile:
        if record.kind == "part":
            own = found.setdefault(record.agent, {})
            own[record.name] = own.get(record.name, 0.0) + record.seconds
    return {
        agent: [
            (name, seconds / sum(own.values()))
            for name, seconds in sorted(own.items(), key=lambda pair: -pair[1])
        ]
        for agent, own in found.items()
    }


def table(evaluation: Evaluation) -> Table:
    """Return the table of scores, best first."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("\nagent", no_wrap=True)
    for title in (
        "\nn",
        "average\ntask accuracy",
        "first\ntask",
        "last\n10 %",
        "slope\nper task",
        "\nsteps/s",
    ):
        grid.add_column(title, justify="right", no_wrap=True)
    for score in evaluation.scores:
        incomplete = score.seeds < len(evaluation.spec.seeds)
        grid.add_row(
            score.agent + (f" ({score.seeds} of {len(evaluation.spec.seeds)} seeds)" if incomplete else ""),
            str(score.seeds),
            interval(score.average_task_accuracy),
            f"{score.first_task.mean:.3f}",
            f"{score.last_tenth.mean:.3f}",
            f"{score.slope.mean:+.3f}",
            f"{evaluation.steps_per_second[score.agent]:,.0f}",
        )
    return grid


def step_tables(evaluation: Evaluation) -> dict[str, Table]:
    """Return tables of the layers' step sizes and bounds in the last task, for agents that have them.

    Where a layer was dead at some decision, a last column has the share of those; the bounds are of the others.
    """
    frame = evaluation.indicators
    frame = frame[frame.task == evaluation.spec.stream.num_tasks - 1]
    decided = frame[frame.indicator == "step_size"][["agent", "seed", "step"]].drop_duplicates()
    shares = frame[frame.indicator.str.endswith(("_violations", DEAD_DECISIONS))]
    frame = frame.merge(decided, on=["agent", "seed", "step"])
    in_force = {
        agent.name: BOUND_OF.get(str(agent.arguments.get("scheduler")), "combined")
        for agent in evaluation.spec.agents
    }
    keys = ["agent", "layer", "indicator"]
    medians = frame.groupby(keys, sort=False).value.median().to_dict()
    means = shares.groupby(keys, sort=False).value.mean().to_dict()
    dying = {agent for (agent, _, name), share in means.items() if name == DEAD_DECISIONS and share > 0}
    tables: dict[str, Table] = {}
    for agent, layer in [key[:2] for key in medians if key[2] == "step_size"]:
        if agent not in tables:
            tables[agent] = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
            tables[agent].add_column("\nlayer", no_wrap=True)
            for title in [*STEPS.values(), *(["decisions\ndead"] if agent in dying else [])]:
                tables[agent].add_column(title, justify="right", no_wrap=True)
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


def percent(share: float) -> str:
    """Return a share in whole percent.

    >>> percent(0.256)
    '26 %'
    """
    return f"{100 * share:.0f} %"


def short(value: float) -> str:
    """Return a number in three digits, "-" for none, and "none" for a bound that is infinite.

    >>> short(0.00098765), short(12.3456), short(math.inf), short(math.nan)
    ('0.000988', '12.3', 'none', '-')
    """
    if math.isnan(value):
        return "-"
    return "none" if math.isinf(value) else f"{value:.3g}"


def interval(estimate: Estimate) -> str:
    """Return mean and interval, or the mean alone for a single seed.

    >>> interval(Estimate(0.5, 0.4, 0.6)), interval(Estimate(0.5, float("nan"), float("nan")))
    ('0.500 [0.400, 0.600]', '0.500')
    """
    mean = f"{estimate.mean:.3f}"
    return mean if estimate.low != estimate.low else f"{mean} [{estimate.low:.3f}, {estimate.high:.3f}]"


def print_list(console: "Console") -> None:
    """Print all streams, protocols and agents, a line each."""
    protocols = {
        name: f"{one.num_tasks} tasks x {one.epochs_per_task} epochs on {one.num_samples:,} {one.source} images; "
        f"{one.purpose}"
        for name, one in PROTOCOLS.items()
    }
    for title, rows in (
        ("streams", {id: entry.about for id, entry in STREAMS.items()}),
        ("protocols", protocols),
        ("agents", bundled_agents()),
    ):
        console.print(title, style="bold")
        width = max(map(len, rows))
        for name, about in rows.items():
            console.print(f"  {name:<{width}}  {about}", soft_wrap=True)

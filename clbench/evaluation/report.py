"""What the command prints: header, table of scores, list of what there is."""

import math
from typing import TYPE_CHECKING

from rich.table import Table

from clbench.evaluation.api import Evaluation
from clbench.loading import bundled_agents
from clbench.registration import STREAMS
from clbench.scoring import Estimate
from clbench.specs import PROTOCOLS

if TYPE_CHECKING:
    from rich.console import Console

LOSS_WORTH_SAYING = 0.1
UNBOUNDED = 1e30
STEPS = ("step_size", "effective_step_size", "noise_bound", "volatility_bound", "combined_bound")


def print_report(console: "Console", evaluation: Evaluation) -> None:
    """Print the table of scores, who lost the ability to learn, and where the results are."""
    if evaluation.scores:
        console.print()
        console.print(table(evaluation))
        console.print()
    for score in evaluation.scores:
        if score.share_lost >= LOSS_WORTH_SAYING:
            console.print(
                f"{score.agent} lost {score.share_lost:.0%} of its first-task accuracy.".replace("%", " %")
            )
    steps = step_table(evaluation)
    if steps is not None:
        console.print()
        console.print(steps)
        console.print()
    files = sorted(path.name for path in evaluation.folder.iterdir())
    console.print(f"{evaluation.folder}/   {'  '.join(files)}", soft_wrap=True)


def table(evaluation: Evaluation) -> Table:
    """Return the table of scores, best first."""
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    grid.add_column("\nagent", no_wrap=True)
    for title in ("average\ntask accuracy", "first\ntask", "last\n10 %", "slope\nper task", "\nsteps/s"):
        grid.add_column(title, justify="right", no_wrap=True)
    for score in evaluation.scores:
        incomplete = score.seeds < len(evaluation.spec.seeds)
        grid.add_row(
            score.agent + (f" ({score.seeds} of {len(evaluation.spec.seeds)} seeds)" if incomplete else ""),
            interval(score.average_task_accuracy),
            f"{score.first_task.mean:.3f}",
            f"{score.last_tenth.mean:.3f}",
            f"{score.slope.mean:+.3f}",
            f"{evaluation.steps_per_second[score.agent]:,.0f}",
        )
    return grid


def step_table(evaluation: Evaluation) -> Table | None:
    """Return each layer's step size and its bounds in the last task, medians; None if nobody watched them."""
    frame = evaluation.indicators
    frame = frame[frame.task == evaluation.spec.stream.num_tasks - 1]
    if not (frame.indicator == "step_size").any():
        return None
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("\nlast task", "\nlayer"):
        grid.add_column(title, no_wrap=True)
    for title in (
        "\nstep size",
        "effective\nstep size",
        "noise\nbound",
        "volatility\nbound",
        "combined\nbound",
        "above\ncombined",
    ):
        grid.add_column(title, justify="right", no_wrap=True)
    medians = frame.groupby(["agent", "layer", "indicator"], sort=False).value.median()
    means = frame.groupby(["agent", "layer", "indicator"]).value.mean()
    for agent, layer in dict.fromkeys(key[:2] for key in medians.index if key[2] == "step_size"):
        of_layer = medians[agent, layer]
        above = means[agent, layer].get("combined_violations", float("nan"))
        grid.add_row(
            agent,
            layer,
            *(short(of_layer.get(name, float("nan"))) for name in STEPS),
            "-" if math.isnan(above) else f"{above:.0%}".replace("%", " %"),
        )
    return grid


def short(value: float) -> str:
    """Return a number in three digits, "-" for none, and "none" for a bound that does not bind.

    >>> short(0.00098765), short(12.3456), short(1.2e37), short(float("nan"))
    ('0.000988', '12.3', 'none', '-')
    """
    if math.isnan(value):
        return "-"
    return "none" if value > UNBOUNDED else f"{value:.3g}"


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

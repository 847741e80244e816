"""Figs. 5, 9 and 10: the step sizes that the scheduler makes, and one controller per layer against one for all."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from clbench.errors import DataError
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import AT_PAPER, Claim, Measured, Rule, over_seeds
from studies.noise_curvature.figure import Figure
from studies.noise_curvature.figures.accuracy import mean_over_learners
from studies.noise_curvature.frames import Array, along_tasks, per_task, select
from studies.noise_curvature.learners import FIRST_LAYER, LEARNERS, variants

TASKS = 4
LENGTHS = ("standard", f"standard,num_tasks={TASKS}", *AT_PAPER)  # Fig. 5 shows four tasks only
PUBLISHED = {"CReLU": 3e-3, "L2": 5e-4}  # of the first layer after four tasks, read off Fig. 5
COMPARED = ("per layer", "whole network")


def first_and_last(data: pd.DataFrame, learner: str) -> Array:
    """Return the first layer's step size at the first and the last decision shown, `(2, seeds)`."""
    rows = select(data, "step_size", layer=FIRST_LAYER, learner=learner).sort_values("time")
    if rows.empty:
        raise DataError(f"no finished run of {learner} has step_size")
    by_seed = rows.groupby("seed")["value"]
    return np.array([by_seed.first(), by_seed.last()], dtype=float)


def decay(data: pd.DataFrame) -> Measured:
    """Return the first layer's last step size over its first, of the learner whose step size falls least."""
    ratios = [last / first for first, last in (first_and_last(data, name) for name in LEARNERS)]
    return over_seeds(np.max(ratios, axis=0))


def draw(data: pd.DataFrame, title: str) -> Drawing:
    learners = list(data["learner"].unique())
    figure, axes = drawing.grid(title, 1, len(learners), "tasks done", height=3.0)
    for panel, learner in zip(axes[0], learners, strict=True):
        rows = select(data, "step_size", learner=learner)
        drawing.draw_step_sizes(panel, {str(layer): line for layer, line in rows.groupby("layer")})
        drawing.title_panel(panel, learner)
    axes[0, 0].set_ylabel("step size")
    drawing.draw_legend(figure)
    return figure


def draw_controllers(data: pd.DataFrame, title: str) -> Drawing:
    learners = list(data["learner"].unique())
    figure, axes = drawing.grid(title, 2, len(learners), "tasks done", height=2.6)
    drawing.draw_accuracies(axes[0], data, "variant")
    for panel, learner in zip(axes[1], learners, strict=True):
        rows = select(data, "step_size", learner=learner).groupby(["variant", "layer"], sort=False)
        lines = {
            "step size, " + (name if name == COMPARED[1] else f"{name}: {layer}"): line
            for (name, layer), line in rows
        }
        drawing.draw_step_sizes(panel, lines, first=len(COMPARED))
    axes[1, 0].set_ylabel("step size")
    drawing.draw_legend(figure)
    return figure


def _step_size_claim(learner: str, published: float) -> Claim:
    return Claim(
        f"step size of {learner}",
        "Fig. 5",
        f"The scheduler takes {learner}'s first layer to a step size of about {published:g} within four tasks",
        "first layer's step size after four tasks",
        lambda data: over_seeds(first_and_last(data, learner)[1]),
        Rule(round(published / 1.5, 6), round(published * 1.5, 6)),
        published,
        LENGTHS,
    )


FIGURE_5 = Figure(
    name="5",
    title="Step sizes of the scheduled learners in the first four tasks, median over seeds",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "scheduled"),
    data=lambda frames: along_tasks(frames, ["step_size"], TASKS),
    draw=draw,
    claims=(
        Claim(
            "step sizes decay",
            "Fig. 5",
            "Without being told to, the scheduler makes step sizes fall, as decay schedules made by hand do",
            "first layer's step size after four tasks over that at the start, of the learner where it falls least",
            decay,
            Rule(high=1),
        ),
        *(_step_size_claim(learner, published) for learner, published in PUBLISHED.items()),
    ),
)

FIGURE_9_10 = Figure(
    name="9-10",
    title="Task accuracy and step sizes with a controller for each layer and with one for the whole network",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, *COMPARED),
    data=lambda frames: per_task(frames, ["step_size"]),
    draw=draw_controllers,
    claims=(
        Claim(
            "layers need controllers of their own",
            "Figs. 9-10, App. A.3",
            "A controller for each layer ends more accurate than one for the whole network",
            "accuracy over the last tenth of tasks, mean over three learners, per layer minus whole network",
            lambda data: over_seeds(
                mean_over_learners(data, "per layer") - mean_over_learners(data, "whole network")
            ),
            Rule(low=0),
        ),
    ),
)

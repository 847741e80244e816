"""Fig. 5: the step sizes that the scheduler makes."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.errors import DataError
from clbench.plotting.style import legend
from clbench.reproduce.claims import AT_PAPER, Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import grid, head, trajectories
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import along_tasks, select
from clbench.reproduce.learners import FIRST_LAYER, LEARNERS, SCHEDULED, variants

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

TASKS = 4
LENGTHS = ("standard", f"standard,num_tasks={TASKS}", *AT_PAPER)  # four tasks are all it shows
PUBLISHED = {"CReLU": 3e-3, "L2": 5e-4}  # of the first layer, read off the figure


def ends(data: "pd.DataFrame", learner: str) -> np.ndarray:
    """Return the first layer's step size at the first and the last decision shown, `(2, seeds)`."""
    found = select(data, "step_size", FIRST_LAYER, learner=learner).sort_values("time")
    if found.empty:
        raise DataError(f"no finished run of {learner} has step_size")
    of_seeds = found.groupby("seed")["value"]
    return np.array([of_seeds.first(), of_seeds.last()], dtype=float)


def decay(data: "pd.DataFrame") -> Measured:
    """Return the first layer's last step size over its first, of the learner whose falls least."""
    return over_seeds(
        np.max([last / first for first, last in (ends(data, name) for name in LEARNERS)], axis=0)
    )


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw step sizes, a panel per learner, a line per layer, median over seeds."""
    learners = list(data["learner"].unique())
    figure, axes = grid(title, 1, len(learners), "tasks done", height=3.0)
    for one, learner in zip(axes[0], learners, strict=True):
        found = select(data, "step_size", learner=learner)
        trajectories(one, {str(layer): own for layer, own in found.groupby("layer")})
        head(one, learner)
    axes[0, 0].set_ylabel("step size")
    legend(figure)
    return figure


def _level(learner: str, published: float) -> Claim:
    return Claim(
        f"step size of {learner}",
        "Fig. 5",
        f"The scheduler takes {learner}'s first layer to a step size of about {published:g} within four tasks",
        "first layer's step size after four tasks",
        lambda data: over_seeds(ends(data, learner)[1]),
        Rule(round(published / 1.5, 6), round(published * 1.5, 6)),
        published,
        LENGTHS,
    )


FIGURE = Figure(
    name="5",
    title="Step sizes of the scheduled learners in the first four tasks, median over seeds",
    by=("learner", "variant"),
    cells=lambda scale: variants(scale, [SCHEDULED]),
    data=lambda frames: along_tasks(frames, ["step_size"], TASKS),
    draw=drawing,
    claims=(
        Claim(
            "step sizes decay",
            "Fig. 5",
            "Without being told to, the scheduler makes step sizes fall, as decay schedules made by hand do",
            "first layer's step size after four tasks over that at the start, of the learner where it falls least",
            decay,
            Rule(high=1),
        ),
        *(_level(learner, published) for learner, published in PUBLISHED.items()),
    ),
)

"""Fig. 8: the critical step sizes behind Fig. 7."""

from typing import TYPE_CHECKING

from clbench.plotting.style import legend
from clbench.reproduce.drawing import LEVELS, bounds, grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import per_task
from clbench.reproduce.learners import COMBINED, FIRST_LAYER, NOISE_ONLY, VOLATILITY_ONLY, variants

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw effective step and bounds of the first layer: a row per learner, a column per scheduler."""
    learners, schedulers = (list(data[name].unique()) for name in ("learner", "variant"))
    figure, axes = grid(title, len(learners), len(schedulers), height=2.2)
    for row, learner in zip(axes, learners, strict=True):
        for one, scheduler in zip(row, schedulers, strict=True):
            bounds(one, data, learner=learner, variant=scheduler)
            head(one, f"{learner} · {scheduler}")
    legend(figure)
    return figure


FIGURE = Figure(
    name="8",
    title="Effective step size of the first layer and its bounds, medians over decisions and seeds",
    by=("learner", "variant"),
    cells=lambda scale: variants(scale, (NOISE_ONLY, VOLATILITY_ONLY, COMBINED)),
    data=lambda frames: per_task(frames, LEVELS, [FIRST_LAYER]),
    draw=drawing,
)

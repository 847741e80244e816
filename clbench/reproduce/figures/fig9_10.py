"""Figs. 9 and 10: a controller for each layer, or one for the whole network."""

from typing import TYPE_CHECKING

from clbench.plotting.style import legend
from clbench.reproduce.claims import Claim, Rule, over_seeds
from clbench.reproduce.drawing import accuracies, grid, trajectories
from clbench.reproduce.figure import Figure
from clbench.reproduce.figures.fig7 import over_learners
from clbench.reproduce.frames import per_task, select
from clbench.reproduce.learners import PER_LAYER, WHOLE_NETWORK, variants

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

SHOWN = (PER_LAYER, WHOLE_NETWORK)


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw accuracy and, below, step sizes; a column per learner."""
    learners = list(data["learner"].unique())
    figure, axes = grid(title, 2, len(learners), "tasks done", height=2.6)
    accuracies(axes[0], data, "variant")
    for one, learner in zip(axes[1], learners, strict=True):
        found = select(data, "step_size", learner=learner).groupby(["variant", "layer"], sort=False)
        lines = {
            f"step size, {name if name == WHOLE_NETWORK else f'{name}: {layer}'}": own
            for (name, layer), own in found
        }
        trajectories(one, lines, first=len(SHOWN))
    axes[1, 0].set_ylabel("step size")
    legend(figure)
    return figure


FIGURE = Figure(
    name="9-10",
    title="Task accuracy and step sizes with a controller for each layer and with one for the whole network",
    by=("learner", "variant"),
    cells=lambda scale: variants(scale, SHOWN),
    data=lambda frames: per_task(frames, ["step_size"]),
    draw=drawing,
    claims=(
        Claim(
            "layers need controllers of their own",
            "Figs. 9-10, App. A.3",
            "A controller for each layer ends more accurate than one for the whole network",
            "accuracy over the last tenth of tasks, mean over three learners, per layer minus whole network",
            lambda data: over_seeds(over_learners(data, PER_LAYER) - over_learners(data, WHOLE_NETWORK)),
            Rule(low=0),
        ),
    ),
)

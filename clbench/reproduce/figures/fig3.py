"""Fig. 3: the first layer's effective step size against its three bounds."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.indicators.bounds import BETA
from clbench.plotting.curves import draw
from clbench.plotting.style import legend
from clbench.reproduce.claims import Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import LEVELS, bounds, grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import ACCURACY, by_task, per_task, table
from clbench.reproduce.learners import FIRST_LAYER, VANILLA, variant
from clbench.scoring import last_tenth

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing


def _end(data: "pd.DataFrame", indicator: str) -> np.ndarray:
    return last_tenth(table(data, indicator, FIRST_LAYER))


def room(data: "pd.DataFrame") -> Measured:
    """Return the combined bound as a multiple of the effective step size; of seeds whose layer lives."""
    return over_seeds(_end(data, "combined_bound") / _end(data, "effective_step_size"))


def effect_of_small_beta(data: "pd.DataFrame") -> Measured:
    """Return by what share beta = 1 lowers the noise bound: 1 - 1 / (1 + alpha_g Vol / B)."""
    volatility_over_batch = 1 / (BETA * _end(data, "volatility_bound"))  # the runs have that beta
    weight = _end(data, "noise_bound") * volatility_over_batch
    return over_seeds(weight / (1 + weight))


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw effective step and bounds, and accuracy beside them."""
    figure, axes = grid(title, 1, 2, height=3.2)
    bounds(axes[0, 0], data)
    head(axes[0, 0], "first layer, medians over decisions and seeds")
    draw(axes[0, 1], by_task(data), 0, ACCURACY)
    head(axes[0, 1], ACCURACY)
    axes[0, 1].set_ylim(0, 1.02)
    legend(figure)
    return figure


FIGURE = Figure(
    name="3",
    title="L2: effective step size of the first layer against its bounds",
    by=("learner", "variant"),
    cells=lambda scale: {("L2", VANILLA): variant(scale, "L2", VANILLA)},
    data=lambda frames: per_task(frames, LEVELS, [FIRST_LAYER]),
    draw=drawing,
    claims=(
        Claim(
            "step above the combined bound",
            "Fig. 3",
            "Where L2 loses trainability, the first layer's effective step size lies above the combined bound",
            "combined bound over effective step size, last tenth of tasks",
            room,
            Rule(high=1),
        ),
        Claim(
            "noise bound near 1",
            "Fig. 3",
            "The gradient-noise bound of the first layer hovers near 1",
            "gradient-noise bound, last tenth of tasks",
            lambda data: over_seeds(_end(data, "noise_bound")),
            Rule(0.5, 2),
            1.0,
        ),
        Claim(
            "beta of at most 1 matters",
            "Section 5, Eq. 2",
            "Volatility weighted by a beta of at most 1 makes the combined bound another than the noise bound",
            "share by which beta = 1 lowers the first layer's noise bound, last tenth of tasks",
            effect_of_small_beta,
            Rule(low=0.01),
        ),
    ),
)

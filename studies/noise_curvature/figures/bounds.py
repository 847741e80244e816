"""Figs. 3 and 8: the first layer's effective step size against its three bounds."""

import pandas as pd
from matplotlib.figure import Figure as Drawing

from clbench.scheduling import Constants
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import Claim, Measured, Rule, over_seeds
from studies.noise_curvature.figure import Figure
from studies.noise_curvature.frames import ACCURACY, by_task, final, per_task
from studies.noise_curvature.learners import FIRST_LAYER, variants


def headroom(data: pd.DataFrame) -> Measured:
    """Return the combined bound as a multiple of the effective step size, over seeds whose layer is not dead."""
    bound, steps = (
        final(data, name, layer=FIRST_LAYER) for name in ("combined_bound", "effective_step_size")
    )
    return over_seeds(bound / steps)


def effect_of_small_beta(data: pd.DataFrame) -> Measured:
    """Return by what share beta = 1 lowers the noise bound: 1 - 1 / (1 + alpha_g Vol / B)."""
    volatility_over_batch = 1 / (Constants().beta * final(data, "volatility_bound", layer=FIRST_LAYER))
    weight = final(data, "noise_bound", layer=FIRST_LAYER) * volatility_over_batch
    return over_seeds(weight / (1 + weight))


def draw(data: pd.DataFrame, title: str) -> Drawing:
    figure, axes = drawing.grid(title, 1, 2, height=3.2)
    left, right = axes[0]
    drawing.draw_bounds(left, data)
    drawing.title_panel(left, "first layer, medians over decisions and seeds")
    drawing.draw_line(right, by_task(data), 0, ACCURACY)
    drawing.title_panel(right, ACCURACY)
    right.set_ylim(0, 1.02)
    drawing.draw_legend(figure)
    return figure


def draw_variants(data: pd.DataFrame, title: str) -> Drawing:
    learners, schedulers = (list(data[name].unique()) for name in ("learner", "variant"))
    figure, axes = drawing.grid(title, len(learners), len(schedulers), height=2.2)
    for row, learner in zip(axes, learners, strict=True):
        for panel, scheduler in zip(row, schedulers, strict=True):
            drawing.draw_bounds(panel, data, learner=learner, variant=scheduler)
            drawing.title_panel(panel, f"{learner} · {scheduler}")
    drawing.draw_legend(figure)
    return figure


FIGURE_3 = Figure(
    name="3",
    title="L2: effective step size of the first layer against its bounds",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "vanilla", learners=["L2"]),
    data=lambda frames: per_task(frames, drawing.BOUND_LINES, [FIRST_LAYER]),
    draw=draw,
    claims=(
        Claim(
            "step above the combined bound",
            "Fig. 3",
            "Where L2 loses trainability, the first layer's effective step size lies above the combined bound",
            "combined bound over effective step size, last tenth of tasks",
            headroom,
            Rule(high=1),
        ),
        Claim(
            "noise bound near 1",
            "Fig. 3",
            "The gradient-noise bound of the first layer hovers near 1",
            "gradient-noise bound, last tenth of tasks",
            lambda data: over_seeds(final(data, "noise_bound", layer=FIRST_LAYER)),
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

FIGURE_8 = Figure(
    name="8",
    title="Effective step size of the first layer and its bounds, medians over decisions and seeds",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "noise only", "volatility only", "combined"),
    data=lambda frames: per_task(frames, drawing.BOUND_LINES, [FIRST_LAYER]),
    draw=draw_variants,
)

"""Fig. 4 top: task accuracy, and what each bound predicts of it."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from studies.noise_curvature import drawing
from studies.noise_curvature.claims import Claim, Measured, Rule, over_seeds
from studies.noise_curvature.figure import Figure
from studies.noise_curvature.frames import ACCURACY, Array, by_task, per_task, table
from studies.noise_curvature.learners import LEARNERS, variants
from studies.noise_curvature.statistics import spearman

PREDICTIONS = {"noise bound": "rho_noise", "volatility bound": "rho_volatility", "combined bound": "rho"}


def agreement(data: pd.DataFrame, indicator: str) -> Array:
    """Return the rank correlation over tasks of 1 - rho and accuracy, mean over learners, by seed."""
    correlations = [
        list(map(_agreement, table(data, indicator, learner=learner), table(data, learner=learner)))
        for learner in LEARNERS
    ]
    means: Array = np.array(correlations).mean(axis=0)
    return means


def _agreement(rho: Array, accuracy: Array) -> float:
    known = np.isfinite(rho)
    if known.any() and np.ptp(rho[known]) == 0:
        return 0.0  # a constant agrees with nothing
    return spearman(1 - rho[known], accuracy[known])


def combined_agreement(data: pd.DataFrame) -> Measured:
    """Return how the combined bound agrees with accuracy; the note says how the mere number of the task does."""
    trend = [
        [spearman(-np.arange(float(len(run))), run) for run in table(data, learner=learner)]
        for learner in LEARNERS
    ]
    return over_seeds(agreement(data, "rho"), f"of minus the task's number {np.mean(trend):.3g}")


def advantage(data: pd.DataFrame) -> Measured:
    """Return by how much the combined bound agrees better than the better one of the others."""
    alone = {name: agreement(data, PREDICTIONS[name]) for name in ("noise bound", "volatility bound")}
    best = max(alone, key=lambda name: float(alone[name].mean()))
    return over_seeds(agreement(data, "rho") - alone[best], f"the better one is the {best}")


def draw(data: pd.DataFrame, title: str) -> Drawing:
    """Return accuracy and 1 - rho, rescaled to the accuracy's range: a row per learner, a column per bound."""
    learners = list(data["learner"].unique())
    figure, axes = drawing.grid(title, len(learners), len(PREDICTIONS), height=2.2)
    for row, learner in zip(axes, learners, strict=True):
        actual = by_task(data, learner=learner)
        means = [np.mean(values) for values in actual.values()]
        low, high = min(means), max(means)
        for panel, (name, indicator) in zip(row, PREDICTIONS.items(), strict=True):
            predicted = {
                task: [low + (1 - rho) * (high - low) for rho in values]
                for task, values in by_task(data, indicator, learner=learner).items()
            }
            drawing.draw_line(panel, actual, 0, "actual")
            drawing.draw_line(panel, predicted, 1, "predicted: 1 - rho, in the range of the actual")
            drawing.title_panel(panel, f"{learner} · {name}")
        row[0].set_ylabel(ACCURACY, fontsize=8)
    drawing.draw_legend(figure)
    return figure


FIGURE_4_TOP = Figure(
    name="4-top",
    title="Predicted and actual task accuracy",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "vanilla"),
    data=lambda frames: per_task(frames, list(PREDICTIONS.values())),
    draw=draw,
    claims=(
        Claim(
            "combined bound predicts",
            "Fig. 4 top",
            "The share of decisions above the combined bound predicts how accurate a task is",
            "rank correlation over tasks of 1 - rho and accuracy, mean over three learners",
            combined_agreement,
            Rule(low=0),
        ),
        Claim(
            "combined bound predicts best",
            "Fig. 4 top",
            "The combined bound predicts accuracy better than either bound alone",
            "the same correlation, combined minus the better one of the other two",
            advantage,
            Rule(low=0),
        ),
    ),
)

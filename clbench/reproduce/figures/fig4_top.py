"""Fig. 4 top: task accuracy, and what each bound predicts of it."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.plotting.curves import draw
from clbench.plotting.style import legend
from clbench.reproduce.claims import Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import ACCURACY, by_task, per_task, table
from clbench.reproduce.learners import LEARNERS, VANILLA, variants
from clbench.reproduce.statistics import spearman

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

PREDICTIONS = {"noise bound": "rho_noise", "volatility bound": "rho_volatility", "combined bound": "rho"}


def agreement(data: "pd.DataFrame", indicator: str) -> np.ndarray:
    """Return the rank correlation over tasks of 1 - rho and accuracy, mean over learners, by seed."""
    found = [
        list(map(_agreement, table(data, indicator, learner=learner), table(data, learner=learner)))
        for learner in LEARNERS
    ]
    means: np.ndarray = np.array(found).mean(axis=0)
    return means


def predicted(data: "pd.DataFrame") -> Measured:
    """Return how the combined bound agrees with accuracy; in the note how a mere count of tasks does."""
    trend = [
        [spearman(-np.arange(len(run)), run) for run in table(data, learner=learner)] for learner in LEARNERS
    ]
    return over_seeds(agreement(data, "rho"), f"of minus the task's number {np.mean(trend):.3g}")


def _agreement(rho: np.ndarray, accuracy: np.ndarray) -> float:
    known = np.isfinite(rho)
    found = spearman(1 - rho[known], accuracy[known])
    constant = known.any() and np.ptp(rho[known]) == 0
    return 0.0 if constant else found  # what never changes agrees with nothing


def advantage(data: "pd.DataFrame") -> Measured:
    """Return by how much the combined bound agrees better than the better one of the others."""
    alone = {name: agreement(data, PREDICTIONS[name]) for name in ("noise bound", "volatility bound")}
    best = max(alone, key=lambda name: float(alone[name].mean()))
    return over_seeds(agreement(data, "rho") - alone[best], f"the better one is the {best}")


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw accuracy and 1 - rho, rescaled to the accuracy's range: a row per learner, a column per bound."""
    learners = list(data["learner"].unique())
    figure, axes = grid(title, len(learners), len(PREDICTIONS), height=2.2)
    for row, learner in zip(axes, learners, strict=True):
        actual = by_task(data, learner=learner)
        means = [np.mean(own) for own in actual.values()]
        low, high = min(means), max(means)
        for one, (name, indicator) in zip(row, PREDICTIONS.items(), strict=True):
            predicted = {
                task: [low + (1 - rho) * (high - low) for rho in own]
                for task, own in by_task(data, indicator, learner=learner).items()
            }
            draw(one, actual, 0, "actual")
            draw(one, predicted, 1, "predicted: 1 - rho, in the range of the actual")
            head(one, f"{learner} · {name}")
        row[0].set_ylabel(ACCURACY, fontsize=8)
    legend(figure)
    return figure


FIGURE = Figure(
    name="4-top",
    title="Predicted and actual task accuracy",
    by=("learner", "variant"),
    cells=lambda scale: variants(scale, [VANILLA]),
    data=lambda frames: per_task(frames, list(PREDICTIONS.values())),
    draw=drawing,
    claims=(
        Claim(
            "combined bound predicts",
            "Fig. 4 top",
            "The share of decisions above the combined bound predicts how accurate a task is",
            "rank correlation over tasks of 1 - rho and accuracy, mean over three learners",
            predicted,
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

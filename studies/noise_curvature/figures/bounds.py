"""Figs. 2, 3, 4 top and 8: volatility and the three bounds against accuracy."""

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.plotting.curves import SHARE
from clbench.plotting.style import log_scale
from clbench.scheduling import Constants
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import Claim, Figure, Measured, Rule, over_seeds
from studies.noise_curvature.frames import ACCURACY, Array, by_task, final, per_task, table
from studies.noise_curvature.scale import FIRST_LAYER, LEARNERS, variants
from studies.noise_curvature.statistics import first_fall, spearman

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

STEPS = ("1e-5", "1e-4", "1e-3")
RISE = 2.0


def share_announced(data: pd.DataFrame) -> Measured:
    """Return by seed, of runs whose accuracy falls after the second task, the share whose volatility doubled before."""
    announced: dict[int, list[bool]] = {}
    steady: list[bool] = []
    at_once = 0
    for step in STEPS:
        try:
            runs = zip(table(data, step_size=step), table(data, "volatility", step_size=step), strict=True)
        except DataError:  # not finished
            continue
        for seed, (accuracy, volatility) in enumerate(runs):
            fall, doubled = first_fall(accuracy), volatility >= RISE * volatility[0]
            if fall is None:
                steady.append(bool(doubled.any()))
            elif fall == 1:
                at_once += 1
            else:
                announced.setdefault(seed, []).append(bool(doubled[:fall].any()))
    note = (
        f"accuracy falls in {sum(map(len, announced.values()))} runs, in {at_once} more at once; "
        f"volatility doubles in {sum(steady)} of {len(steady)} that do not fall"
    )
    try:
        return over_seeds(np.array([np.mean(runs) for runs in announced.values()]), note)
    except DataError as error:
        raise DataError(f"{error}: {note}") from error


def draw_volatility(data: pd.DataFrame, title: str) -> "Drawing":
    figure, axes = drawing.grid(title, 2, len(STEPS))
    for (upper, lower), step in zip(axes.T, STEPS, strict=True):
        drawing.draw_line(upper, by_task(data, step_size=step), 0, "", SHARE)
        volatility = by_task(data, "volatility", step_size=step)
        least = min(map(min, volatility.values()), default=0) / 2  # a logarithmic axis has no 0
        drawing.draw_line(lower, volatility, 1, "", (least, math.inf))
        drawing.title_panel(upper, f"step size {step}")
        upper.set_ylim(0, 1.02)
        if max(map(max, volatility.values()), default=0) > 0:
            log_scale(lower)
    axes[0, 0].set_ylabel(ACCURACY)
    axes[1, 0].set_ylabel("curvature volatility")
    return figure


FIGURE_2 = Figure(
    name="2",
    title="L2: curvature volatility (median over layers and decisions) and accuracy",
    by=("step_size",),
    requests=lambda scale: {(step,): scale.request("agents.l2", step_size=float(step)) for step in STEPS},
    data=lambda frames: per_task(frames, ["volatility"]),
    draw=draw_volatility,
    claims=(
        Claim(
            "volatility rises first",
            "Fig. 2",
            "Curvature volatility rises before accuracy falls, with L2 at step sizes 1e-5, 1e-4 and 1e-3",
            "share of the runs whose accuracy falls by a tenth in which volatility has doubled in an earlier task",
            share_announced,
            Rule(low=0.5),
        ),
    ),
)


def headroom(data: pd.DataFrame) -> Measured:
    bound, steps = (
        final(data, name, layer=FIRST_LAYER) for name in ("combined_bound", "effective_step_size")
    )
    return over_seeds(bound / steps)


def effect_of_small_beta(data: pd.DataFrame) -> Measured:
    volatility_over_batch = 1 / (Constants().beta * final(data, "volatility_bound", layer=FIRST_LAYER))
    weight = final(data, "noise_bound", layer=FIRST_LAYER) * volatility_over_batch
    return over_seeds(weight / (1 + weight))


def draw(data: pd.DataFrame, title: str) -> "Drawing":
    figure, axes = drawing.grid(title, 1, 2, height=3.2)
    left, right = axes[0]
    drawing.draw_bounds(left, data)
    drawing.title_panel(left, "first layer, medians over decisions and seeds")
    drawing.draw_line(right, by_task(data), 0, ACCURACY)
    drawing.title_panel(right, ACCURACY)
    right.set_ylim(0, 1.02)
    return figure


def draw_variants(data: pd.DataFrame, title: str) -> "Drawing":
    learners, schedulers = (list(data[name].unique()) for name in ("learner", "variant"))
    figure, axes = drawing.grid(title, len(learners), len(schedulers), height=2.2)
    for row, learner in zip(axes, learners, strict=True):
        for panel, scheduler in zip(row, schedulers, strict=True):
            drawing.draw_bounds(panel, data, learner=learner, variant=scheduler)
            drawing.title_panel(panel, f"{learner} · {scheduler}")
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


PREDICTIONS = {"noise bound": "rho_noise", "volatility bound": "rho_volatility", "combined bound": "rho"}


def agreement(data: pd.DataFrame, indicator: str) -> Array:
    correlations = [
        list(map(_agreement, table(data, indicator, learner=learner), table(data, learner=learner)))
        for learner in LEARNERS
    ]
    return np.asarray(np.array(correlations).mean(axis=0))


def _agreement(rho: Array, accuracy: Array) -> float:
    known = np.isfinite(rho)
    if known.sum() < 2:
        return float("nan")  # one point agrees with anything
    if np.ptp(rho[known]) == 0:
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
    alone = {name: agreement(data, PREDICTIONS[name]) for name in ("noise bound", "volatility bound")}
    best = max(alone, key=lambda name: float(alone[name].mean()))
    return over_seeds(agreement(data, "rho") - alone[best], f"the better one is the {best}")


def draw_prediction(data: pd.DataFrame, title: str) -> "Drawing":
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
    return figure


FIGURE_4_TOP = Figure(
    name="4-top",
    title="Predicted and actual task accuracy",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "vanilla"),
    data=lambda frames: per_task(frames, list(PREDICTIONS.values())),
    draw=draw_prediction,
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

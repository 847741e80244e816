"""Fig. 2: curvature volatility rises before accuracy falls."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure as Drawing

from clbench.errors import DataError
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import Claim, Measured, Rule, over_seeds
from studies.noise_curvature.figure import Figure
from studies.noise_curvature.frames import ACCURACY, by_task, per_task, table
from studies.noise_curvature.statistics import first_fall

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


def draw(data: pd.DataFrame, title: str) -> Drawing:
    figure, axes = drawing.grid(title, 2, len(STEPS))
    for (upper, lower), step in zip(axes.T, STEPS, strict=True):
        drawing.draw_line(upper, by_task(data, step_size=step), 0, "")
        volatility = by_task(data, "volatility", step_size=step)
        least = min(map(min, volatility.values()), default=0) / 2  # a logarithmic axis has no 0
        drawing.draw_line(lower, volatility, 1, "", least)
        drawing.title_panel(upper, f"step size {step}")
        upper.set_ylim(0, 1.02)
        if max(map(max, volatility.values()), default=0) > 0:
            lower.set_yscale("log")
    axes[0, 0].set_ylabel(ACCURACY)
    axes[1, 0].set_ylabel("curvature volatility")
    return figure


FIGURE_2 = Figure(
    name="2",
    title="L2: curvature volatility (median over layers and decisions) and accuracy",
    by=("step_size",),
    requests=lambda scale: {(step,): scale.request("agents.l2", step_size=float(step)) for step in STEPS},
    data=lambda frames: per_task(frames, ["volatility"]),
    draw=draw,
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

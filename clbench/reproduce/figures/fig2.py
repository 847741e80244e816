"""Fig. 2: curvature volatility rises before accuracy falls."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.errors import DataError
from clbench.plotting.curves import draw
from clbench.reproduce.claims import Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import ACCURACY, by_task, per_task, table
from clbench.reproduce.statistics import first_fall

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

STEPS = ("1e-5", "1e-4", "1e-3")
RISE = 2.0


def share_foretold(data: "pd.DataFrame") -> Measured:
    """Return, of the runs in which accuracy falls, the share in which volatility has doubled before, by seed."""
    foretold: dict[int, list[bool]] = {}
    falling = 0
    for step in STEPS:
        try:
            accuracy, volatility = (table(data, name, step_size=step) for name in (ACCURACY, "volatility"))
        except DataError:  # not finished
            continue
        for seed, (own, restless) in enumerate(zip(accuracy, volatility, strict=True)):
            fall = first_fall(own)
            if fall is not None:
                falling += 1
                foretold.setdefault(seed, []).append(bool((restless[:fall] >= RISE * restless[0]).any()))
    return over_seeds(
        np.array([np.mean(one) for one in foretold.values()]), f"accuracy falls in {falling} runs"
    )


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw accuracy and, below, volatility; a column per step size."""
    figure, axes = grid(title, 2, len(STEPS))
    for column, step in enumerate(STEPS):
        upper, lower = axes[:, column]
        draw(upper, by_task(data, step_size=step), 0, "")
        draw(lower, by_task(data, "volatility", step_size=step), 1, "")
        head(upper, f"step size {step}")
        upper.set_ylim(0, 1.02)
        lower.set_yscale("log")
    axes[0, 0].set_ylabel(ACCURACY)
    axes[1, 0].set_ylabel("curvature volatility")
    return figure


FIGURE = Figure(
    name="2",
    title="L2: curvature volatility (median over layers and decisions) and accuracy",
    by=("step_size",),
    cells=lambda scale: {(step,): scale.cell("agents.l2", step_size=float(step)) for step in STEPS},
    data=lambda frames: per_task(frames, ["volatility"]),
    draw=drawing,
    claims=(
        Claim(
            "volatility rises first",
            "Fig. 2",
            "Curvature volatility rises before accuracy falls, with L2 at step sizes 1e-5, 1e-4 and 1e-3",
            "share of the runs whose accuracy falls by a tenth in which volatility has doubled in an earlier task",
            share_foretold,
            Rule(low=0.5),
        ),
    ),
)

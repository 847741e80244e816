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
    """Return, of the runs in which accuracy falls, the share in which volatility has doubled before, by seed.

    Left out are runs that fall in the second task: there is none before it in which volatility could have risen.
    """
    foretold: dict[int, list[bool]] = {}
    steady: list[bool] = []
    early = 0
    for step in STEPS:
        try:
            accuracy, volatility = (table(data, name, step_size=step) for name in (ACCURACY, "volatility"))
        except DataError:  # not finished
            continue
        for seed, (own, restless) in enumerate(zip(accuracy, volatility, strict=True)):
            fall, rises = first_fall(own), restless >= RISE * restless[0]
            if fall is None:
                steady.append(bool(rises.any()))
            elif fall == 1:
                early += 1
            else:
                foretold.setdefault(seed, []).append(bool(rises[:fall].any()))
    note = (
        f"accuracy falls in {sum(map(len, foretold.values()))} runs, in {early} more at once; "
        f"volatility doubles in {sum(steady)} of {len(steady)} that do not fall"
    )
    try:
        return over_seeds(np.array([np.mean(one) for one in foretold.values()]), note)
    except DataError as error:
        raise DataError(f"{error}: {note}") from error


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw accuracy and, below, volatility; a column per step size."""
    figure, axes = grid(title, 2, len(STEPS))
    for column, step in enumerate(STEPS):
        upper, lower = axes[:, column]
        draw(upper, by_task(data, step_size=step), 0, "")
        volatility = by_task(data, "volatility", step_size=step)
        least = (
            min((min(values) for values in volatility.values()), default=0) / 2
        )  # 0 has no place on the axis
        draw(lower, volatility, 1, "", least)
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

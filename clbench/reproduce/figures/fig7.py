"""Fig. 7: schedulers that obey one bound or both."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.reproduce.claims import Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import accuracy_panels
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import per_task, table
from clbench.reproduce.learners import (
    COMBINED,
    LEARNERS,
    NOISE_ONLY,
    VANILLA,
    VOLATILITY_ONLY,
    variants,
)
from clbench.scoring import last_tenth

if TYPE_CHECKING:
    import pandas as pd


def over_learners(data: "pd.DataFrame", variant: str) -> np.ndarray:
    """Return accuracy over the last tenth of tasks, mean over the three learners, by seed."""
    own = [last_tenth(table(data, learner=learner, variant=variant)) for learner in LEARNERS]
    means: np.ndarray = np.mean(own, axis=0)
    return means


def advantage(data: "pd.DataFrame", *others: str) -> Measured:
    """Return the combined bound's accuracy minus that of the best of others."""
    alone = {name: over_learners(data, name) for name in others}
    best = max(alone, key=lambda name: float(np.nanmean(alone[name])))
    return over_seeds(over_learners(data, COMBINED) - alone[best], f"the better one is {best}")


FIGURE = Figure(
    name="7",
    title="Task accuracy with schedulers that obey the noise bound, the volatility bound, or both",
    by=("learner", "variant"),
    cells=lambda scale: variants(scale, (VANILLA, NOISE_ONLY, VOLATILITY_ONLY, COMBINED)),
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_panels("variant"),
    claims=(
        Claim(
            "both bounds are needed",
            "Fig. 7, App. A.2",
            "A scheduler that obeys both bounds ends more accurate than one that obeys either alone",
            "accuracy over the last tenth of tasks, mean over three learners, combined minus the better one alone",
            lambda data: advantage(data, NOISE_ONLY, VOLATILITY_ONLY),
            Rule(low=0),
        ),
    ),
)

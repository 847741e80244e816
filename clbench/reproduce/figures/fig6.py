"""Fig. 6: tasks of 100, 250 and 500 epochs, or of other lengths in the same proportion."""

from typing import TYPE_CHECKING

from clbench.reproduce.claims import Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import accuracy_panels
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import Key, per_task, table
from clbench.reproduce.learners import LEARNERS, SCHEDULED, variant
from clbench.reproduce.scale import Scale
from clbench.scoring import last_tenth
from clbench.sweeping.request import Settings

if TYPE_CHECKING:
    import pandas as pd

SHARES = {"short": 0.4, "usual": 1.0, "long": 2.0}
# Accuracy at task 40 after 100 and 500 epochs a task, read off the figure.
PUBLISHED = {"CReLU": (0.38, 0.67), "L2": (0.32, 0.58), "Wasserstein": (0.46, 0.715)}


def cells(scale: Scale) -> dict[Key, Settings]:
    """Return the scheduled learners at each length."""
    return {
        (learner, f"{name}: {scale.epochs(share)} epochs"): variant(scale, learner, SCHEDULED, share)
        for name, share in SHARES.items()
        for learner in LEARNERS
    }


def gain(data: "pd.DataFrame", learner: str) -> Measured:
    """Return accuracy with the longest tasks minus that with the shortest, seed by seed."""
    lengths = {name.partition(":")[0]: name for name in data["length"].unique()}
    long, short = (
        last_tenth(table(data, learner=learner, length=lengths.get(name, name))) for name in ("long", "short")
    )
    return over_seeds(long - short)


FIGURE = Figure(
    name="6",
    title="Task accuracy of the scheduled learners with tasks of different length",
    by=("learner", "length"),
    cells=cells,
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_panels("length"),
    claims=tuple(
        Claim(
            f"longer tasks help {learner}",
            "Fig. 6",
            f"Scheduled {learner} gets more accurate with more epochs per task",
            "accuracy over the last tenth of tasks, 2 times as many epochs as usual minus 0.4 times as many",
            lambda data, learner=learner: gain(data, learner),  # type: ignore[misc]
            Rule(low=0),
            round(PUBLISHED[learner][1] - PUBLISHED[learner][0], 3),
        )
        for learner in LEARNERS
    ),
)

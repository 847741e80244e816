"""Fig. 6: tasks of 100, 250 and 500 epochs, or of other lengths in the same proportion."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.reproduce.claims import AT_PAPER, TOLERANCE, Claim, Rule, gain, over_seeds
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


def of_length(data: "pd.DataFrame", learner: str, length: str) -> np.ndarray:
    """Return accuracy with tasks of a length, `(seeds, tasks)`."""
    lengths = {name.partition(":")[0]: name for name in data["length"].unique()}
    return table(data, learner=learner, length=lengths.get(length, length))


def _longer(learner: str, short: float, long: float) -> Claim:
    return Claim(
        f"longer tasks help {learner}",
        "Fig. 6",
        f"Scheduled {learner} gets more accurate with more epochs per task",
        "accuracy over the last tenth of tasks, 2 times as many epochs as usual minus 0.4 times as many",
        lambda data: gain(*(of_length(data, learner, name) for name in ("long", "short"))),
        Rule(low=0),
        round(long - short, 3),
    )


def _level(learner: str, length: str, published: float) -> Claim:
    epochs = {"short": 100, "long": 500}[length]
    return Claim(
        f"scheduled {learner} level, {epochs} epochs",
        "Fig. 6",
        f"Scheduled {learner} is {published:g} accurate at task 40 with {epochs} epochs per task",
        "accuracy over the last tenth of tasks",
        lambda data: over_seeds(last_tenth(of_length(data, learner, length))),
        Rule(published - TOLERANCE, published + TOLERANCE),
        published,
        AT_PAPER,
    )


FIGURE = Figure(
    name="6",
    title="Task accuracy of the scheduled learners with tasks of different length",
    by=("learner", "length"),
    cells=cells,
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_panels("length"),
    claims=tuple(
        claim
        for learner in LEARNERS
        for claim in (
            _longer(learner, *PUBLISHED[learner]),
            _level(learner, "short", PUBLISHED[learner][0]),
            _level(learner, "long", PUBLISHED[learner][1]),
        )
    ),
)

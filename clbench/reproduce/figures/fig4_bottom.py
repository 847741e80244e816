"""Fig. 4 bottom: what the scheduler does for three learners."""

from typing import TYPE_CHECKING

from clbench.reproduce.claims import AT_PAPER, TOLERANCE, Claim, Measured, Rule, gain, over_seeds
from clbench.reproduce.drawing import accuracy_panels
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import per_task, table
from clbench.reproduce.learners import LEARNERS, RESET, SCHEDULED, VANILLA, variants
from clbench.scoring import last_tenth

if TYPE_CHECKING:
    import pandas as pd

SHOWN = (VANILLA, RESET, SCHEDULED)
# Accuracy at task 40, read off the figure: vanilla, reset, scheduled.
PUBLISHED = {"CReLU": (0.10, 0.10, 0.53), "L2": (0.11, 0.185, 0.49), "Wasserstein": (0.58, 0.60, 0.645)}
# At task 1, without scheduler.
FIRST = {"CReLU": 0.10, "L2": 0.18, "Wasserstein": 0.61}


def difference(data: "pd.DataFrame", learner: str, other: str) -> Measured:
    """Return scheduled minus other accuracy."""
    return gain(*(table(data, learner=learner, variant=name) for name in (SCHEDULED, other)))


def _better(learner: str, other: str, published: float) -> Claim:
    return Claim(
        f"scheduled {learner} above {other}",
        "Fig. 4 bottom",
        f"The per-layer scheduler makes {learner} end more accurate than "
        + ("it does without" if other == VANILLA else "the same learner reset at each task"),
        f"accuracy over the last tenth of tasks, scheduled minus {other}",
        lambda data: difference(data, learner, other),
        Rule(low=0),
        round(published, 3),
    )


def loss(data: "pd.DataFrame", learner: str) -> Measured:
    """Return accuracy of the first task minus that over the last tenth of tasks, without scheduler."""
    accuracy = table(data, learner=learner, variant=VANILLA)
    return over_seeds(accuracy[:, 0] - last_tenth(accuracy))


def _loses(learner: str, first: float, last: float) -> Claim:
    return Claim(
        f"{learner} loses trainability",
        "Fig. 4 bottom",
        f"Without scheduler {learner} gets less accurate from task to task",
        "accuracy of the first task minus that over the last tenth of tasks",
        lambda data: loss(data, learner),
        Rule(low=0),
        round(first - last, 3),
    )


def _level(learner: str, variant: str, published: float) -> Claim:
    return Claim(
        f"{variant} {learner} level",
        "Fig. 4 bottom",
        f"{learner}, {variant}, is {published:g} accurate at task 40",
        "accuracy over the last tenth of tasks",
        lambda data: over_seeds(last_tenth(table(data, learner=learner, variant=variant))),
        Rule(published - TOLERANCE, published + TOLERANCE),
        published,
        AT_PAPER,
    )


FIGURE = Figure(
    name="4-bottom",
    title="Task accuracy without scheduler, reset at each task, and scheduled",
    by=("learner", "variant"),
    cells=lambda scale: variants(scale, SHOWN),
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_panels("variant"),
    claims=tuple(
        claim
        for learner in LEARNERS
        for vanilla, reset, scheduled in [PUBLISHED[learner]]
        for claim in (
            *([_loses(learner, FIRST[learner], vanilla)] if FIRST[learner] > vanilla else []),
            _better(learner, VANILLA, scheduled - vanilla),
            _better(learner, RESET, scheduled - reset),
            _level(learner, VANILLA, vanilla),
            _level(learner, RESET, reset),
            _level(learner, SCHEDULED, scheduled),
        )
    ),
)

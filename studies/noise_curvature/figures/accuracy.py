"""Figs. 4 bottom, 6 and 7: what the scheduler does for the accuracy of three learners."""

from functools import partial

import numpy as np
import pandas as pd

from clbench.scoring import last_tenth
from studies.noise_curvature.claims import Claim, Measured, Rule, gain, level_claim, over_seeds
from studies.noise_curvature.drawing import accuracy_figure
from studies.noise_curvature.figure import Figure
from studies.noise_curvature.frames import Array, Key, final, per_task, table
from studies.noise_curvature.learners import LEARNERS, variant, variants
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import Scale

# Read off Fig. 4 bottom: accuracy at task 40, vanilla, reset and scheduled; and at task 1 without scheduler.
LAST = {"CReLU": (0.10, 0.10, 0.53), "L2": (0.11, 0.185, 0.49), "Wasserstein": (0.58, 0.60, 0.645)}
FIRST = {"CReLU": 0.10, "L2": 0.18, "Wasserstein": 0.61}

# Epochs per task, as multiples of the usual ones; read off Fig. 6: accuracy at task 40 with 100 and with 500.
LENGTHS = {"short": 0.4, "usual": 1.0, "long": 2.0}
SHORT_AND_LONG = {"CReLU": (0.38, 0.67), "L2": (0.32, 0.58), "Wasserstein": (0.46, 0.715)}


def mean_over_learners(data: pd.DataFrame, variant: str) -> Array:
    """Return accuracy over the last tenth of tasks, mean over the three learners, by seed."""
    ends = [final(data, learner=learner, variant=variant) for learner in LEARNERS]
    means: Array = np.mean(ends, axis=0)
    return means


def combined_advantage(data: pd.DataFrame) -> Measured:
    """Return the accuracy of schedulers that obey both bounds minus that with the better bound alone."""
    alone = {name: mean_over_learners(data, name) for name in ("noise only", "volatility only")}
    best = max(alone, key=lambda name: float(np.nanmean(alone[name])))
    return over_seeds(mean_over_learners(data, "combined") - alone[best], f"the better one is {best}")


def length_requests(scale: Scale) -> dict[Key, Request]:
    return {
        (learner, f"{name}: {scale.epochs(multiple)} epochs"): variant(scale, learner, "scheduled", multiple)
        for name, multiple in LENGTHS.items()
        for learner in LEARNERS
    }


def _loses_trainability(learner: str) -> Claim:
    def loss(data: pd.DataFrame) -> Measured:
        accuracy = table(data, learner=learner, variant="vanilla")
        return over_seeds(accuracy[:, 0] - last_tenth(accuracy))

    return Claim(
        f"{learner} loses trainability",
        "Fig. 4 bottom",
        f"Without scheduler {learner} gets less accurate from task to task",
        "accuracy of the first task minus that over the last tenth of tasks",
        loss,
        Rule(low=0),
        round(FIRST[learner] - LAST[learner][0], 3),
    )


def _better(learner: str, other: str, published: float) -> Claim:
    return Claim(
        f"scheduled {learner} above {other}",
        "Fig. 4 bottom",
        f"The per-layer scheduler makes {learner} end more accurate than "
        + ("it does without" if other == "vanilla" else "the same learner reset at each task"),
        f"accuracy over the last tenth of tasks, scheduled minus {other}",
        lambda data: gain(*(table(data, learner=learner, variant=name) for name in ("scheduled", other))),
        Rule(low=0),
        round(published, 3),
    )


def _claims_about_variants(learner: str) -> list[Claim]:
    vanilla, reset, scheduled = LAST[learner]
    return [
        *([_loses_trainability(learner)] if FIRST[learner] > vanilla else []),
        _better(learner, "vanilla", scheduled - vanilla),
        _better(learner, "reset", scheduled - reset),
        *(
            level_claim(
                f"{name} {learner} level",
                "Fig. 4 bottom",
                f"{learner}, {name}, is {published:g} accurate at task 40",
                published,
                partial(table, learner=learner, variant=name),
            )
            for name, published in zip(("vanilla", "reset", "scheduled"), LAST[learner], strict=True)
        ),
    ]


def of_length(data: pd.DataFrame, learner: str, length: str) -> Array:
    """Return accuracy with tasks of a length, `(seeds, tasks)`."""
    lengths = {name.partition(":")[0]: name for name in data["length"].unique()}
    return table(data, learner=learner, length=lengths.get(length, length))


def _claims_about_lengths(learner: str) -> list[Claim]:
    short, long = SHORT_AND_LONG[learner]
    return [
        Claim(
            f"longer tasks help {learner}",
            "Fig. 6",
            f"Scheduled {learner} gets more accurate with more epochs per task",
            "accuracy over the last tenth of tasks, 2 times as many epochs as usual minus 0.4 times as many",
            lambda data: gain(*(of_length(data, learner, name) for name in ("long", "short"))),
            Rule(low=0),
            round(long - short, 3),
        ),
        *(
            level_claim(
                f"scheduled {learner} level, {epochs} epochs",
                "Fig. 6",
                f"Scheduled {learner} is {published:g} accurate at task 40 with {epochs} epochs per task",
                published,
                partial(of_length, learner=learner, length=name),
            )
            for name, epochs, published in (("short", 100, short), ("long", 500, long))
        ),
    ]


FIGURE_4_BOTTOM = Figure(
    name="4-bottom",
    title="Task accuracy without scheduler, reset at each task, and scheduled",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "vanilla", "reset", "scheduled"),
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_figure("variant"),
    claims=tuple(claim for learner in LEARNERS for claim in _claims_about_variants(learner)),
)

FIGURE_6 = Figure(
    name="6",
    title="Task accuracy of the scheduled learners with tasks of different length",
    by=("learner", "length"),
    requests=length_requests,
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_figure("length"),
    claims=tuple(claim for learner in LEARNERS for claim in _claims_about_lengths(learner)),
)

FIGURE_7 = Figure(
    name="7",
    title="Task accuracy with schedulers that obey the noise bound, the volatility bound, or both",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "vanilla", "noise only", "volatility only", "combined"),
    data=lambda frames: per_task(frames, ()),
    draw=accuracy_figure("variant"),
    claims=(
        Claim(
            "both bounds are needed",
            "Fig. 7, App. A.2",
            "A scheduler that obeys both bounds ends more accurate than one that obeys either alone",
            "accuracy over the last tenth of tasks, mean over three learners, combined minus the better one alone",
            combined_advantage,
            Rule(low=0),
        ),
    ),
)

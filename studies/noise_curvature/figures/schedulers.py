"""Figs. 4 bottom to 7, 9 and 10: what the scheduler does for the accuracy of three learners, and its step sizes."""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.scoring import last_tenth
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import (
    AT_PAPER,
    Claim,
    Figure,
    Measured,
    Rule,
    gain,
    level_claim,
    over_seeds,
    several_tasks,
)
from studies.noise_curvature.frames import Array, Key, along_tasks, final, per_task, select, table
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import FIRST_LAYER, LEARNERS, Scale, variant, variants

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

# Read off Fig. 4 bottom: accuracy at task 40, vanilla, reset and scheduled; and at task 1 without scheduler.
LAST = {"CReLU": (0.10, 0.10, 0.53), "L2": (0.11, 0.185, 0.49), "Wasserstein": (0.58, 0.60, 0.645)}
FIRST = {"CReLU": 0.10, "L2": 0.18, "Wasserstein": 0.61}

# Epochs per task, as multiples of the usual ones; read off Fig. 6: accuracy at task 40 with 100 and with 500.
LENGTHS = {"short": 0.4, "usual": 1.0, "long": 2.0}
SHORT_AND_LONG = {"CReLU": (0.38, 0.67), "L2": (0.32, 0.58), "Wasserstein": (0.46, 0.715)}


def mean_over_learners(data: pd.DataFrame, variant: str) -> Array:
    ends = [final(data, learner=learner, variant=variant) for learner in LEARNERS]
    return np.asarray(np.mean(ends, axis=0))


def combined_advantage(data: pd.DataFrame) -> Measured:
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
        accuracy = several_tasks(table(data, learner=learner, variant="vanilla"))
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
    draw=partial(drawing.accuracy_figure, "variant"),
    claims=tuple(claim for learner in LEARNERS for claim in _claims_about_variants(learner)),
)

FIGURE_6 = Figure(
    name="6",
    title="Task accuracy of the scheduled learners with tasks of different length",
    by=("learner", "length"),
    requests=length_requests,
    data=lambda frames: per_task(frames, ()),
    draw=partial(drawing.accuracy_figure, "length"),
    claims=tuple(claim for learner in LEARNERS for claim in _claims_about_lengths(learner)),
)

FIGURE_7 = Figure(
    name="7",
    title="Task accuracy with schedulers that obey the noise bound, the volatility bound, or both",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "vanilla", "noise only", "volatility only", "combined"),
    data=lambda frames: per_task(frames, ()),
    draw=partial(drawing.accuracy_figure, "variant"),
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


TASKS = 4
LONG_ENOUGH = ("standard", f"standard,num_tasks={TASKS}", *AT_PAPER)  # Fig. 5 shows four tasks only
PUBLISHED = {"CReLU": 3e-3, "L2": 5e-4}  # of the first layer after four tasks, read off Fig. 5
COMPARED = ("per layer", "whole network")


def first_and_last(data: pd.DataFrame, learner: str) -> Array:
    rows = select(data, "step_size", layer=FIRST_LAYER, learner=learner).sort_values("time")
    if rows.empty:
        raise DataError(f"no finished run of {learner} has step_size")
    by_seed = rows.groupby("seed")["value"]
    if by_seed.size().min() < 2:
        raise DataError(f"{learner} has one step size only: it cannot have changed")
    return np.array([by_seed.first(), by_seed.last()], dtype=float)


def decay(data: pd.DataFrame) -> Measured:
    ratios = [last / first for first, last in (first_and_last(data, name) for name in LEARNERS)]
    return over_seeds(np.max(ratios, axis=0))


def draw_step_sizes(data: pd.DataFrame, title: str) -> "Drawing":
    learners = list(data["learner"].unique())
    figure, axes = drawing.grid(title, 1, len(learners), "tasks done", height=3.0)
    for panel, learner in zip(axes[0], learners, strict=True):
        rows = select(data, "step_size", learner=learner)
        drawing.draw_step_sizes(panel, {str(layer): line for layer, line in rows.groupby("layer")})
        drawing.title_panel(panel, learner)
    axes[0, 0].set_ylabel("step size")
    return figure


def draw_controllers(data: pd.DataFrame, title: str) -> "Drawing":
    learners = list(data["learner"].unique())
    figure, axes = drawing.grid(title, 2, len(learners), "tasks done", height=2.6)
    drawing.draw_accuracies(axes[0], data, "variant")
    for panel, learner in zip(axes[1], learners, strict=True):
        rows = select(data, "step_size", learner=learner).groupby(["variant", "layer"], sort=False)
        lines = {
            "step size, " + (name if name == COMPARED[1] else f"{name}: {layer}"): line
            for (name, layer), line in rows
        }
        drawing.draw_step_sizes(panel, lines, first=len(COMPARED))
    axes[1, 0].set_ylabel("step size")
    return figure


def _step_size_claim(learner: str, published: float) -> Claim:
    return Claim(
        f"step size of {learner}",
        "Fig. 5",
        f"The scheduler takes {learner}'s first layer to a step size of about {published:g} within four tasks",
        "first layer's step size after four tasks",
        lambda data: over_seeds(first_and_last(data, learner)[1]),
        Rule(round(published / 1.5, 6), round(published * 1.5, 6)),
        published,
        LONG_ENOUGH,
    )


FIGURE_5 = Figure(
    name="5",
    title="Step sizes of the scheduled learners in the first four tasks, median over seeds",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, "scheduled"),
    data=lambda frames: along_tasks(frames, ["step_size"], TASKS),
    draw=draw_step_sizes,
    claims=(
        Claim(
            "step sizes decay",
            "Fig. 5",
            "Without being told to, the scheduler makes step sizes fall, as decay schedules made by hand do",
            "first layer's step size after four tasks over that at the start, of the learner where it falls least",
            decay,
            Rule(high=1),
        ),
        *(_step_size_claim(learner, published) for learner, published in PUBLISHED.items()),
    ),
)

FIGURE_9_10 = Figure(
    name="9-10",
    title="Task accuracy and step sizes with a controller for each layer and with one for the whole network",
    by=("learner", "variant"),
    requests=lambda scale: variants(scale, *COMPARED),
    data=lambda frames: per_task(frames, ["step_size"]),
    draw=draw_controllers,
    claims=(
        Claim(
            "layers need controllers of their own",
            "Figs. 9-10, App. A.3",
            "A controller for each layer ends more accurate than one for the whole network",
            "accuracy over the last tenth of tasks, mean over three learners, per layer minus whole network",
            lambda data: over_seeds(
                mean_over_learners(data, "per layer") - mean_over_learners(data, "whole network")
            ),
            Rule(low=0),
        ),
    ),
)

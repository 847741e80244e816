"""Why may a result differ from the paper's? Scheduled learners with one thing changed at a time."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.reproduce.drawing import dots, grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.figures.fig5 import PUBLISHED as STEP_SIZES
from clbench.reproduce.frames import ACCURACY, Key, per_task, table
from clbench.reproduce.learners import FIRST_LAYER, LEARNERS
from clbench.reproduce.scale import Scale
from clbench.scoring import Estimate, estimate, last_tenth
from clbench.sweeping.request import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

NONE, USUAL = "no scheduler", "default"
WARMING: Mapping[str, Mapping[str, Any]] = {
    NONE: {"scheduler": "none"},
    USUAL: {},
    "warm 1.01 (published code)": {"warm": 1.01},
    "no warm-up": {"warmup": "off"},
}
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "warm-up in the first task only": {"warmup": "first-task"},
    "warm-up of 30 % (Alg. 1)": {"warmup_fraction": 0.3},
    "beta 1": {"beta": 1},
    "K 10": {"every": 10},
    "no floor": {"floor": 0},
}
CONSTANT = {
    learner: {f"no scheduler, step size {end:g}": {"scheduler": "none", "step_size": end}}
    for learner, end in STEP_SIZES.items()
}
"""Would the step size that the scheduler comes to do as well from the start?"""
SETTINGS = {"CReLU": {**WARMING, **CONSTANT["CReLU"]}, "L2": {**WARMING, **CONSTANT["L2"], **OTHERS}}
IMAGES = (5_000, 21_000)
"""As at `quick`, and as in the paper's text; run where there are more."""
NUMBERS = {
    "accuracy": ACCURACY,
    "gain": "gain over no scheduler",
    "step_size": "step size, first layer",
    "above_bound": "decisions above a bound",
}
BY = ("learner", "images", "setting")
COLUMNS = (
    *BY,
    *(f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")),
)


def cells(scale: Scale) -> dict[Key, Settings]:
    """Return every setting with all images, and with fewer those without scheduler and with its defaults."""
    found: dict[Key, Settings] = {}
    for learner, settings in SETTINGS.items():
        agent, _ = LEARNERS[learner]
        for images in (scale.images, *(few for few in IMAGES if few < scale.images)):
            for setting, changed in settings.items():
                usual = setting in (NONE, USUAL)
                if usual or images == scale.images:
                    arguments = {"scheduler": "per-layer", **changed}
                    key = learner, f"{images:,} images", setting
                    found[key] = scale.cell(agent, images=images, full=usual, **arguments)
    return found


def reasons(data: "pd.DataFrame") -> "pd.DataFrame":
    """Return a row per finished cell, all numbers over the last tenth of tasks, with intervals over seeds.

    Gain is accuracy minus that of the same learner on as many images without scheduler, seed by seed; step size is the
    first layer's, above bound the share of decisions with some layer above its combined bound.
    """
    import pandas as pd

    def end(*key: str, what: str = ACCURACY, layer: str | None = None) -> np.ndarray:
        try:
            return last_tenth(table(data, what, layer, **dict(zip(BY, key, strict=True))))
        except DataError:  # not finished, or no decision was taken
            return np.full(1, np.nan)

    rows = []
    for learner, images, setting in dict.fromkeys(zip(*(data[name] for name in BY), strict=True)):
        key = learner, images, setting
        values = {
            "accuracy": end(*key),
            "gain": end(*key) - end(learner, images, NONE),
            "step_size": end(*key, what="step_size", layer=FIRST_LAYER),
            "above_bound": end(*key, what="rho"),
        }
        row = dict(zip(BY, key, strict=True))
        for name, value in values.items():
            known = value[np.isfinite(value)]
            found = estimate(known) if len(known) else Estimate(math.nan, math.nan, math.nan)
            row |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw a row per setting, those of fewer images below; a column per learner and number."""
    learners = list(data["learner"].unique())
    longest = data.groupby("learner").size().max()
    figure, axes = grid(title, len(learners), len(NUMBERS), "", height=0.7 + 0.2 * longest)
    for row, learner in zip(axes, learners, strict=True):
        own = data[data["learner"] == learner].sort_values(
            "images", key=_counts, ascending=False, kind="stable"
        )
        texts = [
            f"{setting}, {images}" for setting, images in zip(own["setting"], own["images"], strict=True)
        ]
        for one, (name, text) in zip(row, NUMBERS.items(), strict=True):
            dots(one, -np.arange(len(own)), own, name, 0)
            one.set_yticks(-np.arange(len(own)), texts if one is row[0] else [""] * len(own), fontsize=7)
            head(one, f"{learner}: {text}")
        row[1].axvline(0, color="0.6", linewidth=1)
    return figure


def _counts(images: "pd.Series[str]") -> "pd.Series[int]":
    """Return the numbers in "5,000 images"."""
    return images.str.split().str[0].str.replace(",", "").astype(int)


FIGURE = Figure(
    name="reasons",
    title="Why may results differ? Scheduled learners with one thing changed at a time; last tenth of tasks",
    by=BY,
    cells=cells,
    data=lambda frames: per_task(frames, ["step_size", "rho"], [FIRST_LAYER, WHOLE]),
    summary=reasons,
    draw=drawing,
    table=("learner", "images", "setting", *NUMBERS),
)

"""Why may a result differ from the paper's? Scheduled learners with one thing changed at a time."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from clbench.errors import DataError
from clbench.reproduce.drawing import dots, grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import ACCURACY, Frames, Key, per_task, table
from clbench.reproduce.learners import FIRST_LAYER, LEARNERS
from clbench.reproduce.scale import Scale
from clbench.scoring import Estimate, estimate, last_tenth
from clbench.sweeping.request import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

NONE, USUAL = "no scheduler", "as it is"
WARMING: Mapping[str, Mapping[str, Any]] = {
    NONE: {"scheduler": "none"},
    USUAL: {},
    "warm 1.01 (published code)": {"warm": 1.01},
    "no warm-up": {"warmup": "off"},
}
OTHERS: Mapping[str, Mapping[str, Any]] = {
    "beta 1": {"beta": 1},
    "K 10": {"every": 10},
    "no floor": {"floor": 0},
}
SETTINGS = {"CReLU": WARMING, "L2": {**WARMING, **OTHERS}}
IMAGES = (5_000, 21_000)
"""As at `quick`, and as in the paper's text; run where there are more."""
NUMBERS = {
    "accuracy": ACCURACY,
    "gain": "gain by the scheduler",
    "step_size": "step size, first layer",
    "above_bound": "decisions above a bound",
}
COLUMNS = (
    *("learner", "images", "setting"),
    *(f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")),
)


def cells(scale: Scale) -> dict[Key, Settings]:
    """Return every setting with all images, and with fewer those without scheduler and with it as it is."""
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


def reasons(frames: Frames) -> "pd.DataFrame":
    """Return a row per finished cell, all numbers over the last tenth of tasks, with intervals over seeds.

    Gain is accuracy minus that of the same learner on as many images without scheduler, seed by seed; step size is the
    first layer's, above bound the share of decisions with some layer above its combined bound.
    """
    import pandas as pd

    data = per_task(frames, ["step_size", "rho"])

    def end(*key: str, what: str = ACCURACY, layer: str | None = None) -> np.ndarray:
        try:
            return last_tenth(table(data, what, layer, **dict(zip(frames.by, key, strict=True))))
        except DataError:  # not finished, or no decision was taken
            return np.full(1, np.nan)

    rows = []
    for learner, images, setting in dict.fromkeys(zip(*(data[name] for name in frames.by), strict=True)):
        key = learner, images, setting
        values = {
            "accuracy": end(*key),
            "gain": end(*key) - end(learner, images, NONE),
            "step_size": end(*key, what="step_size", layer=FIRST_LAYER),
            "above_bound": end(*key, what="rho"),
        }
        row = dict(zip(frames.by, key, strict=True))
        for name, value in values.items():
            known = value[np.isfinite(value)]
            found = estimate(known) if len(known) else Estimate(*[math.nan] * 3)
            row |= {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}
        rows.append(row)
    return pd.DataFrame(rows, columns=COLUMNS)


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw a row per setting, those of fewer images below; a column per learner and number."""
    learners = list(data["learner"].unique())
    lines = sorted(
        dict.fromkeys(zip(data["images"], data["setting"], strict=True)), key=lambda line: -_count(line[0])
    )
    figure, axes = grid(title, len(learners), len(NUMBERS), "", height=0.7 + 0.2 * len(lines))
    for row, learner in zip(axes, learners, strict=True):
        own = data[data["learner"] == learner]
        places = [-lines.index(line) for line in zip(own["images"], own["setting"], strict=True)]
        for one, (name, text) in zip(row, NUMBERS.items(), strict=True):
            dots(one, np.array(places), own, name, 0)
            one.set_yticks(
                range(0, -len(lines), -1),
                [f"{setting}, {images}" for images, setting in lines] if one is row[0] else [""] * len(lines),
                fontsize=7,
            )
            head(one, f"{learner}: {text}")
        row[1].axvline(0, color="0.6", linewidth=1)
    return figure


def _count(images: str) -> int:
    return int(images.split(maxsplit=1)[0].replace(",", ""))


FIGURE = Figure(
    name="reasons",
    title="Why may results differ? Scheduled learners with one thing changed at a time; last tenth of tasks",
    by=("learner", "images", "setting"),
    cells=cells,
    data=reasons,
    draw=drawing,
    table=("learner", "images", "setting", *NUMBERS),
)

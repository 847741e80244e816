"""Why may a result differ from the paper's? Scheduled learners with one thing changed at a time."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.scoring import estimate
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import UNKNOWN, Figure
from studies.noise_curvature.figures.schedulers import PUBLISHED as STEP_SIZES
from studies.noise_curvature.frames import ACCURACY, Array, Key, final, per_task
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import FIRST_LAYER, LEARNERS, Scale

if TYPE_CHECKING:
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
    learner: {f"no scheduler, step size {last:g}": {"scheduler": "none", "step_size": last}}
    for learner, last in STEP_SIZES.items()
}
"""Would the step size that the scheduler arrives at do as well from the start?"""
SETTINGS = {"CReLU": {**WARMING, **CONSTANT["CReLU"]}, "L2": {**WARMING, **CONSTANT["L2"], **OTHERS}}
FEWER_IMAGES = (5_000, 21_000)
"""As at `quick`, and as in the paper's text; run where the scale has more."""
NUMBERS = {
    "accuracy": ACCURACY,
    "gain": "gain over no scheduler",
    "step_size": "step size, first layer",
    "above_bound": "decisions above a bound",
}
BY = ("learner", "images", "setting")
COLUMNS = (*BY, *(f"{name}{end}" for name in NUMBERS for end in ("", "_low", "_high")))


def requests(scale: Scale) -> dict[Key, Request]:
    """Return every setting with all images; with fewer, those without scheduler and with its defaults."""
    chosen: dict[Key, Request] = {}
    for learner, settings in SETTINGS.items():
        agent, _ = LEARNERS[learner]
        for images in (scale.images, *(few for few in FEWER_IMAGES if few < scale.images)):
            for setting, changed in settings.items():
                usual = setting in {NONE, USUAL}
                if usual or images == scale.images:
                    arguments = {"scheduler": "per-layer", **changed}
                    key = learner, f"{images:,} images", setting
                    chosen[key] = scale.request(agent, images=images, full=usual, **arguments)
    return chosen


def summarize(data: pd.DataFrame) -> pd.DataFrame:
    """Return a row per finished run, all numbers over the last tenth of tasks, with intervals over seeds.

    The gain is accuracy minus that of the same learner on as many images without scheduler, seed by seed; the step
    size is the first layer's; `above_bound` is the share of decisions with some layer above its combined bound.
    """

    def end(*key: str, indicator: str = ACCURACY, **layer: str) -> Array:
        try:
            return final(data, indicator, **dict(zip(BY, key, strict=True)), **layer)
        except DataError:  # not finished, or no decision was taken
            return np.full(1, np.nan)

    rows = []
    for learner, images, setting in dict.fromkeys(zip(*(data[name] for name in BY), strict=True)):
        key = learner, images, setting
        numbers = {
            "accuracy": end(*key),
            "gain": end(*key) - end(learner, images, NONE),
            "step_size": end(*key, indicator="step_size", layer=FIRST_LAYER),
            "above_bound": end(*key, indicator="rho"),
        }
        row: dict[str, Any] = dict(zip(BY, key, strict=True))
        for name, values in numbers.items():
            finite = values[np.isfinite(values)]
            value = estimate(finite) if len(finite) else UNKNOWN
            row |= {name: value.mean, f"{name}_low": value.low, f"{name}_high": value.high}
        rows.append(row)
    table: pd.DataFrame = pd.DataFrame(rows, columns=COLUMNS)
    return table


def draw(data: pd.DataFrame, title: str) -> "Drawing":
    learners = list(data["learner"].unique())
    longest = int(data.groupby("learner").size().max())
    figure, axes = drawing.grid(title, len(learners), len(NUMBERS), "", height=0.7 + 0.2 * longest)
    for row, learner in zip(axes, learners, strict=True):
        settings = data[data["learner"] == learner].sort_values(
            "images", key=_counts, ascending=False, kind="stable"
        )
        heights = -np.arange(len(settings))
        names = [", ".join(pair) for pair in zip(settings["setting"], settings["images"], strict=True)]
        for column, (panel, (name, text)) in enumerate(zip(row, NUMBERS.items(), strict=True)):
            drawing.draw_estimates(panel, heights, settings, name, 0)
            panel.set_yticks(heights, [""] * len(names) if column else names, fontsize=7)
            drawing.title_panel(panel, f"{learner}: {text}")
        row[1].axvline(0, color="0.6", linewidth=1)
    return figure


def _counts(images: "pd.Series[str]") -> "pd.Series[int]":
    return images.str.split().str[0].str.replace(",", "").astype(int)


REASONS = Figure(
    name="reasons",
    title="Why may results differ? Scheduled learners with one thing changed at a time; last tenth of tasks",
    by=BY,
    requests=requests,
    data=lambda frames: per_task(frames, ["step_size", "rho"], [FIRST_LAYER, WHOLE]),
    summary=summarize,
    draw=draw,
    table=(*BY, *NUMBERS),
)

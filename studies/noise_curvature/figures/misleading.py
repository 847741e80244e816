"""Fig. 1 a-f: for each single indicator, a pair of networks of which it says the opposite of what happens.

The runs decide which pair a panel shows: the one that contradicts most on the first seed, judged on the others. The
configurations are the paper's, and so is the step size of panel e.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.scoring import last_tenth
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import Claim, Figure, Measured, Rule, over_seeds, several_tasks
from studies.noise_curvature.frames import ACCURACY, Array, Key, by_task, final, per_task, table
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import Scale
from studies.noise_curvature.statistics import FALL

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ReLU": ("agents.vanilla", {}),
    "LeakyReLU 0.7": ("agents.leaky_relu", {"slope": 0.7}),
    "LeakyReLU 0.3": ("agents.leaky_relu", {"slope": 0.3}),
    "deep linear": ("agents.deep_linear", {}),
    "BatchNorm, weight decay": ("agents.batchnorm", {}),
}
STEP, SMALL_STEP = "1e-3", "1e-5"
DIFFERENT = 0.1  # relative; levels closer than that say nothing

Pair = tuple[str, str]


class Panel(NamedTuple):
    """An indicator, and the direction that is said to be healthier: 1 for more of it, -1 for less."""

    letter: str
    indicator: str
    healthier: int
    step_size: str = STEP

    @property
    def more(self) -> str:
        return "more" if self.healthier > 0 else "less"

    @property
    def name(self) -> str:
        return self.indicator.replace("_", " ")


PANELS = (
    Panel("a", "hessian_rank", 1),
    Panel("b", "sharpness", -1),
    Panel("c", "weight_norm", -1),
    Panel("d", "gradient_norm", 1),
    Panel("e", "gradient_parameter_ratio", 1, SMALL_STEP),
    Panel("f", "unit_sign_entropy", 1),
)


def requests(scale: Scale) -> dict[Key, Request]:
    return {
        (name, step): scale.request(agent, step_size=float(step), **arguments)
        for step in (STEP, SMALL_STEP)
        for name, (agent, arguments) in NETWORKS.items()
    }


def share_lost(data: pd.DataFrame, network: str, step_size: str) -> Array:
    accuracy = several_tasks(table(data, ACCURACY, layer=WHOLE, network=network, step_size=step_size))
    return np.asarray(1 - last_tenth(accuracy) / accuracy[:, 0])


def contradictions(data: pd.DataFrame, panel: Panel) -> dict[Pair, Array]:
    """Return by pair and seed how much more of its accuracy the first network loses, which is called healthier.

    An indicator's level is its mean over the last tenth of tasks; a pair's first network is the one that it calls
    healthier on the first seed. Seeds on which it calls neither healthier count as 0.

    Raises:
        DataError: fewer than two networks have the indicator.
    """
    ends: dict[str, tuple[Array, Array]] = {}
    for name in NETWORKS:
        try:
            level = final(data, panel.indicator, layer=WHOLE, network=name, step_size=panel.step_size)
        except DataError:  # not finished, or not defined for it
            continue
        ends[name] = share_lost(data, name, panel.step_size), level
    if len(ends) < 2:
        raise DataError(f"fewer than two finished networks have {panel.indicator}")
    pairs: dict[Pair, Array] = {}
    for first, second in permutations(ends, 2):
        (loss, level), (second_loss, second_level) = ends[first], ends[second]
        apart = panel.healthier * (level - second_level)
        if apart[0] < 0:  # this is the pair in the other order
            continue
        differs = np.abs(apart) > DIFFERENT * np.maximum(np.abs(level), np.abs(second_level))
        pairs[first, second] = np.where(differs, np.sign(apart) * (loss - second_loss), 0.0)
    return pairs


def worst_pair(data: pd.DataFrame, panel: Panel) -> tuple[Pair, Array]:
    """Return the pair that contradicts most on the first seed, and by how much on the other seeds, if any."""
    pairs = contradictions(data, panel)
    worst = max(pairs, key=lambda pair: float(pairs[pair][0]))
    return worst, pairs[worst][1:] if len(pairs[worst]) > 1 else pairs[worst]


def measure(data: pd.DataFrame, panel: Panel) -> Measured:
    (first, second), values = worst_pair(data, panel)
    measured = over_seeds(values, f"{first} called healthier than {second}")
    if data["seed"].nunique() > 1:
        return measured
    return replace(measured, note=f"{measured.note}; chosen and judged on the same seed")


def draw(data: pd.DataFrame, title: str) -> "Drawing":
    figure, axes = drawing.grid(title, 4, 3, height=2.0)
    for index, panel in enumerate(PANELS):
        row, column = 2 * (index // 3), index % 3
        upper, lower = axes[row, column], axes[row + 1, column]
        small = f"; step size {SMALL_STEP}" if panel.step_size == SMALL_STEP else ""
        text = f"({panel.letter}) {panel.more} {panel.name}\nis said to be healthier{small}"
        drawing.title_panel(upper, text)
        try:
            pair, _ = worst_pair(data, panel)
        except DataError:
            continue
        for network in pair:
            colour, labels = list(NETWORKS).index(network), {"network": network, "step_size": panel.step_size}
            for axis, indicator in ((upper, ACCURACY), (lower, panel.indicator)):
                drawing.draw_line(axis, by_task(data, indicator, layer=WHOLE, **labels), colour, network)
        upper.set_ylim(0, 1.02)
        if not column:
            upper.set_ylabel(ACCURACY, fontsize=8)
        lower.set_ylabel(panel.name, fontsize=8)
    return figure


def _claim(panel: Panel) -> Claim:
    return Claim(
        f"{panel.name} alone misleads",
        f"Fig. 1 {panel.letter}",
        f"{panel.name.capitalize()} alone does not predict loss of trainability: there are two networks of which the "
        f"one with {panel.more} of it, said to be healthier, loses more",
        "share of the first task's accuracy that is lost by the last tenth of tasks, of the network called healthier "
        "minus that of the other; of all pairs the one that contradicts most on the first seed, judged on the others",
        lambda data: measure(data, panel),
        Rule(low=FALL),
    )


FIGURE_1 = Figure(
    name="1",
    title="Pairs of networks of which a single indicator says the opposite of what happens",
    by=("network", "step_size"),
    requests=requests,
    data=lambda frames: per_task(frames, [panel.indicator for panel in PANELS], [WHOLE]),
    draw=draw,
    claims=tuple(map(_claim, PANELS)),
)

"""Fig. 1 a-f: of each single indicator, a pair of networks of which it says the opposite of what happens.

Which configurations stand in which panel is decided by the runs: of all pairs the one that contradicts most on the
first seed, judged on the others. The configurations are the paper's, and so is the step size of panel e.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from clbench.errors import DataError
from clbench.indicators import WHOLE
from clbench.plotting.curves import draw
from clbench.plotting.style import legend
from clbench.reproduce.claims import Claim, Measured, Rule, over_seeds
from clbench.reproduce.drawing import grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.frames import ACCURACY, Key, by_task, per_task, table
from clbench.reproduce.scale import Scale
from clbench.scoring import last_tenth
from clbench.sweeping.request import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

NETWORKS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "ReLU": ("agents.vanilla", {}),
    "LeakyReLU 0.7": ("agents.leaky_relu", {"slope": 0.7}),
    "LeakyReLU 0.3": ("agents.leaky_relu", {"slope": 0.3}),
    "deep linear": ("agents.deep_linear", {}),
    "BatchNorm, weight decay": ("agents.batchnorm", {}),
}
STEP, SMALL_STEP = "1e-3", "1e-5"
DIFFERENT = 0.1  # relative; indicators nearer to each other say nothing
MARGIN = 0.05


class Panel(NamedTuple):
    """An indicator, and which way it is said to point."""

    letter: str
    indicator: str
    healthier: int  # 1: more of it is said to be healthier; -1: less
    step_size: str = STEP

    @property
    def more(self) -> str:
        """Which way, in a word."""
        return "more" if self.healthier > 0 else "less"


PANELS = (
    Panel("a", "hessian_rank", 1),
    Panel("b", "sharpness", -1),
    Panel("c", "weight_norm", -1),
    Panel("d", "gradient_norm", 1),
    Panel("e", "gradient_parameter_ratio", 1, SMALL_STEP),
    Panel("f", "unit_sign_entropy", 1),
)


def cells(scale: Scale) -> dict[Key, Settings]:
    """Return every network at both step sizes."""
    return {
        (name, step): scale.cell(agent, step_size=float(step), **arguments)
        for step in (STEP, SMALL_STEP)
        for name, (agent, arguments) in NETWORKS.items()
    }


def comparisons(data: "pd.DataFrame", panel: Panel) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """Return by pair and seed: whether the indicator calls the first healthier, and how much less accurate that is.

    Accuracy and indicator are means over the last tenth of tasks.

    Raises:
        DataError: fewer than two networks have the indicator.
    """
    ends: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name in NETWORKS:
        try:
            ends[name] = (
                last_tenth(table(data, ACCURACY, WHOLE, network=name, step_size=panel.step_size)),
                last_tenth(table(data, panel.indicator, WHOLE, network=name, step_size=panel.step_size)),
            )
        except DataError:  # not finished, or not defined for it
            continue
    if len(ends) < 2:
        raise DataError(f"fewer than two finished networks have {panel.indicator}")
    found: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
    for one, (accuracy, level) in ends.items():
        for other, (its_accuracy, its_level) in ends.items():
            if one != other:
                apart = panel.healthier * (level - its_level)
                called = apart > DIFFERENT * np.maximum(np.abs(level), np.abs(its_level))
                found[one, other] = called, its_accuracy - accuracy
    return found


def pair_of(data: "pd.DataFrame", panel: Panel) -> tuple[tuple[str, str], np.ndarray]:
    """Return the pair that contradicts most on the first seed, and by how much on the other seeds, if there are any.

    On a seed where the indicator does not call the first healthier, it is minus the distance of accuracies.
    """
    found = comparisons(data, panel)
    pair = max(found, key=lambda one: tuple(values[0] for values in found[one]))
    called, behind = found[pair]
    values = np.where(called, behind, -np.abs(behind))
    return pair, values[1:] if len(values) > 1 else values


def measure(data: "pd.DataFrame", panel: Panel) -> Measured:
    """Return how much less accurate the network is that the indicator calls healthier."""
    (called, other), values = pair_of(data, panel)
    judged = over_seeds(values, f"{called} called healthier than {other}")
    if table(data, network=called, step_size=panel.step_size).shape[0] > 1:
        return judged
    return Measured(judged.value, 1, f"{judged.note}; chosen and judged on the same seed")


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw the six pairs: accuracy, and the indicator below it."""
    figure, axes = grid(title, 4, 3, height=2.0)
    for place, panel in enumerate(PANELS):
        row, column = 2 * (place // 3), place % 3
        upper, lower = axes[row, column], axes[row + 1, column]
        name = panel.indicator.replace("_", " ")
        small = f"; step size {SMALL_STEP}" if panel.step_size == SMALL_STEP else ""
        head(upper, f"({panel.letter}) {panel.more} {name} is said to be healthier{small}")
        try:
            pair, _ = pair_of(data, panel)
        except DataError:
            continue
        for network in pair:
            index, labels = list(NETWORKS).index(network), {"network": network, "step_size": panel.step_size}
            draw(upper, by_task(data, ACCURACY, WHOLE, **labels), index, network)
            draw(lower, by_task(data, panel.indicator, WHOLE, **labels), index, network)
        upper.set_ylim(0, 1.02)
        if not column:
            upper.set_ylabel(ACCURACY, fontsize=8)
        lower.set_ylabel(name, fontsize=8)
    legend(figure)
    return figure


def _claim(panel: Panel) -> Claim:
    name = panel.indicator.replace("_", " ")
    return Claim(
        f"{name} alone misleads",
        f"Fig. 1 {panel.letter}",
        f"{name.capitalize()} alone does not predict loss of trainability: of two networks the one with {panel.more} "
        "of it, said to be healthier, can be the less accurate one",
        "accuracy over the last tenth of tasks, of the other network minus that of the one called healthier; pair "
        "chosen on the first seed, judged on the others",
        lambda data: measure(data, panel),
        Rule(low=MARGIN),
    )


FIGURE = Figure(
    name="1",
    title="Pairs of networks of which a single indicator says the opposite of what happens",
    by=("network", "step_size"),
    cells=cells,
    data=lambda frames: per_task(frames, [panel.indicator for panel in PANELS], [WHOLE]),
    draw=drawing,
    claims=tuple(map(_claim, PANELS)),
)

"""Which indicator predicts? Every one that is recorded, over a grid of learners, step sizes, strengths and streams."""

from typing import TYPE_CHECKING

import numpy as np

from clbench.errors import DataError
from clbench.reproduce.claims import Claim, Measured, Rule
from clbench.reproduce.drawing import dots, grid, head
from clbench.reproduce.figure import Figure
from clbench.reproduce.figures.fig1 import NETWORKS, PANELS, SMALL_STEP, STEP
from clbench.reproduce.frames import ACCURACY, Key
from clbench.reproduce.learners import LEARNERS, SCHEDULED, variant
from clbench.reproduce.predicting import predictors
from clbench.reproduce.scale import Scale
from clbench.scoring import Estimate
from clbench.sweeping.request import Settings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as Drawing

BOUND = "rho"
SINGLE = [panel.indicator for panel in PANELS]
PERMUTED = "PermutedMNIST-v0"
NUMBERS = {
    "auc": ("area under the ROC curve:\naccuracy falls within three tasks", 0.5),
    "correlation": ("rank correlation with\nthe next task's accuracy", 0.0),
    "lead": ("lead: tasks from the first\nalarm to the first fall", 0.0),
    "false_alarms": ("false alarms: share of tasks\nthat no fall follows", 0.0),
}


def cells(scale: Scale) -> dict[Key, Settings]:
    """Return the grid: each entry differs from a usual setting in one thing; many are in other figures, too."""
    found: dict[str, Settings] = {}
    for step in (STEP, SMALL_STEP):
        for name, (agent, arguments) in NETWORKS.items():
            found[f"{name}, {step}"] = scale.cell(agent, step_size=float(step), **arguments)
    for step in ("1e-4", "3e-3"):
        found[f"ReLU, {step}"] = scale.cell("agents.vanilla", step_size=float(step))
    for learner, (agent, _) in LEARNERS.items():
        found[learner] = scale.cell(agent)
        found[f"{learner}, {SCHEDULED}"] = variant(scale, learner, SCHEDULED)
    for step in (SMALL_STEP, "1e-4"):
        found[f"L2, {step}"] = scale.cell("agents.l2", step_size=float(step))
    for strength in ("1e-4", "1e-2"):
        found[f"L2, strength {strength}"] = scale.cell("agents.l2", strength=float(strength))
    for name, (agent, arguments) in {
        **NETWORKS,
        "L2": ("agents.l2", {}),
        "CReLU": ("agents.crelu", {}),
    }.items():
        if name in ("ReLU", "LeakyReLU 0.7", "L2", "CReLU"):
            found[f"{name}, permuted"] = scale.cell(agent, env=PERMUTED, **arguments)
    return {(name,): settings for name, settings in found.items()}


def area(data: "pd.DataFrame", indicators: list[str]) -> tuple[str, Estimate]:
    """Return the one with the greatest area under the curve, and that with its interval."""
    found = data[data["indicator"].isin(indicators) & data["auc"].notna()]
    if not len(found):
        raise DataError("what the claim is about did not occur")
    best = found.sort_values("auc").iloc[-1]
    return best["indicator"], Estimate(best["auc"], best["auc_low"], best["auc_high"])


def best_single(data: "pd.DataFrame") -> Measured:
    """Return the greatest area under the curve of the paper's single indicators."""
    name, value = area(data, SINGLE)
    return Measured(value, int(data["configurations"].max()), name)


def advantage(data: "pd.DataFrame") -> Measured:
    """Return the area of the combined bound, minus the greatest one of the single indicators."""
    (name, other), (_, own) = area(data, SINGLE), area(data, [BOUND])
    ends = (own.mean - other.mean, own.low - other.mean, own.high - other.mean)
    return Measured(Estimate(*ends), int(data["configurations"].max()), f"the best single one is {name}")


def drawing(data: "pd.DataFrame", title: str) -> "Drawing":
    """Draw a row per indicator, best above, a panel per number."""
    figure, axes = grid(title, 1, len(NUMBERS), "", height=1.0 + 0.17 * len(data))
    rows = np.arange(len(data))[::-1]
    for place, (one, (name, (text, neutral))) in enumerate(zip(axes[0], NUMBERS.items(), strict=True)):
        one.axvline(neutral, color="0.6", linewidth=1)
        for index, chosen in enumerate((data["indicator"].isin(SINGLE), ~data["indicator"].isin(SINGLE))):
            dots(one, rows[chosen], data[chosen], name, index)
        one.set_yticks(
            rows, data["indicator"].str.replace("_", " ") if not place else [""] * len(rows), fontsize=7
        )
        one.set_ylim(-0.7, len(rows) - 0.3)
        head(one, text)
    return figure


FIGURE = Figure(
    name="predictors",
    title=f"Which indicator predicts? Blue: the paper's single indicators; {ACCURACY}: of the task itself",
    by=("configuration",),
    cells=cells,
    data=predictors,
    draw=drawing,
    table=("indicator", "alarm_when", *NUMBERS, "configurations", "falling_runs"),
    claims=(
        Claim(
            "no single indicator is reliable",
            "Abstract, Section 4",
            "Hessian rank, sharpness, weight and gradient norm, their ratio and unit-sign entropy, each alone, do not "
            "reliably predict loss of trainability",
            "area under the ROC curve, accuracy falling within three tasks, of the best of the six",
            best_single,
            Rule(high=0.8),
        ),
        Claim(
            "the bound predicts better",
            "Abstract, Section 5",
            "The share of decisions above the combined bound anticipates loss of trainability where single indicators "
            "do not",
            "the same area, of rho, minus that of the best of the six; interval of rho's",
            advantage,
            Rule(low=0),
        ),
    ),
)

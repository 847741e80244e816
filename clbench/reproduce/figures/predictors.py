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
from clbench.reproduce.predicting import AHEAD, COUNTS, predictors, recorded
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
    "auc_within": ("the same, within\nconfigurations", 0.5),
    "auc_between": ("the same, of a constant\nper configuration", 0.5),
    "correlation": ("rank correlation with\nthe next task's accuracy", 0.0),
    "within_runs": ("the correlation\nwithin runs", 0.0),
    "lead": ("lead: tasks of alarm before\nthe first fall (dotted: possible)", 0.0),
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


def best_single(data: "pd.DataFrame") -> Measured:
    """Return the greatest area under the curve of the paper's single indicators."""
    found = data[data["indicator"].isin(SINGLE)].dropna(subset="auc").sort_values("auc").tail(1)
    return _number(found, "auc", " ".join(found["indicator"]))


def advantage(data: "pd.DataFrame") -> Measured:
    """Return the area of the combined bound, minus that of the best of the single indicators."""
    return _number(data[data["indicator"] == BOUND].dropna(subset=AHEAD), AHEAD)


def _number(row: "pd.DataFrame", name: str, note: str = "") -> Measured:
    if row.empty:
        raise DataError("what the claim is about did not occur")
    mean, low, high = (float(row[f"{name}{end}"].iloc[0]) for end in ("", "_low", "_high"))
    return Measured(Estimate(mean, low, high), int(row["configurations"].iloc[0]), note)


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
        if name == "lead":
            one.axvline(data["lead_possible"].max(), color="0.6", linewidth=1, linestyle=":")
        head(one, text)
    return figure


FIGURE = Figure(
    name="predictors",
    title=f"Which indicator predicts? Blue: the paper's single indicators; {ACCURACY}: of the task itself",
    by=("configuration",),
    cells=cells,
    data=recorded,
    summary=lambda data: predictors(data, SINGLE),
    draw=drawing,
    table=("indicator", "alarm_when", *NUMBERS, AHEAD, *COUNTS),
    claims=(
        Claim(
            "no single indicator is reliable",
            "Abstract, Section 4",
            "Hessian rank, sharpness, weight and gradient norm, their ratio and unit-sign entropy, each alone, do not "
            "reliably predict loss of trainability",
            "area under the ROC curve, accuracy falling within three tasks, of the best of the six, each measured on a "
            "task's last batch",
            best_single,
            Rule(high=0.8),
        ),
        Claim(
            "the bound predicts better",
            "Abstract, Section 5",
            "The share of decisions above the combined bound anticipates loss of trainability where single indicators "
            "do not",
            "the same area, of rho (over a task's decisions) minus that of the best of the six, where both were "
            "measured",
            advantage,
            Rule(low=0),
        ),
    ),
)

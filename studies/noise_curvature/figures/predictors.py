"""Which indicator predicts? All of them, recorded over a grid of learners, step sizes, strengths and streams."""

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from clbench.errors import DataError
from clbench.scoring import Estimate
from studies.noise_curvature import drawing
from studies.noise_curvature.claims import Claim, Figure, Measured, Rule
from studies.noise_curvature.figures.misleading import NETWORKS, PANELS, SMALL_STEP, STEP
from studies.noise_curvature.frames import ACCURACY, Key
from studies.noise_curvature.predicting import AHEAD, COUNTS, indicator_table, rank_indicators
from studies.noise_curvature.runs import Request
from studies.noise_curvature.scale import LEARNERS, Scale, variant

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

BOUND = "rho"
SINGLE = [panel.indicator for panel in PANELS]
PERMUTED = {
    **{name: NETWORKS[name] for name in ("ReLU", "LeakyReLU 0.7")},
    **{name: (LEARNERS[name][0], {}) for name in ("L2", "CReLU")},
}
SCORES = {
    "auc": ("area under the ROC curve:\naccuracy falls within three tasks", 0.5),
    "auc_within": ("the same, within\nconfigurations", 0.5),
    "auc_between": ("the same, of a constant\nper configuration", 0.5),
    "correlation": ("rank correlation with\nthe next task's accuracy", 0.0),
    "within_runs": ("the correlation\nwithin runs", 0.0),
    "lead": ("lead: tasks of alarm before\nthe first fall (dotted: possible)", 0.0),
    "false_alarms": ("false alarms: share of tasks\nthat no fall follows", 0.0),
}
"""A panel's title by score, and the value that says nothing."""


def requests(scale: Scale) -> dict[Key, Request]:
    """Return the grid: each entry differs from a usual setting in one thing; other figures share many of them."""
    grid: dict[str, Request] = {}
    for step in (STEP, SMALL_STEP):
        for name, (agent, arguments) in NETWORKS.items():
            grid[f"{name}, {step}"] = scale.request(agent, step_size=float(step), **arguments)
    for step in ("1e-4", "3e-3"):
        grid[f"ReLU, {step}"] = scale.request("agents.vanilla", step_size=float(step))
    for learner, (agent, _) in LEARNERS.items():
        grid[learner] = scale.request(agent)
        grid[f"{learner}, scheduled"] = variant(scale, learner, "scheduled")
    for step in (SMALL_STEP, "1e-4"):
        grid[f"L2, {step}"] = scale.request("agents.l2", step_size=float(step))
    for strength in ("1e-4", "1e-2"):
        grid[f"L2, strength {strength}"] = scale.request("agents.l2", strength=float(strength))
    for name, (agent, arguments) in PERMUTED.items():
        grid[f"{name}, permuted"] = scale.request(agent, env="PermutedMNIST-v0", **arguments)
    return {(name,): request for name, request in grid.items()}


def best_single(data: pd.DataFrame) -> Measured:
    best = data[data["indicator"].isin(SINGLE)].dropna(subset="auc").sort_values("auc").tail(1)
    return _measured(best, "auc", " ".join(best["indicator"]))


def advantage(data: pd.DataFrame) -> Measured:
    return _measured(data[data["indicator"] == BOUND].dropna(subset=AHEAD), AHEAD)


def _measured(row: pd.DataFrame, name: str, note: str = "") -> Measured:
    if row.empty:
        raise DataError("what the claim is about did not occur")
    mean, low, high = (float(row[f"{name}{end}"].iloc[0]) for end in ("", "_low", "_high"))
    return Measured(Estimate(mean, low, high, int(row["configurations"].iloc[0])), note)


def draw(data: pd.DataFrame, title: str) -> "Drawing":
    figure, axes = drawing.grid(title, 1, len(SCORES), "", height=1.0 + 0.17 * len(data))
    heights = np.arange(len(data))[::-1]
    single = data["indicator"].isin(SINGLE).to_numpy()
    for column, (panel, (name, (text, neutral))) in enumerate(zip(axes[0], SCORES.items(), strict=True)):
        panel.axvline(neutral, color="0.6", linewidth=1)
        for index, rows in enumerate((single, ~single)):
            drawing.draw_estimates(panel, heights[rows], data[rows], name, index)
        names = [""] * len(data) if column else data["indicator"].str.replace("_", " ")
        panel.set_yticks(heights, names, fontsize=7)
        panel.set_ylim(-0.7, len(data) - 0.3)
        if name == "lead":
            panel.axvline(data["lead_possible"].max(), color="0.6", linewidth=1, linestyle=":")
        drawing.title_panel(panel, text)
    return figure


PREDICTORS = Figure(
    name="predictors",
    title=f"Which indicator predicts? Blue: the paper's single indicators; {ACCURACY}: of the task itself",
    by=("configuration",),
    requests=requests,
    data=indicator_table,
    summary=lambda data: rank_indicators(data, SINGLE),
    draw=draw,
    table=("indicator", "alarm_when", *SCORES, AHEAD, *COUNTS),
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

"""The paper's figures, and two more on what it leaves open, by name in the order of the paper."""

from collections.abc import Mapping

from studies.noise_curvature.claims import Figure
from studies.noise_curvature.figures.bounds import FIGURE_2, FIGURE_3, FIGURE_4_TOP, FIGURE_8
from studies.noise_curvature.figures.misleading import FIGURE_1
from studies.noise_curvature.figures.predictors import PREDICTORS
from studies.noise_curvature.figures.reasons import REASONS
from studies.noise_curvature.figures.schedulers import (
    FIGURE_4_BOTTOM,
    FIGURE_5,
    FIGURE_6,
    FIGURE_7,
    FIGURE_9_10,
)

FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        *(FIGURE_1, FIGURE_2, FIGURE_3, FIGURE_4_TOP, FIGURE_4_BOTTOM, FIGURE_5),
        *(FIGURE_6, FIGURE_7, FIGURE_8, FIGURE_9_10, PREDICTORS, REASONS),
    )
}

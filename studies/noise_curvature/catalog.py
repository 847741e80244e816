"""All figures by name."""

from collections.abc import Mapping

from studies.noise_curvature.figure import Figure
from studies.noise_curvature.figures import (
    accuracy,
    bounds,
    misleading,
    prediction,
    predictors,
    reasons,
    step_sizes,
    volatility,
)

FIGURES: Mapping[str, Figure] = {
    figure.name: figure
    for figure in (
        misleading.FIGURE_1,
        volatility.FIGURE_2,
        bounds.FIGURE_3,
        prediction.FIGURE_4_TOP,
        accuracy.FIGURE_4_BOTTOM,
        step_sizes.FIGURE_5,
        accuracy.FIGURE_6,
        accuracy.FIGURE_7,
        bounds.FIGURE_8,
        step_sizes.FIGURE_9_10,
        predictors.FIGURE,
        reasons.FIGURE,
    )
}
"""In the order of the paper."""

"""The figures, a module each."""

from collections.abc import Mapping

from clbench.reproduce.figure import Figure
from clbench.reproduce.figures import (
    fig1,
    fig2,
    fig3,
    fig4_bottom,
    fig4_top,
    fig5,
    fig6,
    fig7,
    fig8,
    fig9_10,
    predictors,
    reasons,
)

_MODULES = (fig1, fig2, fig3, fig4_top, fig4_bottom, fig5, fig6, fig7, fig8, fig9_10, predictors, reasons)

FIGURES: Mapping[str, Figure] = {module.FIGURE.name: module.FIGURE for module in _MODULES}
"""By name, in the order of the paper; last what the paper leaves open."""

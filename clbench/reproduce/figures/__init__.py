"""The figures, a module each."""

from collections.abc import Mapping

from clbench.reproduce.figure import Figure
from clbench.reproduce.figures import fig4_bottom

FIGURES: Mapping[str, Figure] = {module.FIGURE.name: module.FIGURE for module in (fig4_bottom,)}
"""By name, in the order of the paper."""

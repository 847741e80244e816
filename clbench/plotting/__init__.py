"""Figures from records. Functions return figures; nobody here writes a file."""

from clbench.plotting.comparison import comparison as comparison
from clbench.plotting.curves import curves as curves
from clbench.plotting.indicators import indicator_figures as indicator_figures
from clbench.plotting.sensitivity import sensitivity as sensitivity

"""Figures from records. Functions return figures and write no files."""

from clbench.plotting.curves import accuracy_curves as accuracy_curves
from clbench.plotting.curves import comparison as comparison
from clbench.plotting.curves import curves as curves
from clbench.plotting.indicators import indicator_figures as indicator_figures
from clbench.plotting.sensitivity import sensitivity as sensitivity
from clbench.plotting.style import as_bytes as as_bytes

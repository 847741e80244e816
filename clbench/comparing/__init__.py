"""Differences between recorded runs, seed by seed. Pure: nothing is read or written."""

from clbench.comparing.comparison import Comparison, Row, compare
from clbench.comparing.entries import Entry, list_seeds

__all__ = ["Comparison", "Entry", "Row", "compare", "list_seeds"]

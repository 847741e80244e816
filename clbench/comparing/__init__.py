"""Differences between agents, in one run or in several, seed by seed. Pure: nothing is read or written."""

from clbench.comparing.differences import Comparison, Row, compare
from clbench.comparing.entries import Entry, entries_of

__all__ = ["Comparison", "Entry", "Row", "compare", "entries_of"]

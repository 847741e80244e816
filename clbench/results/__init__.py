"""The only writer and reader of run folders. Every file appears whole or not at all."""

from clbench.results.folder import RUN, RunFolder, columns, frame
from clbench.results.states import States

__all__ = ["RUN", "RunFolder", "States", "columns", "frame"]

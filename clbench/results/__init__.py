"""The only writer and reader of run folders. Every file appears whole or not at all."""

from clbench.results.folder import LOG, RUN, RunFolder, columns, frame
from clbench.results.loading import KeptRun, Results, fact, find_runs, load_results
from clbench.results.states import States

__all__ = [
    "LOG",
    "RUN",
    "KeptRun",
    "Results",
    "RunFolder",
    "States",
    "columns",
    "fact",
    "find_runs",
    "frame",
    "load_results",
]

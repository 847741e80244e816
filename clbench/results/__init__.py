"""The only writer and reader of run folders. Every file is written whole or not at all."""

from clbench.results.checkpoints import Checkpoints
from clbench.results.folder import LOG, RUN, RunFolder
from clbench.results.loading import Results, StoredRun, find_runs, load_results
from clbench.results.manifest import RunManifest
from clbench.results.tables import columns, frame

__all__ = [
    "LOG",
    "RUN",
    "Checkpoints",
    "Results",
    "RunFolder",
    "RunManifest",
    "StoredRun",
    "columns",
    "find_runs",
    "frame",
    "load_results",
]

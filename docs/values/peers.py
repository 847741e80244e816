"""Values of what `python -m benchmarks.peers` has written."""

from benchmarks.peers import table
from values.base import DOCS, value


@value
def peers() -> str:
    """Return a table of other projects' learners."""
    return table.table(table.read(DOCS / "benchmarks" / "peers.csv"))

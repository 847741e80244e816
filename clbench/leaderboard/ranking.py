"""Rows and ranks of the leaderboard."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from clbench.leaderboard.submission import Entry
from clbench.registration import STREAMS
from clbench.scoring import SCORES, Estimate, ranks
from clbench.specs import PROTOCOLS

Board = tuple[str, str, str]
"""What submissions are ranked within: stream, protocol, and "untuned" or "tuned"."""


@dataclass(frozen=True)
class Row:
    """A ranked submission; a rank is shared by entries that cannot be told apart."""

    rank: int
    entry: Entry
    board: Board

    @property
    def seeds(self) -> int:
        return len(self.entry.submission.run.config.seeds)

    @property
    def boundaries(self) -> str:
        """Whether its agent is told them."""
        return self.entry.submission.run.config.stream.boundaries

    def score(self, name: str) -> Estimate:
        estimate: Estimate = getattr(self.entry.scores, name)
        return estimate

    @property
    def curve(self) -> list[float]:
        tasks = defaultdict[int, list[float]](list)
        for record in self.entry.records:
            tasks[record.task].append(record.accuracy)
        return [sum(values) / len(values) for _, values in sorted(tasks.items())]


def rank(entries: Iterable[Entry]) -> list[Row]:
    """Return rows, board by board, best first.

    Ranks are by average task accuracy, see `clbench.scoring.ranks`. Rows are in the order of the means: where seeds
    differ so much that nothing can beat an entry, its rank is better than its mean.
    """
    boards = defaultdict[Board, list[Entry]](list)
    for entry in entries:
        boards[board_of(entry)].append(entry)
    streams, protocols = list(STREAMS), list(PROTOCOLS)
    order = sorted(
        boards, key=lambda board: (streams.index(board[0]), -protocols.index(board[1]), board[2] == "tuned")
    )
    rows = []
    for board in order:
        ranked = ranks({entry.name: entry.by_seed[SCORES[0]] for entry in boards[board]})
        members = [Row(ranked[entry.name], entry, board) for entry in boards[board]]
        rows += sorted(members, key=lambda row: (-row.score(SCORES[0]).mean, row.rank, row.entry.name))
    return rows


def board_of(entry: Entry) -> Board:
    config = entry.submission.run.config
    return config.stream.id, config.protocol, "tuned" if entry.submission.about.tuned else "untuned"

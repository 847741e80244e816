"""Rows and ranks of the leaderboard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clbench.leaderboard.submission import Entry
from clbench.registration import STREAMS
from clbench.scoring import SCORES, Estimate, ranks
from clbench.specs import PROTOCOLS


@dataclass(frozen=True)
class Row:
    """A submission in its place.

    Attributes:
        rank: from 1, within stream, protocol and track; shared by entries that cannot be told apart.
        entry: the submission.
    """

    rank: int
    entry: Entry

    @property
    def seeds(self) -> int:
        """How many seeds it has."""
        return len(self.entry.submission.seeds)

    @property
    def board(self) -> tuple[str, str, str]:
        """Stream, protocol and track."""
        return board_of(self.entry)

    def score(self, name: str) -> Estimate:
        """Return one of the submission's scores, as its records give it."""
        found: Estimate = getattr(self.entry.scores, name)
        return found

    @property
    def curve(self) -> list[float]:
        """Task accuracy of each task, mean over seeds."""
        tasks: dict[int, list[float]] = {}
        for record in self.entry.records:
            tasks.setdefault(record.task, []).append(record.accuracy)
        return [sum(values) / len(values) for _, values in sorted(tasks.items())]


def board_of(entry: Entry) -> tuple[str, str, str]:
    """Return what a submission is ranked within: stream, protocol, and "untuned" or "tuned"."""
    data = entry.submission
    return data.stream["id"], data.protocol, "tuned" if data.tuned else "untuned"


def rank(entries: Iterable[Entry]) -> list[Row]:
    """Return rows, board by board, best first.

    Ranks are by average task accuracy, see `clbench.scoring.ranks`. Rows are in the order of the means: a rank is good,
    too, where seeds differ so much that nothing can beat them.
    """
    boards: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        boards.setdefault(board_of(entry), []).append(entry)
    streams, protocols = list(STREAMS), list(PROTOCOLS)
    order = sorted(
        boards,
        key=lambda board: (streams.index(board[0]), -protocols.index(board[1]), board[2] == "tuned"),
    )
    return [row for board in order for row in _ranked(boards[board])]


def _ranked(entries: Sequence[Entry]) -> list[Row]:
    places = ranks({entry.name: entry.by_seed[SCORES[0]] for entry in entries})
    rows = [Row(places[entry.name], entry) for entry in entries]
    return sorted(rows, key=lambda row: (-row.score("average_task_accuracy").mean, row.rank, row.entry.name))

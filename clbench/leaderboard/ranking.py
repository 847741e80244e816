"""Rows and ranks of the leaderboard."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clbench.leaderboard.submission import Entry
from clbench.scoring import Estimate
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
    def board(self) -> tuple[str, str, str]:
        """Stream, protocol and track."""
        return board_of(self.entry)

    def score(self, name: str) -> Estimate:
        """Return one of the submission's scores."""
        return Estimate(**self.entry.submission.scores[name])

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

    Entries are ordered by average task accuracy. One whose interval reaches that of the best entry of the rank above it
    shares that rank; the next rank counts all who stand before it.
    """
    boards: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        boards.setdefault(board_of(entry), []).append(entry)
    protocols = list(PROTOCOLS)
    order = sorted(boards, key=lambda board: (board[0], -protocols.index(board[1]), board[2] == "tuned"))
    return [row for board in order for row in _ranked(boards[board])]


def _ranked(entries: Sequence[Entry]) -> list[Row]:
    rows: list[Row] = []
    best, place = None, 1
    ordered = sorted(entries, key=lambda entry: (-_average(entry).mean, entry.name))
    for index, entry in enumerate(ordered):
        if best is None or _average(entry).high < best.low:
            best, place = _average(entry), index + 1
        rows.append(Row(place, entry))
    return rows


def _average(entry: Entry) -> Estimate:
    return Estimate(**entry.submission.scores["average_task_accuracy"])

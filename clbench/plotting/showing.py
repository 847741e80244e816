"""Results as a shell or a notebook displays them: a few lines, or a table and curves."""

import base64
import html
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from clbench.plotting.isolation import optional
from clbench.plotting.style import as_bytes
from clbench.scoring import Score

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST = 8
"""Entries that a text lists; the others are counted."""
WIDTH = 640  # pixels


def as_text(title: str, lines: Sequence[str], footer: str = "") -> str:
    """Return a title, the first lines below it, and a footer.

    >>> print(as_text("2 runs", ["a  0.5", "b  0.4"], "in results/"))
    2 runs
      a  0.5
      b  0.4
      in results/
    """
    more = [f"... and {len(lines) - MOST} more"] if len(lines) > MOST else []
    return "\n  ".join(filter(None, [title, *lines[:MOST], *more, footer]))


def as_html(title: str, table: "pd.DataFrame", draw: Callable[[], "Figure"]) -> str:
    """Return a title, a table and a figure as HTML; without the figure if it cannot be drawn."""
    parts = [
        f"<p>{html.escape(title)}</p>",
        table.to_html(index=False, na_rep="", float_format="{:.3f}".format),
    ]
    notes: list[str] = []
    with optional(notes.append, "no figure"):
        data = base64.b64encode(as_bytes(draw(), "png")).decode()
        parts.append(f'<img width="{WIDTH}" alt="curves" src="data:image/png;base64,{data}">')
    return "\n".join([*parts, *(f"<p>{html.escape(note)}</p>" for note in notes)])


def score_frame(scores: Iterable[tuple[str, Score | None]]) -> "pd.DataFrame":
    """Return a short table of labelled scores; None for one that there is not yet."""
    import pandas as pd

    columns = ["agent", "n", "average task accuracy", "first task", "last 10 %", "slope per task"]
    rows = [
        (label, 0, "", *[float("nan")] * 3)
        if score is None
        else (
            label,
            score.seeds,
            str(score.average_task_accuracy),
            score.first_task.mean,
            score.last_tenth.mean,
            score.slope.mean,
        )
        for label, score in scores
    ]
    table: pd.DataFrame = pd.DataFrame(rows, columns=columns)
    return table

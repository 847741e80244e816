"""The leaderboard to look at: tables in `leaderboard/README.md` and a page of its own."""

import base64
import hashlib
import html
import shlex
from collections.abc import Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from clbench.errors import SubmissionError
from clbench.intervals import why_ties
from clbench.leaderboard.checking import SUBMISSIONS
from clbench.leaderboard.ranking import Row
from clbench.results.files import write_whole
from clbench.scoring import Estimate

README, PAGE = "README.md", "index.html"
BEGIN, END = (
    "<!-- leaderboard: made by `python -m clbench.leaderboard build` -->",
    "<!-- leaderboard: end -->",
)
NEW_README = f"# Leaderboard\n\n{BEGIN}\n{END}\n"
COLUMNS = ("rank", "submission", "n", "average task accuracy", "last 10 %", "slope", "cost", "links")


def build(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write table and page into `folder`; return their paths.

    Raises:
        SubmissionError: the README lacks the markers that the table goes between.
        WriteError: the folder cannot be written.
    """
    readme = folder / README
    text = readme.read_text(encoding="utf-8") if readme.exists() else NEW_README
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SubmissionError(f"'{readme}' must have the line {BEGIN} once, and after it the line {END} once")
    head, _, rest = text.partition(BEGIN)
    text = f"{head}{BEGIN}\n\n{tables(rows)}\n{END}{rest.partition(END)[2]}"
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(readme, lambda path: path.write_text(text, encoding="utf-8"))
    write_whole(folder / PAGE, lambda path: path.write_text(page(rows), encoding="utf-8"))
    return [readme, folder / PAGE]


def tables(rows: Sequence[Row]) -> str:
    """Return a Markdown table for each stream, protocol and track."""
    parts = []
    for (stream, protocol, track), board in groupby(rows, key=lambda row: row.board):
        own = list(board)
        parts.append(f"### {stream}, {protocol}, {track}\n")
        parts.append("| " + " | ".join(COLUMNS) + " |")
        parts.append("|" + "---|" * len(COLUMNS))
        parts += [f"| {' | '.join(_cells(row))} |" for row in own]
        parts.append("")
        if text := why_ties([row.seeds for row in own]):
            parts.append(f"{text}\n")
    return "\n".join(parts) if parts else "No submissions yet.\n"


def _cells(row: Row) -> list[str]:
    data = row.entry.submission
    name = f"[{data.name}]({data.code})" if data.code else data.name
    links = [
        f"[source]({SUBMISSIONS}/{data.name}/{data.agent['file']})",
        f"[data]({SUBMISSIONS}/{data.name})",
    ]
    if data.paper:
        links.append(f"[paper]({data.paper})")
    return [
        str(row.rank),
        name,
        str(row.seeds),
        interval(row.score("average_task_accuracy")),
        f"{row.score('last_tenth').mean:.3f}",
        f"{row.score('slope').mean:+.4f}",
        f"{data.cost['relative_to_vanilla']:.2f}",
        " ".join(links),
    ]


def interval(estimate: Estimate) -> str:
    """Return mean and interval.

    >>> interval(Estimate(0.5, 0.4, 0.6))
    '0.500 [0.400, 0.600]'
    """
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def page(rows: Sequence[Row]) -> str:
    """Return the page: one HTML file that asks for nothing else."""
    templates = files("clbench.leaderboard") / "templates"
    style, script = ((templates / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    boards = list(dict.fromkeys(row.board for row in rows))
    choices = [list(dict.fromkeys(board[index] for board in boards)) for index in range(3)]
    filled = {
        "POLICY": f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'",
        "STYLE": style,
        "SCRIPT": script,
        "STREAMS": _options(choices[0]),
        "PROTOCOLS": _options(choices[1]),
        "TRACKS": _options(choices[2]),
        "ROWS": "\n".join(_row(row) for row in rows),
        "COUNT": str(len(rows)),
        "TIES": "\n".join(_ties(rows)),
    }
    text = (templates / "page.html").read_text(encoding="utf-8")
    parts = text.split("%%")  # text, name, text, name, ..., text
    return "".join(filled[part] if index % 2 else part for index, part in enumerate(parts))


def _ties(rows: Sequence[Row]) -> list[str]:
    """Return a paragraph for each stream, protocol and track whose seeds are too few to tell much apart."""
    found = []
    for (stream, protocol, track), board in groupby(rows, key=lambda row: row.board):
        if text := why_ties([row.seeds for row in board]):
            where = (
                f'data-stream="{_safe(stream)}" data-protocol="{_safe(protocol)}" data-track="{_safe(track)}"'
            )
            found.append(f'<p class="ties" {where}>{_safe(f"{stream}, {protocol}, {track}: {text}")}</p>')
    return found


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _options(values: Sequence[str]) -> str:
    return "".join(f'<option value="{_safe(value)}">{_safe(value)}</option>' for value in values)


def _safe(text: object) -> str:
    return html.escape(str(text), quote=True)


def _row(row: Row) -> str:
    data = row.entry.submission
    stream, protocol, track = row.board
    average, tenth, slope = (row.score(name) for name in ("average_task_accuracy", "last_tenth", "slope"))
    own = f"{SUBMISSIONS}/{data.name}"
    links = [
        (f"{own}/{data.agent['file']}", "source"),
        (f"{own}/tasks.csv", "tasks"),
        (f"{own}/submission.json", "run"),
    ]
    links += [(url, what) for url, what in ((data.code, "code"), (data.paper, "paper")) if url]
    anchors = " ".join(
        f'<a href="{_safe(url)}" rel="nofollow noopener" aria-label="{_safe(what)} of {_safe(data.name)}">{what}</a>'
        for url, what in links
    )
    arguments = ", ".join(f"{key}={value}" for key, value in data.agent["arguments"].items())
    about = [("agent", data.agent["reference"]), ("arguments", arguments or "none")]
    about += [("command", shlex.join(map(str, data.run["command"])))]
    about += [("seeds", len(data.seeds)), ("licence", data.licence), ("torch", data.run["versions"]["torch"])]
    about += [(what, text) for what, text in (("tuned", data.tuned), ("contact", data.contact)) if text]
    details = "".join(f"<dt>{what}</dt><dd>{_safe(text)}</dd>" for what, text in about)
    cells = [
        ("rank", row.rank, str(row.rank)),
        ("seeds", row.seeds, str(row.seeds)),
        ("average", average.mean, f"{_bar(average)}<span>{interval(average)}</span>"),
        ("tenth", tenth.mean, f"{tenth.mean:.3f}"),
        ("slope", slope.mean, f"{slope.mean:+.4f}"),
        ("cost", data.cost["relative_to_vanilla"], f"{data.cost['relative_to_vanilla']:.2f}"),
    ]
    numbers = [
        f'<td role="cell" class="{kind}" data-value="{value:.9g}">{text}</td>' for kind, value, text in cells
    ]
    name = f'<th role="rowheader" scope="row" data-value="{_safe(data.name)}"><details>'
    name += f"<summary>{_safe(data.name)}</summary><dl>{details}</dl></details></th>"
    place = "".join(
        f'<td role="cell" class="{kind}" data-value="{_safe(value)}">{_safe(value)}</td>'
        for kind, value in zip(("stream", "protocol", "track"), row.board, strict=True)
    )
    curve = f'<td role="cell" class="curve" data-value="{row.curve[-1]:.9g}">{_curve(row)}</td>'
    attributes = (
        f'data-stream="{_safe(stream)}" data-protocol="{_safe(protocol)}" data-track="{_safe(track)}"'
    )
    body = f"{numbers[0]}{name}{''.join(numbers[1:])}{curve}{place}"
    return f'<tr role="row" {attributes}>{body}<td role="cell" class="links">{anchors}</td></tr>'


def _bar(estimate: Estimate) -> str:
    """Draw mean and interval, cut at 0 and 1, on a line from 0 to 1."""
    ends = (estimate.low, estimate.mean, estimate.high)
    low, mean, high = (100 * min(max(value, 0.0), 1.0) for value in ends)
    return (
        '<svg class="bar" viewBox="0 0 100 10" aria-hidden="true" preserveAspectRatio="none">'
        '<line class="axis" x1="0" x2="100" y1="9.5" y2="9.5"/>'
        f'<rect x="0" y="2" width="{mean:.2f}" height="6"/>'
        f'<line class="whisker" x1="{low:.2f}" x2="{high:.2f}" y1="5" y2="5"/></svg>'
    )


def _curve(row: Row) -> str:
    """Draw task accuracy over tasks, from 0 to 1."""
    values = row.curve
    width = max(1, len(values) - 1)
    points = " ".join(
        f"{100 * index / width:.1f},{30 - 28 * value:.1f}" for index, value in enumerate(values)
    )
    label = f"task accuracy from {values[0]:.2f} in task 1 to {values[-1]:.2f} in task {len(values)}"
    chance = '<line class="axis" x1="0" x2="100" y1="30" y2="30"/>'
    return f'<svg viewBox="0 0 100 31" role="img" aria-label="{label}">{chance}<polyline points="{points}"/></svg>'

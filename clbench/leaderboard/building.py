"""The leaderboard's tables, in `leaderboard/README.md`, and its web page."""

import base64
import hashlib
import html
import shlex
from collections.abc import Iterator, Sequence
from importlib.resources import files
from itertools import groupby
from pathlib import Path

from clbench.errors import SubmissionError
from clbench.intervals import why_ties
from clbench.leaderboard.ranking import Board, Row
from clbench.leaderboard.submission import DATA, SUBMISSIONS, TASKS
from clbench.results.files import write_text_whole
from clbench.scoring import Estimate

README, PAGE = "README.md", "index.html"
BEGIN, END = ("<!-- leaderboard: made by `clbench leaderboard build` -->", "<!-- leaderboard: end -->")
NEW_README = f"# Leaderboard\n\n{BEGIN}\n{END}\n"
COLUMNS = (
    "rank",
    "submission",
    "n",
    "average task accuracy",
    "last 10 %",
    "slope",
    "cost",
    "boundaries",
    "links",
)
UNVERIFIED = "unverified"


def build(folder: Path, rows: Sequence[Row]) -> list[Path]:
    """Write tables and page into `folder`, and return their paths."""
    readme = folder / README
    text = readme.read_text(encoding="utf-8") if readme.exists() else NEW_README
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SubmissionError(f"'{readme}' must have the line {BEGIN} once, followed by the line {END} once")
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    contents = {readme: f"{before}{BEGIN}\n\n{tables(rows)}\n{END}{after}", folder / PAGE: page(rows)}
    folder.mkdir(parents=True, exist_ok=True)
    for path, content in contents.items():
        write_text_whole(path, content)
    return list(contents)


def _boards(rows: Sequence[Row]) -> Iterator[tuple[Board, list[Row], str]]:
    for board, group in groupby(rows, key=lambda row: row.board):
        members = list(group)
        yield board, members, why_ties([row.seeds for row in members])


def _cost(row: Row) -> str:
    cost = row.entry.submission.cost
    return f"{cost.relative_to_vanilla:.2f}" if cost else "-"


def interval(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def tables(rows: Sequence[Row]) -> str:
    lines = []
    for board, members, ties in _boards(rows):
        lines.append(f"### {', '.join(board)}\n")
        lines.append("| " + " | ".join(COLUMNS) + " |")
        lines.append("|" + "---|" * len(COLUMNS))
        lines += [f"| {' | '.join(_cells(row))} |" for row in members]
        lines.append("")
        if ties:
            lines.append(f"{ties}\n")
    return "\n".join(lines) if lines else "No submissions yet.\n"


def _cells(row: Row) -> list[str]:
    data = row.entry.submission
    name = f"[{data.name}]({data.about.code})" if data.about.code else data.name
    folder = f"{SUBMISSIONS}/{data.name}"
    links = [f"[source]({folder}/{data.file})", f"[data]({folder})"]
    if data.about.paper:
        links.append(f"[paper]({data.about.paper})")
    return [
        str(row.rank),
        name if data.verifiable else f"{name} ({UNVERIFIED})",
        str(row.seeds),
        interval(row.score("average_task_accuracy")),
        f"{row.score('last_tenth').mean:.3f}",
        f"{row.score('slope').mean:+.4f}",
        _cost(row),
        row.boundaries,
        " ".join(links),
    ]


def page(rows: Sequence[Row]) -> str:
    templates = files("clbench.leaderboard") / "templates"
    style, script = ((templates / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    streams, protocols, tracks = (
        (
            "".join(f'<option value="{_safe(name)}">{_safe(name)}</option>' for name in dict.fromkeys(names))
            for names in zip(*(row.board for row in rows), strict=True)
        )
        if rows
        else ("", "", "")
    )
    values = {
        "POLICY": f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; base-uri 'none'",
        "STYLE": style,
        "SCRIPT": script,
        "STREAMS": streams,
        "PROTOCOLS": protocols,
        "TRACKS": tracks,
        "ROWS": "\n".join(_row(row) for row in rows),
        "COUNT": str(len(rows)),
        "TIES": "\n".join(
            f'<p class="ties" {_attributes(board)}>{_safe(", ".join(board))}: {_safe(ties)}</p>'
            for board, _, ties in _boards(rows)
            if ties
        ),
    }
    template = (templates / "page.html").read_text(encoding="utf-8")
    parts = template.split("%%")  # text, name, text, name, ..., text
    return "".join(values[part] if index % 2 else part for index, part in enumerate(parts))


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _safe(text: object) -> str:
    return html.escape(str(text), quote=True)


def _attributes(board: Board) -> str:
    names = zip(("stream", "protocol", "track"), board, strict=True)
    return " ".join(f'data-{name}="{_safe(value)}"' for name, value in names)


def _cell(kind: str, value: float | str, content: str) -> str:
    text = f"{value:.9g}" if isinstance(value, (int, float)) else _safe(value)
    return f'<td role="cell" class="{kind}" data-value="{text}">{content}</td>'


def _row(row: Row) -> str:
    data, cost = row.entry.submission, row.entry.submission.cost
    average, tenth, slope = (row.score(name) for name in ("average_task_accuracy", "last_tenth", "slope"))
    cells = [
        _cell("seeds", row.seeds, str(row.seeds)),
        _cell("average", average.mean, f"{_bar(average)}<span>{interval(average)}</span>"),
        _cell("tenth", tenth.mean, f"{tenth.mean:.3f}"),
        _cell("slope", slope.mean, f"{slope.mean:+.4f}"),
        _cell("cost", cost.relative_to_vanilla if cost else "", _cost(row)),
        _cell("boundaries", row.boundaries, row.boundaries),
        _cell("curve", row.curve[-1], _curve(row.curve)),
    ]
    names = zip(("stream", "protocol", "track"), row.board, strict=True)
    cells += [_cell(kind, value, _safe(value)) for kind, value in names]
    head = f'<tr role="row" {_attributes(row.board)}>{_cell("rank", row.rank, str(row.rank))}'
    summary = _safe(data.name if data.verifiable else f"{data.name} ({UNVERIFIED})")
    name = f'<th role="rowheader" scope="row" data-value="{_safe(data.name)}"><details>'
    name += f"<summary>{summary}</summary><dl>{_details(row)}</dl></details></th>"
    return f'{head}{name}{"".join(cells)}<td role="cell" class="links">{_links(row)}</td></tr>'


def _links(row: Row) -> str:
    data, folder = row.entry.submission, f"{SUBMISSIONS}/{row.entry.name}"
    links = {
        "source": f"{folder}/{data.file}",
        "tasks": f"{folder}/{TASKS}",
        "run": f"{folder}/{DATA}",
        "code": data.about.code,
        "paper": data.about.paper,
    }
    return " ".join(
        f'<a href="{_safe(url)}" rel="nofollow noopener" aria-label="{_safe(what)} of {_safe(data.name)}">{what}</a>'
        for what, url in links.items()
        if url
    )


def _details(row: Row) -> str:
    data = row.entry.submission
    arguments = data.run.config.agent.arguments
    facts = {
        "agent": data.agent,
        "arguments": ", ".join(f"{key}={value}" for key, value in arguments.items()) or "none",
        "command": shlex.join(data.run.command),
        "seeds": row.seeds,
        "licence": data.about.licence,
        "torch": data.run.versions["torch"],
        "tuned": data.about.tuned,
        "contact": data.about.contact,
    }
    return "".join(f"<dt>{what}</dt><dd>{_safe(text)}</dd>" for what, text in facts.items() if text != "")


def _bar(estimate: Estimate) -> str:
    ends = (estimate.low, estimate.mean, estimate.high)
    low, mean, high = (100 * min(max(value, 0.0), 1.0) for value in ends)
    return (
        '<svg class="bar" viewBox="0 0 100 10" aria-hidden="true" preserveAspectRatio="none">'
        '<line class="axis" x1="0" x2="100" y1="9.5" y2="9.5"/>'
        f'<rect x="0" y="2" width="{mean:.2f}" height="6"/>'
        f'<line class="whisker" x1="{low:.2f}" x2="{high:.2f}" y1="5" y2="5"/></svg>'
    )


def _curve(accuracies: Sequence[float]) -> str:
    width, count = max(1, len(accuracies) - 1), len(accuracies)
    points = " ".join(
        f"{100 * index / width:.1f},{30 - 28 * value:.1f}" for index, value in enumerate(accuracies)
    )
    label = f"task accuracy from {accuracies[0]:.2f} in task 1 to {accuracies[-1]:.2f} in task {count}"
    axis = '<line class="axis" x1="0" x2="100" y1="30" y2="30"/>'
    return (
        f'<svg viewBox="0 0 100 31" role="img" aria-label="{label}">{axis}<polyline points="{points}"/></svg>'
    )

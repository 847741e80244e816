"""The report: a page in Markdown of claims, figures and runs, made of the files in its folder and nothing else."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import DataError
from clbench.evaluation.progress import clock
from clbench.reproduce.claims import FAILS, HOLDS, OPEN, PARTLY, Judgement
from clbench.reproduce.figure import DATA, PICTURE, RUNS, SUMMARY, Figure
from clbench.reproduce.making import (
    CLAIMS,
    NOWHERE,
    claims_frame,
    judgements,
    label,
    lacks,
    read_frame,
    scales_in,
    write_frame,
)
from clbench.results.files import write_whole

if TYPE_CHECKING:
    import pandas as pd

PAGE = "README.md"
HEAD = """\
# The paper, measured anew

Source: Baveja, Lewandowski and Schmidt, *A Unified Noise-Curvature View of Loss of Trainability*,
[arXiv 2509.19698](https://arxiv.org/abs/2509.19698). Made by `python -m clbench.reproduce` from the files in this
folder; nothing is typed by hand.
"""
RULES = """\
A claim *holds* if the 95 % interval of our value lies within the range that its rule gives, holds *partly* if only
the mean does (or if there is no interval, with one seed), else it *does not hold*. Intervals are Student's t over
seeds, as are the bands of figures (cut where no value can be); those of predictors are percentiles over resampled
configurations, and say nothing of other seeds. n is how many there are (in Fig. 1, without the seed that chooses the
pair). With three seeds they are wide. Of claims about differences that do not exist, one in two would still hold
partly by chance, and one in forty hold. Published values are read off the paper's plots, of tasks of 250 epochs on
60,000 images: at other protocols the direction is judged, not the value, but for step sizes, at `standard`, too. A
claim about a value is *not yet measured* until there are runs of that length, and so is one whose figure still lacks
runs.
"""


def write_report(figures: Sequence[Figure], out: Path) -> list[Judgement]:
    """Judge all claims and write claims.csv and the page; return the judgements.

    Raises:
        DataError: no figure has been made there.
    """
    scales = scales_in(figures, out)
    if not scales:
        raise DataError(f"'{out}': no figure has been made there yet")
    rows = judgements(figures, out)
    write_frame(out / CLAIMS, claims_frame(rows))
    parts = [HEAD, "## Claims\n", RULES, tally(rows) + "\n", claims_table(rows)]
    parts += ["### What they say\n", statements_table(rows)]
    for scale in scales:
        parts += [*_figures(figures, out, scale), *_runs(figures, out, scale)]
    text = "\n".join(parts)
    write_whole(out / PAGE, lambda path: path.write_text(text, encoding="utf-8"))
    return rows


def tally(rows: Iterable[Judgement]) -> str:
    """Return how many claims there are of each verdict, by protocol."""
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        counts.setdefault(row.protocol, Counter())[row.verdict] += 1
    return "; ".join(
        (f"{spelt(protocol)}: " if protocol != NOWHERE else "")
        + ", ".join(f"{own[verdict]} {verdict}" for verdict in (HOLDS, PARTLY, FAILS, OPEN) if own[verdict])
        for protocol, own in counts.items()
    )


def claims_table(rows: Iterable[Judgement]) -> str:
    """Return what was measured for each claim, at each protocol, as a table in Markdown."""
    return markdown(
        ("place", "claim", "published", "ours", "n", "protocol", "holds if", "verdict"),
        [
            (
                row.place,
                row.claim,
                number(row.published),
                with_interval(row.ours, row.low, row.high),
                str(row.count or ""),
                f"[{spelt(row.protocol)}]({row.data})" if row.data else row.protocol,
                row.rule,
                f"**{row.verdict}**" + (f" ({row.note})" if row.note else ""),
            )
            for row in rows
        ],
    )


def statements_table(rows: Iterable[Judgement]) -> str:
    """Return what each claim says, and what is measured for it, as a table in Markdown."""
    said = dict.fromkeys((row.place, row.claim, row.statement, row.quantity) for row in rows)
    return markdown(("place", "claim", "what it says", "what is measured"), list(said))


def spelt(scale: str) -> str:
    """Return the name of a scale's folder as a text that lines can break in.

    >>> spelt("standard,num_tasks=4,seeds=1")
    'standard, num_tasks=4, seeds=1'
    """
    return scale.replace(",", ", ")


def with_interval(mean: float, low: float, high: float) -> str:
    """Return a value with its interval, if it has one."""
    return number(mean) if math.isnan(low) else f"{number(mean)} [{number(low)}, {number(high)}]"


def number(one: float) -> str:
    """Return three digits; nothing for NaN.

    >>> number(0.5349), number(0.0005), number(float("nan"))
    ('0.535', '0.0005', '')
    """
    return "" if math.isnan(one) else f"{one:.3g}"


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |\n" for row in lines)


def _figures(figures: Iterable[Figure], out: Path, scale: str) -> Iterable[str]:
    yield f"## Figures: {spelt(scale)}\n"
    for figure in figures:
        numbers, runs = (
            read_frame(figure, file, out, scale) for file in (figure.file, f"{figure.name}{RUNS}")
        )
        if numbers is None or runs is None:
            continue
        at = f"{scale}/{figure.name}"
        yield f"### {label(figure)}\n\n![{figure.title}]({at}{PICTURE})\n"
        summary = f" [numbers]({at}{SUMMARY})," if figure.summary else ""
        missing = f" {lacks(runs)}." if lacks(runs) else ""
        seeds = sorted({len(one.split()) for one in runs["seeds"].dropna().astype(str)})
        number = f"{' to '.join(map(str, seeds[:1] + seeds[1:][-1:]))} seed{'s' if seeds != [1] else ''}"
        yield f"{figure.title}; {number}. [Data]({at}{DATA}),{summary} [runs]({at}{RUNS}).{missing}\n"
        if figure.table:
            yield data_table(numbers, figure.table)


def data_table(data: "pd.DataFrame", columns: Sequence[str]) -> str:
    """Return columns of a figure's data as a table in Markdown, with the ends of intervals where there are any."""

    def cell(row: Mapping[Any, Any], name: str) -> str:
        if f"{name}_low" in row:
            return with_interval(*(row[f"{name}{end}"] for end in ("", "_low", "_high")))
        return str(row[name])

    rows = [[cell(row, name) for name in columns] for row in data.to_dict("records")]
    return markdown([name.replace("_", " ") for name in columns], rows)


def _runs(figures: Iterable[Figure], out: Path, scale: str) -> Iterable[str]:
    import pandas as pd

    tables = [read_frame(figure, f"{figure.name}{RUNS}", out, scale) for figure in figures]
    found = pd.concat([one for one in tables if one is not None])
    runs = found[found["run"].notna()].drop_duplicates("run")
    yield f"### Runs: {spelt(scale)}\n"
    yield f"{len(runs)} runs; the tables of runs have each one's settings, checksums, commit, time and machine.\n"
    groups = runs.groupby(
        ["command", "commit", "processor", "cores", "device", "torch"], sort=False, dropna=False
    )
    yield markdown(
        ("command", "commit", "machine", "torch", "runs", "begun", "time of tasks"),
        [
            (
                f"`{command}`",
                commit[:7] if isinstance(commit, str) else "",
                f"{processor}, {cores}, {device}",
                str(torch),
                str(len(own)),
                f"{own['started'].min()} to {own['started'].max()}",
                clock(float((own["seconds"] * own["processes"] / own["in_lockstep"]).sum())),
            )
            for (command, commit, processor, cores, device, torch), own in groups
        ],
    )

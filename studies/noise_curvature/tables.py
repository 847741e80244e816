"""A figure's files: its numbers, its drawing, and the runs behind them."""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import pandas as pd

from clbench import PROTOCOLS
from clbench.errors import DataError, WriteError
from clbench.plotting.isolation import isolated, optional
from clbench.plotting.style import legend
from studies.noise_curvature.claims import DATA, PICTURE, RUNS, SUMMARY, Figure, Judgement, judge
from studies.noise_curvature.frames import Key, gather, modernized
from studies.noise_curvature.runs import PROVENANCE, Run, provenance
from studies.noise_curvature.scale import Scale

CLAIMS = "claims.csv"
BANDS = "bands: 95 % t intervals of the means over seeds"
CHECKSUM = {DATA: "csv_sha256", SUMMARY: "summary_sha256"}
"""Columns of a figure's table of runs: checksums of its numbers when they were written."""

TEXTS = ("run", "layer", "indicator", "commit", *CHECKSUM.values())
"""Columns of text, even where it looks like a number."""


def make_figure(figure: Figure, runs: Mapping[Key, Run], scale: Scale, out: Path) -> list[Path]:
    """Return the files of a figure, made in `out`/<scale> from its finished runs; none if no run is finished."""
    finished = {key: run.folder for key, run in runs.items() if run.is_complete}
    if not finished:
        return []
    data, table = figure.data(gather(figure.by, finished)), runs_table(figure.by, runs)
    numbers = figure.summary(data) if figure.summary else data
    files = {end: out / scale.name / f"{figure.name}{end}" for end in (DATA, SUMMARY, RUNS, PICTURE)}
    if not figure.summary:
        del files[SUMMARY]
    checksums = {}
    for end, frame in {DATA: data, SUMMARY: numbers}.items():
        if end in files:
            write_frame(files[end], frame)
            checksums[CHECKSUM[end]] = _sha256(files[end])
    write_frame(files[RUNS], table.assign(**checksums))
    draw_figure(figure, numbers, table, scale, files[PICTURE])
    return [path for path in files.values() if path.exists()]


def draw_figure(figure: Figure, numbers: pd.DataFrame, runs: pd.DataFrame, scale: Scale, path: Path) -> None:
    """Write the drawing of a figure's numbers; what goes wrong in it is a note."""
    title = " · ".join(filter(None, [f"{figure.label}: {figure.title}", scale.summary, missing_runs(runs)]))
    with optional(lambda text: print(f"note: figure {figure.name}: {text}", file=sys.stderr)), isolated():
        drawing = figure.draw(numbers, title)
        legend(drawing, BANDS if any(axes.collections for axes in drawing.axes) else "")
        write_file(path, lambda partial: drawing.savefig(partial, format="png"))


def runs_table(by: tuple[str, ...], runs: Mapping[Key, Run]) -> pd.DataFrame:
    rows = [
        dict(zip(by, key, strict=True)) | (provenance(run) if run.is_complete else {})
        for key, run in runs.items()
    ]
    table: pd.DataFrame = pd.DataFrame(rows)
    return table


def missing_runs(table: pd.DataFrame) -> str:
    missing = int(table["run"].isna().sum())
    return f"{missing} of {len(table)} runs missing" if missing else ""


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(partial)
        os.replace(partial, path)
    except OSError as error:
        raise WriteError(f"cannot write '{path}': {error.strerror or error}") from error


def write_frame(path: Path, data: pd.DataFrame) -> None:
    write_file(
        path, lambda partial: data.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
    )


def scales_in(figures: Iterable[Figure], out: Path) -> list[str]:
    """Return the names of the scales that any of the figures was made at, in the protocols' order."""
    names = {path.parent.name for figure in figures for path in out.glob(f"*/{figure.name}{RUNS}")}
    return sorted(names, key=lambda name: ([*PROTOCOLS, name].index(name), name))


def read_frame(figure: Figure, end: str, out: Path, scale: str) -> pd.DataFrame | None:
    """Return an unchanged table of a figure, by the end of its file's name; None if it was not made."""
    path = out / scale / f"{figure.name}{end}"
    if not path.exists():
        return None
    remedy = f"make figure {figure.name} again (--report does, of finished runs)"
    if end in CHECKSUM:
        runs = read_frame(figure, RUNS, out, scale)
        if runs is None or _sha256(path) not in set(runs[CHECKSUM[end]]):
            raise DataError(f"'{path}' has changed since {figure.name}{RUNS} was written; {remedy}")
    try:
        data = pd.read_csv(path, dtype=dict.fromkeys((*figure.by, *TEXTS), str))
    except ValueError as error:
        raise DataError(f"'{path}' is damaged: {error}; {remedy}") from error
    checksums = list(CHECKSUM.values()) if figure.summary else [CHECKSUM[DATA]]
    needed = [*figure.by, "run", *PROVENANCE, *checksums] if end == RUNS else []
    lost = [name for name in needed if name not in data]
    if lost:
        raise DataError(f"'{path}' is damaged: it has no column {', '.join(lost)}; {remedy}")
    return modernized(data)


def read_numbers(figure: Figure, out: Path, scale: str) -> tuple[pd.DataFrame, pd.DataFrame] | None:
    numbers = read_frame(figure, SUMMARY if figure.summary else DATA, out, scale)
    runs = read_frame(figure, RUNS, out, scale)
    return None if numbers is None or runs is None else (numbers, runs)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judge_claims(figures: Iterable[Figure], out: Path) -> list[Judgement]:
    judgements = []
    for figure in figures:
        made = {scale: read_numbers(figure, out, scale) for scale in scales_in([figure], out)}
        for claim in figure.claims:
            judged = [
                judge(claim, tables[0], scale, f"{scale}/{figure.numbers_file}", missing_runs(tables[1]))
                for scale, tables in made.items()
                if tables is not None
            ]
            judgements += judged or [Judgement(claim)]
    return judgements

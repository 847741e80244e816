"""From finished cells to files: a figure's numbers and drawing, the runs behind them."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from clbench.errors import DataError, OutputError
from clbench.reproduce.cells import REPORTED, runs_frame
from clbench.reproduce.claims import Judgement, judge
from clbench.reproduce.figure import DATA, PICTURE, RUNS, SUMMARY, Figure
from clbench.reproduce.frames import Key, gather
from clbench.reproduce.scale import Scale
from clbench.results.files import write_whole
from clbench.results.older import modernized_frame
from clbench.specs import PROTOCOLS
from clbench.sweeping.cells import Cell
from clbench.sweeping.folder import SweepFolder

if TYPE_CHECKING:
    import pandas as pd

CLAIMS = "claims.csv"
NOWHERE = "-"
CHECKSUM = {DATA: "csv_sha256", SUMMARY: "summary_sha256"}
"""Columns of a figure's runs: of what its numbers were when they were written."""
TEXTS = ("run", "layer", "indicator", "commit", *CHECKSUM.values())
"""Columns that are no numbers, even if they look so."""


def make_figure(
    figure: Figure, cells: Mapping[Key, Cell], folder: SweepFolder, scale: Scale, out: Path
) -> list[Path]:
    """Make a figure of its finished cells, under `out`/<scale>; return the files, none if no cell is finished."""
    finished = {
        key: found.path
        for key, cell in cells.items()
        if folder.is_complete(cell) and (found := folder.find(cell)) is not None
    }
    if not finished:
        return []
    data, runs = figure.data(gather(figure.by, finished)), runs_frame(figure.by, cells, folder)
    numbers = figure.summary(data) if figure.summary else data
    title = " · ".join(filter(None, [f"{label(figure)}: {figure.title}", scale.about, lacks(runs)]))
    drawing = figure.draw(numbers, title)
    place = out / scale.name
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write to '{place}': {error.strerror or error}") from error
    frames = {DATA: data} | ({SUMMARY: numbers} if figure.summary else {})
    files = {end: place / f"{figure.name}{end}" for end in (*frames, RUNS, PICTURE)}
    for end, frame in frames.items():
        write_frame(files[end], frame)
    sums = {CHECKSUM[end]: _sha256(files[end]) for end in frames}
    write_frame(files[RUNS], runs.assign(**sums))
    write_whole(files[PICTURE], lambda path: drawing.savefig(path, format="png"))
    return list(files.values())


def lacks(runs: "pd.DataFrame") -> str:
    """Return how many of a figure's runs are missing, in words; nothing if none is."""
    missing = int(runs["run"].isna().sum())
    return f"{missing} of {len(runs)} runs missing" if missing else ""


def label(figure: Figure) -> str:
    """Return what a figure is called in the paper; what it has not has a name of its own.

    "4-bottom" is Fig. 4 bottom, "9-10" Figs. 9-10.
    """
    first, _, second = figure.name.partition("-")
    if not first.isdigit():
        return figure.name.capitalize()
    return f"Figs. {figure.name}" if second.isdigit() else f"Fig. {first} {second}".rstrip()


def write_frame(path: Path, data: "pd.DataFrame") -> None:
    """Write a CSV file; nine digits of a float."""
    write_whole(
        path, lambda partial: data.to_csv(partial, index=False, lineterminator="\n", float_format="%.9g")
    )


def scales_in(figures: Iterable[Figure], out: Path) -> list[str]:
    """Return the names of the scales that any of the figures was made at, protocols in their order first."""
    found = {path.parent.name for figure in figures for path in out.glob(f"*/{figure.name}{RUNS}")}
    return sorted(found, key=lambda name: ([*PROTOCOLS, name].index(name), name))


def read_frame(figure: Figure, file: str, out: Path, scale: str) -> "pd.DataFrame | None":
    """Return one of a figure's tables as it was written; None if it was not."""
    import pandas as pd

    path, end = out / scale / file, file.removeprefix(figure.name)
    if not path.exists():
        return None
    again = f"make figure {figure.name} again (--report does, of finished runs)"
    if end in CHECKSUM:
        runs = read_frame(figure, f"{figure.name}{RUNS}", out, scale)
        if runs is None or _sha256(path) not in set(runs[CHECKSUM[end]]):
            raise DataError(f"'{path}' is not what was written with {figure.name}{RUNS}; {again}")
    try:
        data = pd.read_csv(path, dtype=dict.fromkeys((*figure.by, *TEXTS), str))
    except ValueError as error:
        raise DataError(f"'{path}' is damaged: {error}; {again}") from error
    sums = [CHECKSUM[DATA], *([CHECKSUM[SUMMARY]] if figure.summary else [])]
    needed = (*figure.by, "run", *REPORTED, *sums) if end == RUNS else ()
    lost = [name for name in needed if name not in data]
    if lost:
        raise DataError(f"'{path}' is damaged: it has no column {', '.join(lost)}; {again}")
    return modernized_frame(data)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def judgements(figures: Sequence[Figure], out: Path) -> list[Judgement]:
    """Return all claims, each at every scale that it was measured at, from the figures' files."""
    rows = []
    for figure in figures:
        found = [
            (scale, numbers, lacks(runs))
            for scale in scales_in(figures, out)
            if (numbers := read_frame(figure, figure.file, out, scale)) is not None
            and (runs := read_frame(figure, f"{figure.name}{RUNS}", out, scale)) is not None
        ]
        for claim in figure.claims:
            own = [
                judge(claim, numbers, scale, f"{scale}/{figure.file}", missing)
                for scale, numbers, missing in found
            ]
            rows += own or [judge(claim, None, NOWHERE, "")]
    return rows


def claims_frame(rows: Iterable[Judgement]) -> "pd.DataFrame":
    """Return judgements as a frame with the columns of claims.csv."""
    import pandas as pd

    return pd.DataFrame([asdict(row) for row in rows])

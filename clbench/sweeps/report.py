"""What is made of a sweep's cells: ranking.csv, sensitivity figures, and the table that is shown."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.comparing import Entry
from clbench.errors import DataError
from clbench.results.files import write_whole
from clbench.results.folder import TASKS
from clbench.results.manifest import SweepCell
from clbench.sweeping.cells import Cell, Sweep
from clbench.sweeping.folder import SweepFolder
from clbench.sweeping.ranking import SCORE, Ranked, Selection, ranking, sensitivity

if TYPE_CHECKING:
    import pandas as pd

RANKING = "ranking.csv"


@dataclass(frozen=True)
class Report:
    """A sweep's ranking, as far as its cells are finished.

    Attributes:
        rows: best first, stream by stream.
        selection: which seeds chose and which judged.
        notes: a line each on cells that are left out.
        written: files.
    """

    rows: tuple[Ranked, ...]
    selection: Selection
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def make_report(sweep: Sweep, folder: SweepFolder, selection: Selection) -> Report:
    """Rank the sweep's cells that are in its folder, and write table and figures there.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.path.is_dir():
        raise DataError(f"'{folder.path}': nothing of this sweep has been run yet")
    entries, damaged = _entries(sweep, folder)
    rows, notes = ranking(entries, selection)
    notes = [*damaged, *notes]
    table, written = ranking_frame(rows, sweep, selection), [folder.path / RANKING]
    with folder.held():
        write_whole(written[0], lambda path: table.to_csv(path, index=False, lineterminator="\n"))
        for name in sweep.varied:
            if name.startswith("arguments.") and (figure := _draw(rows, name, sweep, folder, selection)):
                written.append(figure)
    return Report(tuple(rows), selection, tuple(notes), tuple(written))


def _entries(sweep: Sweep, folder: SweepFolder) -> tuple[list[Entry], list[str]]:
    """Return the cells that were begun, as the entries of a comparison, labelled as in the sweep; notes on others."""
    entries, notes = [], []
    for cell in sweep.cells:
        try:
            found = folder.find(cell)
            if found is not None and found.has_run():
                begun = (found.path / TASKS).exists()  # else it is being opened just now
                records = found.read_tasks() if begun else []
                entry = Entry.from_records(found.path.as_posix(), found.read_manifest(), records)
                entries.append(_as_in(cell, entry))
        except DataError as error:
            notes.append(f"left out: {cell.label}: {error}")
    return entries, notes


def _as_in(cell: Cell, entry: Entry) -> Entry:
    """Return the entry under the names that the sweep has now: its run may be older, or of another sweep."""
    manifest = entry.manifest
    numbered = {
        key.partition(".")[2]: text for key, text in cell.numbered.items() if key.startswith("arguments.")
    }
    arguments = {**manifest.config.agent.arguments, **numbered}
    agent = replace(manifest.config.agent, name=cell.agent.name, arguments=arguments)
    sweep = replace(manifest.sweep or SweepCell(name=""), numbered=cell.numbered)
    manifest = replace(manifest, config=replace(manifest.config, agent=agent), sweep=sweep)
    return replace(entry, label=cell.label, manifest=manifest)


def _draw(
    rows: Sequence[Ranked], name: str, sweep: Sweep, folder: SweepFolder, selection: Selection
) -> Path | None:
    """Write the figure of an argument, if any agent has two values of it."""
    from clbench import plotting

    argument = name.partition(".")[2]
    scores = sensitivity(rows, argument)
    if not scores:
        return None
    path = folder.path / f"sensitivity-{argument}.png"
    title = f"{sweep.name} · {argument}, other arguments at their best · {selection}"
    agents = list(dict.fromkeys(cell.agent.name for cell in sweep.cells))
    figure = plotting.sensitivity(scores, agents, argument, title)
    write_whole(path, lambda partial: figure.savefig(partial, format="png"))
    return path


def ranking_frame(rows: Sequence[Ranked], sweep: Sweep, selection: Selection) -> "pd.DataFrame":
    """Return the ranking as a frame: a row per cell, with a column for each varied argument and option.

    `seeds` are those that choose; `reported` is on those that judge, of the chosen cells only.
    """
    import pandas as pd

    names = [name for name in sweep.varied if "." in name]
    ends = (f"{name}{end}" for name in (SCORE, "reported") for end in ("", "_low", "_high"))
    columns = ["rank", "cell", "agent", "on", *names, "seeds", *ends, "chosen", "selection", "same_seeds"]
    return pd.DataFrame([_row(row, names, selection) for row in rows], columns=columns)


def _row(row: Ranked, names: Sequence[str], selection: Selection) -> dict[str, Any]:
    entry, cells = row.entry, dict[str, Any]()
    for name, one in ((SCORE, row.score), *((("reported", row.judged),) if row.chosen else ())):
        cells |= {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high}
    return {
        "rank": row.rank,
        "cell": entry.label,
        "agent": entry.agent,
        "on": row.on,
        **{name: entry.manifest.setting(name) for name in names},
        "seeds": " ".join(map(str, selection.choosing or sorted(entry.seeds))),
        **cells,
        "chosen": row.chosen,
        "selection": str(selection),
        "same_seeds": selection.same,
    }

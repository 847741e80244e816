"""A sweep's report: ranking.csv and sensitivity figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.comparing import Entry
from clbench.engine.figures import write_figures
from clbench.engine.keyed_store import KeyedStore
from clbench.engine.run import Run
from clbench.errors import DataError
from clbench.plotting.isolation import optional
from clbench.results import RunFolder
from clbench.results.files import write_whole
from clbench.results.folder import TASKS
from clbench.results.manifest import FIGURES, SweepCell
from clbench.sweeps.cells import Sweep
from clbench.sweeps.ranking import SCORE, Ranked, Selection, ranking, sensitivity

if TYPE_CHECKING:
    import pandas as pd

RANKING = "ranking.csv"


@dataclass(frozen=True)
class Report:
    """A sweep's ranking, as far as its runs are complete.

    Attributes:
        rows: best first, stream by stream.
        selection: which seeds chose and which judged.
        notes: on runs that are left out, a line each.
        written: files.
    """

    rows: tuple[Ranked, ...]
    selection: Selection
    notes: tuple[str, ...]
    written: tuple[Path, ...]


def make_report(
    sweep: Sweep, store: KeyedStore, selection: Selection, formats: Sequence[str] = FIGURES
) -> Report:
    """Rank the runs of a sweep that are in its folder, and write table and figures there.

    Raises:
        DataError: there is no such folder.
    """
    if not store.path.is_dir():
        raise DataError(f"'{store.path}': no cell of this sweep has been run yet")
    entries, damaged = _entries(sweep, store)
    rows, notes = ranking(entries, selection)
    table, written = ranking_frame(rows, sweep, selection), [store.path / RANKING]
    with store.locked():
        write_whole(written[0], lambda path: table.to_csv(path, index=False, lineterminator="\n"))
        with optional(notes.append):
            for name in sweep.varied if formats else ():
                if name.startswith("arguments."):
                    written += _draw(rows, name, sweep, store, selection, formats)
    return Report(tuple(rows), selection, (*damaged, *notes), tuple(written))


def _entries(sweep: Sweep, store: KeyedStore) -> tuple[list[Entry], list[str]]:
    """Return the runs that have started, labelled as in the sweep; and notes on damaged ones."""
    entries, notes = [], []
    for run in sweep.runs:
        try:
            folder = store.find(run)
            if folder is not None and folder.has_run():
                opened = (folder.path / TASKS).exists()  # else it is being opened right now
                records = folder.read_tasks() if opened else []
                entry = Entry.from_records(folder.path.as_posix(), folder.read_manifest(), records)
                entries.append(_renamed(run, entry))
        except DataError as error:
            notes.append(f"left out: {run.label}: {error}")
    return entries, notes


def _renamed(run: Run, entry: Entry) -> Entry:
    """Return the entry under the names that the sweep has now: its run may be older, or of another sweep."""
    manifest, numbered = entry.manifest, run.sweep.numbered if run.sweep else {}
    arguments = {
        **manifest.config.agent.arguments,
        **{key.partition(".")[2]: text for key, text in numbered.items() if key.startswith("arguments.")},
    }
    agent = replace(manifest.config.agent, name=run.config.agent.name, arguments=arguments)
    sweep = replace(manifest.sweep or SweepCell(name=""), numbered=numbered)
    manifest = replace(manifest, config=replace(manifest.config, agent=agent), sweep=sweep)
    return replace(entry, label=run.label, manifest=manifest)


def _draw(
    rows: Sequence[Ranked],
    name: str,
    sweep: Sweep,
    store: KeyedStore,
    selection: Selection,
    formats: Sequence[str],
) -> list[Path]:
    """Write the figure of an argument, if any agent has two values of it; return the files."""
    from clbench import plotting

    argument = name.partition(".")[2]
    scores = sensitivity(rows, argument)
    if not scores:
        return []
    title = f"{sweep.name} · {argument}, all else equal along a line · {selection}"
    lines = list(dict.fromkeys(name for panel in scores.values() for name in panel))
    figure = plotting.sensitivity(scores, lines, argument, title)
    write_figures(RunFolder(store.path), {f"sensitivity-{argument}": figure}, formats)
    return [store.path / f"sensitivity-{argument}.{kind}" for kind in formats]


def ranking_frame(rows: Sequence[Ranked], sweep: Sweep, selection: Selection) -> "pd.DataFrame":
    """Return the ranking as a frame: a row per cell, with a column for each varied argument and option.

    `seeds` are those that choose; `reported` is on those that judge, of the chosen cells only.
    """
    import pandas as pd

    names = [name for name in sweep.varied if "." in name]
    ends = (f"{name}{end}" for name in (SCORE, "reported") for end in ("", "_low", "_high"))
    columns = ["rank", "cell", "agent", "on", *names, "seeds", *ends, "chosen", "selection", "same_seeds"]
    table: pd.DataFrame = pd.DataFrame([_row(row, names, selection) for row in rows], columns=columns)
    return table


def _row(row: Ranked, names: Sequence[str], selection: Selection) -> dict[str, Any]:
    entry, cells = row.entry, dict[str, Any]()
    for name, score in ((SCORE, row.score), *((("reported", row.judged),) if row.chosen else ())):
        cells |= {name: score.mean, f"{name}_low": score.low, f"{name}_high": score.high}
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

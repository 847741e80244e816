"""`clbench.sweep`: many configurations, from a sweep file to run folders and a ranking."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import OptionError
from clbench.evaluation.session import code_of, sources_of, who_cannot_resume
from clbench.loading import source_of
from clbench.registration import lookup
from clbench.results import Results, load_results
from clbench.specs import check_choice, check_count
from clbench.sweeping.board import Board, default_board
from clbench.sweeping.cells import Cell, Sweep, read_sweep
from clbench.sweeping.estimate import steps_of
from clbench.sweeping.folder import SweepFolder, agent_of
from clbench.sweeping.launcher import Launcher
from clbench.sweeping.local import Local
from clbench.sweeping.ranking import Selection
from clbench.sweeping.ray import Ray
from clbench.sweeping.report import Report, make_report, ranking_frame
from clbench.sweeping.store import is_url
from clbench.tracking.trackers import check_trackers

if TYPE_CHECKING:
    import pandas as pd

LAUNCHERS = ("local", "ray")


@dataclass(frozen=True)
class SweepResult:
    """A sweep, as far as it has got.

    Attributes:
        sweep: what was asked for.
        folder: where its cells' run folders, ranking.csv and figures are.
        failures: why cells failed, by label; each one's folder has `failures.log`.
        report: the ranking.
    """

    sweep: Sweep
    folder: Path
    failures: Mapping[str, str]
    report: Report

    @property
    def results(self) -> Results:
        """All runs of the folder as the frames `runs`, `tasks` and `indicators`."""
        return load_results(self.folder)

    @property
    def ranking(self) -> "pd.DataFrame":
        """The cells ranked, with the columns of ranking.csv."""
        return ranking_frame(self.report.rows, self.sweep, self.report.selection)


def sweep(
    what: str | Path | Mapping[str, Any],
    *,
    out: str | Path = "results",
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    select_seeds: Sequence[int] | None = None,
    report_seeds: Sequence[int] | None = None,
    accept_changes: bool = False,
    log: str | Sequence[str] | None = None,
    launcher: str = "local",
    ray_address: str | None = None,
    progress: bool = False,
) -> SweepResult:
    """Run what is missing of a sweep: agents with arguments on streams, each combination in a run folder.

    Cells that are finished are left alone, unfinished ones are gone on with, failed ones are tried again.

    Args:
        what: a sweep file in TOML, or a mapping of its shape, in which agents may be classes, too.
        out: folder in which the sweep's folder is made, or is already; with Ray also a URL that fsspec knows, whose
            copy is made in "results".
        workers: processes at a time; by default as many as cores, or one on an accelerator.
        shard: I and N: run every N-th cell of the file only, from the I-th.
        select_seeds: seeds on which the best cell of each agent is chosen; with `report_seeds`.
        report_seeds: seeds on which it is judged.
        accept_changes: go on with cells although agent or stream have changed since they began.
        log: experiment trackers that follow the cells: "tensorboard", "wandb", "mlflow".
        launcher: "local" for this machine, "ray" for the nodes of a Ray cluster, which share the folder or the URL.
        ray_address: the cluster's; by default one is started on this machine.
        progress: show what is running, as the command line does.

    Returns:
        The sweep's results; of cells that failed, it says why.

    Raises:
        UsageError: the request cannot be met; nothing was started.
    """
    asked = read_sweep(what)
    selection = checked_selection(asked, select_seeds, report_seeds)
    runs = choose_launcher(launcher, workers, ray_address, accept_changes, log, out)
    folder = SweepFolder.of(asked, out)
    cells = shard_of(asked.cells, shard)
    failures = run_missing(asked, cells, folder, runs, default_board if progress else Board, "the same call")
    return SweepResult(asked, folder.path, failures, make_report(asked, folder, selection))


def choose_launcher(
    name: str,
    workers: int | None,
    ray_address: str | None,
    accept_changes: bool,
    log: str | Sequence[str] | None,
    out: str | Path,
) -> Launcher:
    """Return what runs the cells.

    Raises:
        UsageError: there is no such launcher, or it cannot be had so.
    """
    check_choice("launcher", name, LAUNCHERS)
    if workers is not None:
        workers = check_count("workers", workers)
    trackers = check_trackers(log)
    if name == "ray":
        return Ray(ray_address, workers, accept_changes, trackers)
    if ray_address is not None:
        raise OptionError(f"the address {ray_address} is Ray's: choose the launcher ray")
    if is_url(out):
        raise OptionError(f"'{out}' is for the launcher ray: on this machine cells run in a folder")
    return Local(workers, accept_changes, trackers)


def checked_selection(sweep: Sweep, select: Sequence[int] | None, report: Sequence[int] | None) -> Selection:
    """Return the selection if the sweep has its seeds.

    Raises:
        OptionError: it has not, or one kind of seeds is given without the other.
    """
    selection = Selection(
        None if select is None else tuple(select), None if report is None else tuple(report)
    )
    known = {seed for cell in sweep.cells for seed in cell.plan.spec.seeds}
    for seed in (*(selection.choosing or ()), *(selection.judging or ())):
        if seed not in known:
            raise OptionError(f"no cell has seed {seed}; there are: {', '.join(map(str, sorted(known)))}")
    return selection


def shard_of(cells: Sequence[Cell], shard: tuple[int, int] | None) -> list[Cell]:
    """Return every N-th cell in the order of the file, from the I-th: shards are equally large, give or take one.

    Raises:
        OptionError: there is no such shard.
    """
    if shard is None:
        return list(cells)
    index, number = shard
    if not 1 <= index <= number:
        raise OptionError(f"shard {index}/{number}: give I/N with I from 1 to N")
    return list(cells[index - 1 :: number])


def run_missing(
    sweep: Sweep,
    cells: Sequence[Cell],
    folder: SweepFolder,
    launcher: Launcher,
    board_for: Callable[[dict[str, int], Sequence[str]], Board],
    again: str,
) -> dict[str, str]:
    """Run those of `cells` that are not finished; return why cells failed, by label.

    Args:
        sweep: that they are of.
        cells: all, or a shard.
        folder: the sweep's.
        launcher: runs them.
        board_for: makes what shows them, from steps and finished ones by label.
        again: how to go on, for whoever breaks it off.

    Raises:
        Interrupted: by a signal, with all states kept.
        OutputError: the folder cannot be written.
    """
    folder.keep(sweep)
    finished, left = folder.sorted_out(cells)
    board = board_for({cell.label: steps_of(cell) for cell in cells}, [cell.label for cell in finished])
    try:
        for text in dict.fromkeys([*sweep.notes, *_changed(finished, folder), *_anew(left)]):
            board.note(text)
        launcher(sweep, left, folder, board)
    except KeyboardInterrupt as error:
        error.args = (f"finished tasks are kept; go on with: {again}",)
        raise
    finally:
        board.close()
    return board.failures


def _anew(cells: Sequence[Cell]) -> list[str]:
    return [text for cell in cells for text in who_cannot_resume(cell.plan)]


def _changed(cells: Sequence[Cell], folder: SweepFolder) -> list[str]:
    """Say which agents' and streams' code is another than that which finished cells were run with."""
    counts: Counter[str] = Counter()
    for cell in cells:
        facts, stream = folder.facts(cell) or {}, cell.plan.spec.stream.id
        before = sources_of(facts)
        agent, own = code_of(source_of(cell.plan.classes[cell.agent.name])), before[agent_of(facts)]
        counts.update([cell.agent.name] * (agent != own))
        counts.update([stream] * (source_of(lookup(stream).load())["sha256"] != before["stream"]))
    return [
        f"the code of {name} has changed since {number} of its cells finished: delete their folders to run them anew"
        for name, number in counts.items()
    ]

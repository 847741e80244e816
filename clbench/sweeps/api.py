"""`clbench.sweep`: many runs, from a sweep file to run folders and a ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.checks import check_choice, check_count, count
from clbench.engine.figures import check_formats
from clbench.engine.local import LocalPool
from clbench.engine.progress import RunFailure
from clbench.engine.ray import RayCluster
from clbench.engine.remote import is_url
from clbench.engine.run import Run
from clbench.engine.running import Executor, run_missing
from clbench.engine.session import Options
from clbench.errors import OptionError
from clbench.plotting.showing import as_html, as_text
from clbench.report.views import progress_display
from clbench.results import Results, load_results
from clbench.sweeps.cells import Sweep, read_sweep
from clbench.sweeps.ranking import SCORE, Selection
from clbench.sweeps.report import Report, make_report, ranking_frame
from clbench.sweeps.store import create_folder, open_store
from clbench.tracking import check_trackers

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from clbench.engine.keyed_store import KeyedStore

LAUNCHERS = ("local", "ray")


@dataclass(frozen=True)
class SweepResult:
    """A sweep, as far as it has been run.

    Attributes:
        sweep: what was asked for.
        folder: where its run folders, ranking.csv and figures are.
        failures: why runs failed, by label; each one's folder has `failures.log`.
        report: the ranking.
    """

    sweep: Sweep
    folder: Path
    failures: Mapping[str, str]
    report: Report

    @cached_property
    def results(self) -> Results:
        """All runs of the folder as the frames `runs`, `tasks` and `indicators`."""
        return load_results(self.folder)

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per run with each score's mean, and its interval's ends as `<score>_low` and `<score>_high`."""
        return self.results.summary

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Return the figure of task accuracy over tasks, a line per run with a band of 95 % t intervals.

        Args:
            ax: the axes of a figure of yours to draw in; that figure is returned.
        """
        return self.results.plot(ax)

    def __repr__(self) -> str:
        lines = [f"{row.entry.label}  average task accuracy {row.score}" for row in self.report.rows]
        lines += [f"failed: {label}: {error}" for label, error in self.failures.items()]
        return as_text(f"Sweep: {self._title}", lines, f"in {self.folder}")

    def _repr_html_(self) -> str:
        columns = ["rank", "cell", "seeds", SCORE, f"{SCORE}_low", f"{SCORE}_high"]
        return as_html(f"{self._title} · {self.folder}", self.ranking[columns], self.plot)

    @property
    def _title(self) -> str:
        failed = f" · {len(self.failures)} failed" if self.failures else ""
        return f"{self.sweep.name} · {count(len(self.sweep.runs), 'cell')}{failed}"

    @property
    def ranking(self) -> "pd.DataFrame":
        """The runs ranked, with the columns of ranking.csv."""
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
    figures: str | Sequence[str] | None = None,
    launcher: str = "local",
    ray_address: str | None = None,
    progress: bool | None = None,
) -> SweepResult:
    """Run what is missing of a sweep: agents with arguments on streams, each combination in a run folder.

    Complete runs are left alone, unfinished ones are resumed, failed ones are tried again.

    Args:
        what: a sweep file in TOML, or a mapping of its shape, in which agents may also be classes.
        out: where the sweep's folder is created, or is already; with Ray also a URL that fsspec knows, whose copy is
            made in "results".
        workers: processes at a time; by default one per core, or a single one on an accelerator.
        shard: I and N: run only every N-th cell of the file, from the I-th.
        select_seeds: seeds on which the best run of each agent is chosen; with `report_seeds`.
        report_seeds: seeds on which it is judged.
        accept_changes: resume runs although agent or stream have changed since they started.
        log: experiment trackers that follow the runs: "tensorboard", "wandb", "mlflow".
        figures: formats of figures: "png" (default), "pdf", "svg", or "none".
        launcher: "local" for this machine, "ray" for the nodes of a Ray cluster, which share the folder or the URL.
        ray_address: of the cluster; by default one is started on this machine.
        progress: show the progress, as the command line does; by default on a terminal and in a notebook.

    Returns:
        The sweep's results; of runs that failed, it says why.

    Raises:
        UsageError: the request cannot be met; nothing was started.
    """
    checked = read_sweep(what)
    selection = checked_selection(checked, select_seeds, report_seeds)
    executor = choose_executor(launcher, workers, ray_address, out, accept_changes)
    runs = shard_of(checked.runs, shard)
    store = open_store(checked, out, command="the same call")
    formats = check_formats(figures)
    failures = run_cells(checked, runs, store, executor, log, formats, shown=progress)
    errors = {label: failure.error for label, failure in failures.items()}
    return SweepResult(checked, store.path, errors, make_report(checked, store, selection, formats))


def run_cells(
    sweep: Sweep,
    runs: Sequence[Run],
    store: "KeyedStore",
    executor: "Executor[KeyedStore]",
    log: str | Sequence[str] | None,
    figures: tuple[str, ...],
    *,
    shown: bool | None,
) -> Mapping[str, RunFailure]:
    """Run what is missing of a sweep's runs, or a shard of them; return why runs failed, by label."""
    trackers = check_trackers(log)
    create_folder(store, sweep)
    followed = [replace(run, log=trackers, figures=figures) for run in runs]
    return run_missing(followed, store, executor, progress_display(shown), sweep.notes)


def choose_executor(
    launcher: str,
    workers: int | None,
    ray_address: str | None,
    out: str | Path,
    accept_changes: bool,
) -> "Executor[KeyedStore]":
    """Return what carries out the runs.

    Raises:
        UnknownNameError: there is no such launcher.
        OptionError: it cannot be used so.
    """
    check_choice("launcher", launcher, LAUNCHERS)
    if workers is not None:
        workers = check_count("workers", workers)
    options = Options(accept_changes=accept_changes)
    if launcher == "ray":
        return RayCluster(address=ray_address, workers=workers, options=options)
    if ray_address is not None:
        raise OptionError(f"the address {ray_address} requires the launcher ray")
    if is_url(out):
        raise OptionError(f"'{out}' requires the launcher ray: runs on this machine need a folder")
    return LocalPool(workers=workers, options=options)


def checked_selection(sweep: Sweep, select: Sequence[int] | None, report: Sequence[int] | None) -> Selection:
    """Return the selection if the sweep has its seeds.

    Raises:
        OptionError: it does not, or one kind of seeds is given without the other.
    """
    selection = Selection(
        None if select is None else tuple(select), None if report is None else tuple(report)
    )
    known = {seed for run in sweep.runs for seed in run.config.seeds}
    for seed in (*(selection.choosing or ()), *(selection.judging or ())):
        if seed not in known:
            raise OptionError(f"no cell has seed {seed}; there are: {', '.join(map(str, sorted(known)))}")
    return selection


def shard_of(runs: Sequence[Run], shard: tuple[int, int] | None) -> list[Run]:
    """Return every N-th run in the order of the file, from the I-th: shards differ in size by one at most.

    Raises:
        OptionError: there is no such shard.
    """
    if shard is None:
        return list(runs)
    index, number = shard
    if not 1 <= index <= number:
        raise OptionError(f"shard {index}/{number}: give I/N with I from 1 to N")
    return list(runs[index - 1 :: number])

"""Recorded runs as pandas frames: `clbench.load_results`."""

import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.checks import count
from clbench.errors import DataError
from clbench.places import expanded
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results.folder import RUN, RunFolder, group_of
from clbench.results.manifest import RunManifest
from clbench.results.tables import Record, columns, frame
from clbench.scoring import Score, as_row, score

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

RESULTS = "results"
"""Where `clbench.evaluate` creates run folders by default."""

STREAM = ("num_tasks", "epochs_per_task", "num_samples", "batch_size", "source")


@dataclass(frozen=True)
class StoredRun:
    """A run in its folder, which before schema 2 several agents shared. Its name is the path as given or found."""

    name: str
    folder: RunFolder
    manifest: RunManifest

    @property
    def agent(self) -> str:
        return self.manifest.config.agent.name

    @property
    def group(self) -> str:
        path = self.folder.path
        group = group_of(path, self.agent)
        return self.name if group == path else group.as_posix()

    def read_tasks(self) -> list[TaskRecord]:
        return [record for record in self.folder.read_tasks() if record.agent == self.agent]

    def read_indicators(self) -> list[IndicatorRecord]:
        return [record for record in self.folder.read_indicators() if record.agent == self.agent]


def find_runs(*folders: str | Path) -> list[StoredRun]:
    """Return the runs in folders, see `load_results`; those of a group in the order in which agents were named."""
    groups_by_path: dict[Path, list[StoredRun]] = {}
    for given in folders or (RESULTS,):
        parent = Path(expanded(given))
        paths = [parent] if (parent / RUN).is_file() else [path.parent for path in parent.rglob(RUN)]
        if not paths:
            why = f"no {RUN} in or below it" if parent.is_dir() else "the folder does not exist"
            raise DataError(
                f"'{given}' contains no run: {why}; give a folder created by clbench evaluate, or a parent folder"
            )
        groups = []
        for path in paths:
            if path.resolve() not in groups_by_path:
                folder = RunFolder(path)
                manifests = folder.read_manifests()
                now = [replace(manifest, status=folder.current_status(manifest)) for manifest in manifests]
                groups.append([StoredRun(path.as_posix(), folder, manifest) for manifest in now])
        groups_by_path |= {runs[0].folder.path.resolve(): runs for runs in sorted(groups, key=_order)}
    return [run for runs in groups_by_path.values() for run in runs]


def _order(runs: list[StoredRun]) -> tuple[tuple[int, str], ...]:
    *above, last = runs[0].folder.path.parts or ("",)
    return (*((0, name) for name in above), (runs[0].manifest.position, last))


@dataclass(frozen=True, eq=False)
class Results:
    """Recorded runs as frames, each read when first asked for."""

    stored: tuple[StoredRun, ...]

    @cached_property
    def runs(self) -> "pd.DataFrame":
        """A row per run: what was run, on what, and how far it got (`status`).

        `changed` names what differs from the protocol, `seeds` counts, `arguments` is JSON; `scheduler` is
        "none" where an agent has no such argument. Facts that a run does not record are missing, as in pandas.
        Arguments and stream options that a sweep varied have additional columns, such as `arguments.step_size`, and so
        have `boundaries` where a run hides them.
        """
        import pandas as pd

        sweeps = (run.manifest.sweep for run in self.stored)
        names = dict.fromkeys(name for sweep in sweeps if sweep is not None for name in sweep.varied)
        varied = [name for name in names if "." in name]
        rows = [_row(run, varied) for run in self.stored]
        if any(run.manifest.config.stream.hides_boundaries for run in self.stored):
            for row, run in zip(rows, self.stored, strict=True):
                row["boundaries"] = run.manifest.config.stream.boundaries
        table: pd.DataFrame = pd.DataFrame(rows)
        return table

    @cached_property
    def tasks(self) -> "pd.DataFrame":
        """A row per run, seed and task: `run` and the columns of tasks.csv."""
        return self._joined(RunFolder.read_tasks, TaskRecord)

    @cached_property
    def indicators(self) -> "pd.DataFrame":
        """What was measured: `run` and the columns of indicators.csv; no rows for runs that have none."""
        return self._joined(RunFolder.read_indicators, IndicatorRecord)

    @cached_property
    def scores(self) -> "tuple[Score | None, ...]":
        """The score of each run; None for one without a finished seed."""
        return tuple(
            score(run.agent, run.read_tasks(), run.manifest.config.stream.num_tasks, run.manifest.chance)
            for run in self.stored
        )

    @property
    def summary(self) -> "pd.DataFrame":
        """A row per run: each score's mean, and its interval's ends as `<score>_low` and `<score>_high`.

        `seeds` are those that are finished; without any, scores are missing.
        """
        import pandas as pd

        table: pd.DataFrame = pd.DataFrame(
            [
                {"run": run.name, "agent": run.agent, "seeds": 0 if each is None else each.seeds}
                | ({} if each is None else as_row(each))
                for run, each in zip(self.stored, self.scores, strict=True)
            ]
        )
        return table

    def plot(self, ax: "Axes | None" = None) -> "Figure":
        """Return the figure of task accuracy over tasks, a line per run with a band of 95 % t intervals.

        Args:
            ax: the axes of a figure of yours to draw in; that figure is returned.
        """
        from clbench.plotting import accuracy_curves

        accuracies: dict[str, dict[int, list[float]]] = {}
        for label, run in zip(self._labels, self.stored, strict=True):
            by_task = accuracies.setdefault(label, {})
            for record in run.read_tasks():
                by_task.setdefault(record.task, []).append(record.accuracy)
        chances = {run.manifest.chance for run in self.stored}
        return accuracy_curves(accuracies, self._title, min(chances) if len(chances) == 1 else math.nan, ax)

    @property
    def _labels(self) -> list[str]:
        """Names of the agents; of one that has several runs, with what a sweep varied, or the run's name."""
        labels = [run.agent for run in self.stored]
        for describe in (_varied, lambda run: Path(run.group).name, lambda run: run.name):
            labels = [
                f"{run.agent} ({text})" if labels.count(label) > 1 and (text := describe(run)) else label
                for run, label in zip(self.stored, labels, strict=True)
            ]
        return labels

    @property
    def _title(self) -> str:
        """How many runs there are and what was run, or that this is not the same in all."""
        what = {run.manifest.describe(with_seeds=False) for run in self.stored}
        return " · ".join(
            [count(len(self.stored), "run"), *(what if len(what) < 2 else ["not the same streams"])]
        )

    def __repr__(self) -> str:
        from clbench.plotting.showing import as_text

        lines = [
            f"{label}  {run.manifest.status}" for label, run in zip(self._labels, self.stored, strict=True)
        ]
        return as_text(f"Results: {self._title}", lines)

    def _repr_html_(self) -> str:
        from clbench.plotting.showing import as_html, score_frame

        table = score_frame(zip(self._labels, self.scores, strict=True))
        return as_html(self._title, table, self.plot)

    def _joined(self, read: Callable[[RunFolder], Iterable[Record]], kind: type[Record]) -> "pd.DataFrame":
        import pandas as pd

        frames = []
        for name, folder in {run.name: run.folder for run in self.stored}.items():
            rows = frame(read(folder), kind)
            rows.insert(0, "run", name)
            if len(rows):  # an empty one would change the others' dtypes
                frames.append(rows)
        return (
            pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["run", *columns(kind)])
        )


def load_results(*folders: str | Path) -> Results:
    """Return recorded runs as pandas frames: `runs`, `tasks` and `indicators`, which share the column `run`.

    Unfinished runs are included; their `status` says so.

    Args:
        folders: run folders, groups, or folders that are searched for runs at any depth; "results" if none.
            A run that is named twice is included once.

    Returns:
        The frames; tables are read when first asked for.

    Raises:
        DataError: a folder does not hold a run, or holds one that is damaged or of a later version.

    Examples:
        >>> import pathlib, tempfile
        >>> from clbench.config import AgentConfig, RunConfig
        >>> from clbench.specs import StreamSpec
        >>> agent = AgentConfig(name="a", arguments={"step_size": 0.1})
        >>> config = RunConfig(agent=agent, stream=StreamSpec("RandomLabelMNIST-v0"), protocol="quick", seeds=(0,))
        >>> folder = RunFolder(pathlib.Path(tempfile.mkdtemp()))
        >>> folder.write_manifest(RunManifest(status="complete", config=config))
        >>> folder.write_tasks([TaskRecord("a", 0, 0, 1, 0.5, 0.5, 1.5, 0.1)])
        >>> results = load_results(folder.path)
        >>> results.runs[["agent", "scheduler", "status"]].values.tolist()
        [['a', 'none', 'complete']]
        >>> results.tasks.accuracy.tolist()
        [0.5]
    """
    return Results(tuple(find_runs(*folders)))


def _varied(run: StoredRun) -> str:
    """Return what the run's sweep varied besides the agent, as text."""
    names = run.manifest.sweep.varied if run.manifest.sweep is not None else ()
    settings = {name.partition(".")[2]: run.manifest.setting(name) for name in names if "." in name}
    return ", ".join(f"{name}={value}" for name, value in settings.items())


def _row(run: StoredRun, varied: Iterable[str]) -> dict[str, Any]:
    manifest, config = run.manifest, run.manifest.config
    rate = manifest.timing.steps_per_second
    return {
        "run": run.name,
        "agent": run.agent,
        "stream": config.stream.id,
        "protocol": config.protocol,
        "changed": ", ".join(config.overrides),
        **{name: getattr(config.stream, name) for name in STREAM},
        "seeds": len(config.seeds),
        "device": config.device,
        "status": manifest.status,
        "scheduler": str(config.agent.arguments.get("scheduler", "none")),
        "arguments": json.dumps(dict(config.agent.arguments)),
        "agent_sha256": manifest.agent_source.sha256,
        "data_sha256": manifest.data.sha256,
        "steps_per_second": math.nan if rate is None else rate,
        "clbench": manifest.versions.get("clbench"),
        "torch": manifest.versions.get("torch"),
        "started": manifest.started,
        **{name: manifest.setting(name) for name in varied},
    }

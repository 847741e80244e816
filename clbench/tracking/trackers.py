"""Records to all chosen trackers, each task once; a tracker that fails is dropped, never the run."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from clbench.checks import check_choice, split_names
from clbench.errors import OptionError
from clbench.places import recorded_in
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder, RunManifest
from clbench.scoring import finished, seed_scores
from clbench.tracking.tracker import METRICS, FinishedTask, TrackedRun, Tracker

TRACKERS = MappingProxyType({"tensorboard": "TensorBoard", "wandb": "WandB", "mlflow": "MLflow"})
"""Classes by name; each is in the module of that name, and its package in clbench's extra of that name."""


def check_trackers(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return names of trackers whose packages are installed: those listed; none for None or "none".

    Raises:
        UnknownNameError: there is no such tracker.
        OptionError: its package is missing.
    """
    names = split_names(wanted or "none")
    if names == ["none"]:
        return ()
    for name in names:
        check_choice("tracker", name, TRACKERS)
        try:
            _load(name)
        except ImportError as error:
            raise OptionError(
                f'{name} cannot be logged to ({error}): pip install "clbench[{name}]"'
            ) from error
    return tuple(dict.fromkeys(names))


def _load(name: str) -> Callable[[TrackedRun], Tracker]:
    made: Callable[[TrackedRun], Tracker] = getattr(import_module(f"clbench.tracking.{name}"), TRACKERS[name])
    return made


class Trackers:
    """Hands every finished task to the trackers.

    What each has logged is kept beside the run's states, so that a later session, which is given all records anew,
    hands over only the rest.

    Args:
        names: of the trackers, checked.
        folder: the run's, held by this process.
        manifest: what run.json says.
        note: tells people something.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: RunFolder,
        manifest: RunManifest,
        note: Callable[[str], None],
    ) -> None:
        self._folder, self._stream, self._note = folder, manifest.config.stream, note
        self._open: dict[str, Tracker] = {}
        self._kept: dict[str, dict[str, Any]] = {}
        self._records: dict[str, list[TaskRecord]] = {}
        self._indicators: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
        for name in names:
            with self._dropping(name):
                config, series = _configs(manifest)
                kept = self._kept[name] = {"ids": {}, "tasks": {}, **folder.read_private(name)}
                left = {
                    title: own
                    for title, own in series.items()
                    if kept["tasks"].get(title, 0) < self._stream.num_tasks
                }
                run = TrackedRun(folder.path, config, left, kept["ids"], kept["tasks"], note)
                self._open[name] = _load(name)(run)
                folder.write_private(name, kept)

    def take(self, record: TaskRecord | IndicatorRecord) -> None:
        """Take a record; a task's indicators come before the task."""
        if not self._open:
            return
        title = _title(record.agent, record.seed)
        if isinstance(record, IndicatorRecord):
            if not math.isfinite(record.value):
                return  # no bound, or none defined: a gap, since some trackers would show the largest number
            step = record.task * self._stream.steps_per_task + record.step
            measured = self._indicators.setdefault((title, record.task), {}).setdefault(step, {})
            measured[f"{record.indicator}/{record.layer}"] = record.value
            return
        task = self._finished(title, record)
        for name, tracker in list(self._open.items()):
            kept = self._kept[name]
            if record.task >= kept["tasks"].get(title, 0):
                with self._dropping(name):
                    tracker.take(task)
                    kept["tasks"][title] = record.task + 1
                    self._folder.write_private(name, kept)

    def end(self, status: str) -> None:
        """Tell all trackers how the session ended."""
        for name, tracker in list(self._open.items()):
            with self._dropping(name):
                tracker.end(status)

    def _finished(self, title: str, record: TaskRecord) -> FinishedTask:
        records = self._records.setdefault(title, [])
        records.append(record)
        metrics = {name: getattr(record, field) for name, field in METRICS.items()}
        whole = finished(record.agent, records, self._stream.num_tasks)
        scores = seed_scores(whole.values()) if whole else {}
        return FinishedTask(
            title=title,
            task=record.task,
            step=(record.task + 1) * self._stream.steps_per_task,
            metrics={name: value for name, value in metrics.items() if not math.isnan(value)},
            indicators=self._indicators.pop((title, record.task), {}),
            scores={f"score/{name}": float(values[0]) for name, values in scores.items()},
        )

    @contextlib.contextmanager
    def _dropping(self, name: str) -> Iterator[None]:
        """Drop the tracker if it fails."""
        try:
            yield
        except Exception as error:
            self._open.pop(name, None)
            why = " ".join(f"{type(error).__name__}: {error}".split())
            self._note(f"{name} failed, and the run goes on without it: {why}")


def _title(agent: str, seed: int) -> str:
    return f"{agent} seed {seed}"


def _configs(manifest: RunManifest) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what run.json says of the run as a whole, and of each series."""
    data = recorded_in(manifest.to_json())
    config = {name: data["config"][name] for name in ("stream", "protocol", "overrides", "device")}
    config |= {name: data[name] for name in ("data", "versions", "hardware", "git")}
    agent = data["config"]["agent"]
    series = {
        _title(agent["name"], seed): {
            "agent": agent["name"],
            "seed": seed,
            "arguments": agent["arguments"],
            "source": data["agent_source"],
            **config,
        }
        for seed in manifest.config.seeds
    }
    return config, series

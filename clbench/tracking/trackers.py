"""Hands records to all chosen trackers, each task once; a tracker that fails is dropped, never the run."""

import contextlib
import math
from collections.abc import Callable, Generator, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from clbench.checks import check_choice, split_names
from clbench.errors import OptionError
from clbench.places import recorded_in
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder, RunManifest
from clbench.results.folder import group_of
from clbench.scoring import finished, seed_scores
from clbench.tracking.tracker import METRICS, FinishedTask, TrackedRun, Tracker

TRACKERS = MappingProxyType({"tensorboard": "TensorBoard", "wandb": "WandB", "mlflow": "MLflow"})
"""Classes by name; each is in the module of that name, and its package in clbench's extra of that name."""


def check_trackers(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the trackers listed, whose packages must be installed; none for None or "none"."""
    names = split_names(wanted or "none")
    if names == ["none"]:
        return ()
    for name in names:
        check_choice("tracker", name, TRACKERS)
        try:
            _load(name)
        except ImportError as error:
            raise OptionError(f'{name} is not available ({error}): pip install "clbench[{name}]"') from error
    return tuple(dict.fromkeys(names))


def _load(name: str) -> Callable[[TrackedRun], Tracker]:
    tracker: Callable[[TrackedRun], Tracker] = getattr(
        import_module(f"clbench.tracking.{name}"), TRACKERS[name]
    )
    return tracker


class Trackers:
    """Hands every finished task to the trackers, which `check_trackers` has checked.

    How much each has logged is saved next to the run's checkpoints, so that a later session, which gets all records
    again, hands over only the rest.
    """

    def __init__(
        self, names: Sequence[str], folder: RunFolder, manifest: RunManifest, note: Callable[[str], None]
    ) -> None:
        self._folder, self._stream, self._note = folder, manifest.config.stream, note
        self._trackers: dict[str, Tracker] = {}
        self._runs: dict[str, TrackedRun] = {}
        self._records: dict[str, list[TaskRecord]] = {}
        self._indicators: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
        for name in names:
            with self._drop_on_failure(name):
                config, series = _configs(manifest)
                saved = {"ids": {}, "tasks": {}, **folder.read_private(name)}
                logged = saved["tasks"]
                rest = {
                    title: settings
                    for title, settings in series.items()
                    if logged.get(title, 0) < self._stream.num_tasks
                }
                group = group_of(folder.path, manifest.config.agent.name)
                run = TrackedRun(folder.path, group, config, rest, saved["ids"], logged, note)
                self._runs[name] = run
                self._trackers[name] = _load(name)(run)
                self._save(name)

    def take(self, record: TaskRecord | IndicatorRecord) -> None:
        """Log a record; a task's indicators come before the task."""
        if not self._trackers:
            return
        title = _title(record.agent, record.seed)
        if isinstance(record, IndicatorRecord):
            if math.isfinite(record.value):  # else a gap, since some trackers would show the largest number
                step = record.task * self._stream.steps_per_task + record.step
                steps = self._indicators.setdefault((title, record.task), {})
                steps.setdefault(step, {})[f"{record.indicator}/{record.layer}"] = record.value
            return
        task = self._finished(title, record)
        for name, tracker in list(self._trackers.items()):
            logged = self._runs[name].tasks
            if record.task >= logged.get(title, 0):
                with self._drop_on_failure(name):
                    tracker.log_task(task)
                    logged[title] = record.task + 1
                    self._save(name)

    def end(self, status: str) -> None:
        for name, tracker in list(self._trackers.items()):
            with self._drop_on_failure(name):
                tracker.end(status)

    def _finished(self, title: str, record: TaskRecord) -> FinishedTask:
        records = self._records.setdefault(title, [])
        records.append(record)
        metrics = {name: getattr(record, field) for name, field in METRICS.items()}
        complete = finished(record.agent, records, self._stream.num_tasks)
        scores = seed_scores(complete.values()) if complete else {}
        return FinishedTask(
            title=title,
            task=record.task,
            step=(record.task + 1) * self._stream.steps_per_task,
            metrics={name: value for name, value in metrics.items() if not math.isnan(value)},
            indicators=self._indicators.pop((title, record.task), {}),
            scores={f"score/{name}": float(values[0]) for name, values in scores.items()},
        )

    def _save(self, name: str) -> None:
        run = self._runs[name]
        self._folder.write_private(name, {"ids": run.ids, "tasks": run.tasks})

    @contextlib.contextmanager
    def _drop_on_failure(self, name: str) -> Generator[None]:
        try:
            yield
        except Exception as error:
            self._trackers.pop(name, None)
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            self._note(f"{name} failed, and the run continues without it: {reason}")


def _title(agent: str, seed: int) -> str:
    return f"{agent} seed {seed}"


def _configs(manifest: RunManifest) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
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

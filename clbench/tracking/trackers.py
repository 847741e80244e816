"""Hands records to all chosen trackers, each task once; a tracker that fails is dropped, never the run."""

import contextlib
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any

from clbench.errors import OptionError
from clbench.records import IndicatorRecord, TaskRecord
from clbench.results import RunFolder
from clbench.scoring import finished, seed_scores
from clbench.specs import RunSpec, check_choice, names_in
from clbench.tracking.tracker import METRICS, FinishedTask, TrackedRun, Tracker

TRACKERS = MappingProxyType({"tensorboard": "TensorBoard", "wandb": "WandB", "mlflow": "MLflow"})
"""Classes by name; each is in the module of that name, and its package in clbench's extra of that name."""


def check_trackers(wanted: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return the names of the trackers listed; none for None or "none".

    Raises:
        OptionError: a tracker's package is not installed.
    """
    names = names_in(wanted or "none")
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
    """Hands every finished task to the trackers.

    How much each has logged is saved next to the run's checkpoints, so that a later session, which gets all records
    again, hands over only the rest.

    Args:
        names: of the trackers, checked.
        folder: the run's, held by this process.
        spec: what runs; its stream is resolved.
        facts: run.json's content.
        note: shows a note to the user.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: RunFolder,
        spec: RunSpec,
        facts: Mapping[str, Any],
        note: Callable[[str], None],
    ) -> None:
        self._folder, self._stream, self._note = folder, spec.stream, note
        self._trackers: dict[str, Tracker] = {}
        self._runs: dict[str, TrackedRun] = {}
        self._records: dict[str, list[TaskRecord]] = {}
        self._indicators: dict[tuple[str, int], dict[int, dict[str, float]]] = {}
        for name in names:
            with self._drop_on_failure(name):
                config, series = _configs(spec, facts)
                saved = {"ids": {}, "tasks": {}, **folder.kept(name)}
                logged = saved["tasks"]
                rest = {
                    title: entry
                    for title, entry in series.items()
                    if logged.get(title, 0) < spec.stream.num_tasks
                }
                run = self._runs[name] = TrackedRun(folder.path, config, rest, saved["ids"], logged, note)
                self._trackers[name] = _load(name)(run)
                self._save(name)

    def take(self, record: TaskRecord | IndicatorRecord) -> None:
        """Log a record; a task's indicators come before the task."""
        if not self._trackers:
            return
        title = _title(record.agent, record.seed)
        if isinstance(record, IndicatorRecord):
            if math.isfinite(
                record.value
            ):  # else leave a gap, since some trackers would show the largest number
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
        """Tell all trackers how the session ended."""
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
        self._folder.keep(name, {"ids": run.ids, "tasks": run.tasks})

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


def _configs(spec: RunSpec, facts: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return what run.json says about the run as a whole, and about each series."""
    config = {name: facts["spec"][name] for name in ("stream", "protocol", "overrides", "device")}
    config |= {name: facts[name] for name in ("data", "versions", "hardware", "git")}
    series = {
        _title(agent.name, seed): {
            "agent": agent.name,
            "seed": seed,
            "arguments": dict(recorded["arguments"]),
            "source": facts["agents"][agent.name],
            **config,
        }
        for agent, recorded in zip(spec.agents, facts["spec"]["agents"], strict=True)
        for seed in spec.seeds
    }
    return config, series

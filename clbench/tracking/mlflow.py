"""MLflow: experiment "clbench", a run for each run folder, and nested in it one for each agent and seed."""

import logging
import time
from collections.abc import Callable

from mlflow import MlflowClient, is_tracking_uri_set
from mlflow.entities import Metric, Param

from clbench.tracking.tracker import Config, FinishedTask, TrackedRun, flatten

EXPERIMENT = "clbench"
STATUS = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
BATCH = 1000  # metrics that a server accepts at a time


class MLflow:
    """Runs where MLFLOW_TRACKING_URI says, else in `mlflow.db` next to the group folder, shared by all runs there."""

    def __init__(self, run: TrackedRun) -> None:
        # It reports each table that it creates.
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)
        is_set: Callable[[], bool] = is_tracking_uri_set  # which has no annotations
        database = f"sqlite:///{(run.group.resolve().parent / 'mlflow.db').as_posix()}"
        self._client = MlflowClient(None if is_set() else database)
        experiment = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment = (
            experiment.experiment_id if experiment else self._client.create_experiment(EXPERIMENT)
        )
        self._parent = self._start(run, run.folder.relative_to(run.group.parent).as_posix(), run.config, {})
        nested = {"mlflow.parentRunId": self._parent}
        self._running = {
            title: self._start(run, title, config, nested) for title, config in run.series.items()
        }

    def _start(self, run: TrackedRun, title: str, config: Config, tags: dict[str, str]) -> str:
        if title in run.ids:
            self._client.update_run(run.ids[title], status="RUNNING")
        else:
            created = self._client.create_run(self._experiment, run_name=title, tags=tags)
            params = [Param(name, str(value)) for name, value in flatten(config)]
            self._client.log_batch(created.info.run_id, params=params)
            run.ids[title] = created.info.run_id
        return run.ids[title]

    def log_task(self, finished: FinishedTask) -> None:
        run_id, now = self._running[finished.title], int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value, step in finished.points()]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(run_id, metrics=metrics[start : start + BATCH])
        if finished.scores:
            self._client.set_terminated(self._running.pop(finished.title), STATUS["complete"])

    def end(self, status: str) -> None:
        """End the run, and those nested in it that are not complete."""
        for run_id in (*self._running.values(), self._parent):
            self._client.set_terminated(run_id, STATUS[status])

"""MLflow: experiment "clbench", a run for each run folder, and nested in it one for each agent and seed."""

import logging
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param

from clbench.tracking.tracker import Config, FinishedTask, TrackedRun, flat

EXPERIMENT = "clbench"
STATUS = {"complete": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
BATCH = 1000  # metrics that a server takes at a time


class MLflow:
    """Runs where MLFLOW_TRACKING_URI says, else in `mlflow.db` beside the run folder, for all runs there."""

    def __init__(self, run: TrackedRun) -> None:
        logging.getLogger("mlflow.store.db").setLevel(logging.WARNING)  # it tells of each table that it makes
        beside = f"sqlite:///{(run.folder.resolve().parent / 'mlflow.db').as_posix()}"
        self._client = MlflowClient(None if mlflow.is_tracking_uri_set() else beside)
        found = self._client.get_experiment_by_name(EXPERIMENT)
        self._experiment = found.experiment_id if found else self._client.create_experiment(EXPERIMENT)
        self._parent = self._begin(run, run.folder.name, run.config, {})
        nested = {"mlflow.parentRunId": self._parent}
        self._open = {title: self._begin(run, title, config, nested) for title, config in run.series.items()}

    def _begin(self, run: TrackedRun, title: str, config: Config, tags: dict[str, str]) -> str:
        """Return the id of the run of that title, which is running from now on."""
        if title in run.ids:
            self._client.update_run(run.ids[title], status="RUNNING")
        else:
            made = self._client.create_run(self._experiment, run_name=title, tags=tags)
            params = [Param(name, str(value)) for name, value in flat(config)]
            self._client.log_batch(made.info.run_id, params=params)
            run.ids[title] = made.info.run_id
        return run.ids[title]

    def take(self, finished: FinishedTask) -> None:
        """Log the task's values; with the scores, the run is finished."""
        own, now = self._open[finished.title], int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value, step in finished.points()]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(own, metrics=metrics[start : start + BATCH])
        if finished.scores:
            self._client.set_terminated(self._open.pop(finished.title), STATUS["complete"])

    def end(self, status: str) -> None:
        """End the run, and those nested in it that are not complete."""
        for own in (*self._open.values(), self._parent):
            self._client.set_terminated(own, STATUS[status])

"""Weights & Biases: project "clbench", a group for each evaluation, a run for each agent and seed."""

import os
import uuid
from typing import Any

import wandb

from clbench.tracking.tracker import METRICS, FinishedTask, TrackedRun

SETTINGS = wandb.Settings(
    silent=True,
    console="off",
    x_disable_stats=True,  # of this process, which only waits
    x_disable_meta=True,  # the machine's name and folders; the configuration describes the hardware
    x_transaction_log_flush_interval=0.1,  # seconds; what is in the file survives a kill
)
EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 255}


class WandB:
    """Runs under saved ids, which later sessions resume; their files are in `wandb/` of the run folder.

    Without credentials and without WANDB_MODE it works offline; `wandb sync` uploads such runs with all their sessions.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._runs: dict[str, wandb.Run] = {}
        # It mistakes the module `agents` for another one, and offers help with it.
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        mode: Any = os.environ.get("WANDB_MODE")
        if mode is None and not wandb.login(prompt=False, verify=False):
            mode = "offline"
            run.note(
                f"wandb has no API key and works offline; upload with: wandb sync {run.folder}/wandb/offline-*"
            )
        for title, config in run.series.items():
            self._runs[title] = series = wandb.init(
                project="clbench",
                group=run.group.name,
                name=title,
                id=run.ids.setdefault(title, uuid.uuid4().hex[:12]),
                resume="allow",
                reinit="create_new",  # several at a time, next to the user's
                dir=run.folder,
                config=dict(config),
                mode=mode,
                settings=SETTINGS,
            )
            series.define_metric("task")
            for name in METRICS:
                series.define_metric(name, step_metric="task")

    def log_task(self, finished: FinishedTask) -> None:
        """Log a row for each measured step of the stream, and the task's metrics with its last step."""
        series = self._runs[finished.title]
        rows = dict(finished.indicators)
        rows[finished.step] = {**rows.get(finished.step, {}), "task": finished.task, **finished.metrics}
        for step in sorted(rows):
            series.log(dict(rows[step]), step=step, commit=True)
        if finished.scores:
            series.summary.update(dict(finished.scores))
            self._runs.pop(finished.title).finish()

    def end(self, status: str) -> None:
        for series in self._runs.values():
            series.finish(exit_code=EXIT_CODES[status])

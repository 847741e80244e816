"""Weights & Biases: project "clbench", a group for each run folder, a run for each agent and seed."""

import os
import uuid
from typing import Any

import wandb

from clbench.tracking.tracker import METRICS, FinishedTask, TrackedRun

SETTINGS = wandb.Settings(
    silent=True,
    console="off",
    x_disable_stats=True,  # of this process, in which nothing happens
    x_disable_meta=True,  # the machine's name and folders; the configuration says what it is
    x_transaction_log_flush_interval=0.1,  # seconds; what is in the file outlives a kill
)
EXIT_CODES = {"complete": 0, "failed": 1, "interrupted": 255}


class WandB:
    """Runs under ids of their own, which later sessions resume; their files are in `wandb/` of the run folder.

    Without credentials, and without WANDB_MODE, it is offline; `wandb sync` uploads such runs, all sessions of each.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._open: dict[str, wandb.Run] = {}
        # It takes the module `agents` for another one, and offers its help with that.
        os.environ.setdefault("WANDB_DISABLE_WEAVE", "true")
        mode: Any = os.environ.get("WANDB_MODE")
        if mode is None and not wandb.login(prompt=False, verify=False):
            mode = "offline"
            run.note(
                f"wandb has no API key and works offline; upload with: wandb sync {run.folder}/wandb/offline-*"
            )
        for title, config in run.series.items():
            self._open[title] = own = wandb.init(
                project="clbench",
                group=run.folder.name,
                name=title,
                id=run.ids.setdefault(title, uuid.uuid4().hex[:12]),
                resume="allow",
                reinit="create_new",  # many at a time, beside one of the user's
                dir=run.folder,
                config=dict(config),
                mode=mode,
                settings=SETTINGS,
            )
            own.define_metric("task")
            for name in METRICS:
                own.define_metric(name, step_metric="task")

    def take(self, finished: FinishedTask) -> None:
        """Log a row for each step of the stream at which something was measured, and the task's with the last."""
        own = self._open[finished.title]
        rows = dict(finished.indicators)
        rows[finished.step] = {**rows.get(finished.step, {}), "task": finished.task, **finished.metrics}
        for step in sorted(rows):
            own.log(dict(rows[step]), step=step, commit=True)
        if finished.scores:
            own.summary.update(dict(finished.scores))
            self._open.pop(finished.title).finish()

    def end(self, status: str) -> None:
        """End the runs that are not complete."""
        for own in self._open.values():
            own.finish(exit_code=EXIT_CODES[status])

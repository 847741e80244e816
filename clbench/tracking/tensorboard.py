"""TensorBoard: event files in `tensorboard/<agent>/seed-<seed>` of the run folder."""

import re
import shutil
from pathlib import Path
from urllib.parse import quote

from torch.utils.tensorboard import SummaryWriter

from clbench.tracking.tracker import FinishedTask, TrackedRun, flatten

NAME = re.compile(r"^(events\.out\.tfevents\.\d+\.).*?(\.\d+\.\d+)$")  # time, machine, process, number


class TensorBoard:
    """A folder of event files for each series.

    A later session writes a series from its start: a session that was killed may have written part of a task.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._writers: dict[str, SummaryWriter] = {}
        self._folders: dict[str, Path] = {}
        for folder in run.folder.glob("tensorboard/*/seed-*"):
            _remove_machine_name(folder)  # an earlier session may have been killed
        for title, config in run.series.items():
            # An agent's name may be a path.
            folder = run.folder / "tensorboard" / quote(config["agent"], safe="") / f"seed-{config['seed']}"
            shutil.rmtree(folder, ignore_errors=True)
            run.tasks.pop(title, None)
            # A dashboard may still show what was there before.
            writer = SummaryWriter(str(folder), purge_step=0)
            self._folders[title], self._writers[title] = folder, writer
            rows = (f"|{name}|{value}|" for name, value in flatten(config))
            writer.add_text("config", "\n".join(["|name|value|", "|-|-|", *rows]))

    def log_task(self, finished: FinishedTask) -> None:
        writer = self._writers[finished.title]
        for name, value, step in finished.points():
            writer.add_scalar(name, value, step)
        writer.flush()
        if finished.scores:
            self._close(finished.title)

    def end(self, status: str) -> None:
        for title in list(self._writers):
            self._close(title)

    def _close(self, title: str) -> None:
        self._writers.pop(title).close()
        _remove_machine_name(self._folders[title])


def _remove_machine_name(folder: Path) -> None:
    """Rename closed event files; the writer itself always uses the machine's name."""
    for path in folder.glob("events.out.tfevents.*"):
        path.rename(path.with_name(NAME.sub(r"\1clbench\2", path.name)))

"""TensorBoard: event files in `tensorboard/<agent>/seed-<seed>` of the run folder."""

import re
import shutil
from pathlib import Path
from urllib.parse import quote

from torch.utils.tensorboard import SummaryWriter

from clbench.tracking.tracker import FinishedTask, TrackedRun, flat

NAME = re.compile(r"^(events\.out\.tfevents\.\d+\.).*?(\.\d+\.\d+)$")  # time, machine, process, number


class TensorBoard:
    """A folder of event files for each series.

    A later session writes a series anew: an earlier one that was killed may have written a part of a task's values.
    """

    def __init__(self, run: TrackedRun) -> None:
        self._open: dict[str, SummaryWriter] = {}
        self._folders: dict[str, Path] = {}
        for folder in run.folder.glob("tensorboard/*/seed-*"):
            _name_no_machine(folder)  # an earlier session may have been killed
        for title, config in run.series.items():
            # An agent's name may be a path.
            folder = run.folder / "tensorboard" / quote(config["agent"], safe="") / f"seed-{config['seed']}"
            shutil.rmtree(folder, ignore_errors=True)
            run.tasks.pop(title, None)
            self._folders[title] = folder
            self._open[title] = SummaryWriter(
                str(folder), purge_step=0
            )  # a dashboard may show what was there
            rows = (f"|{name}|{value}|" for name, value in flat(config))
            self._open[title].add_text("config", "\n".join(["|name|value|", "|-|-|", *rows]))

    def take(self, finished: FinishedTask) -> None:
        """Write the task's values."""
        writer = self._open[finished.title]
        for name, value, step in finished.points():
            writer.add_scalar(name, value, step)
        writer.flush()
        if finished.scores:
            self._close(finished.title)

    def end(self, status: str) -> None:
        """Close all files, and take the machine's name out of theirs."""
        for title in list(self._open):
            self._close(title)

    def _close(self, title: str) -> None:
        self._open.pop(title).close()
        _name_no_machine(self._folders[title])


def _name_no_machine(folder: Path) -> None:
    """Take the machine's name out of those of closed event files; the writer cannot be told another."""
    for path in folder.glob("events.out.tfevents.*"):
        path.rename(path.with_name(NAME.sub(r"\1clbench\2", path.name)))

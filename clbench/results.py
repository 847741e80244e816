"""The only writer and reader of run folders. Every file appears whole or not at all."""

import csv
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.errors import DataError, OutputError, WriteError
from clbench.records import SCHEMA_VERSION, TaskRecord

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RUN, TASKS, CURVES = "run.json", "tasks.csv", "curves.png"
COLUMNS = [item.name for item in fields(TaskRecord)]


class RunFolder:
    """A folder that holds one run: run.json, tasks.csv, curves.png."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        """Make a new folder `parent/name-N` with the least N that is free; never an existing one.

        Raises:
            OutputError: `parent` cannot be written.
        """
        try:
            parent.mkdir(parents=True, exist_ok=True)
            number = 1 + max(
                (
                    int(found[1])
                    for path in parent.iterdir()
                    if (found := re.fullmatch(re.escape(name) + r"-(\d+)", path.name))
                ),
                default=0,
            )
            while True:
                path = parent / f"{name}-{number}"
                try:
                    path.mkdir()
                    return cls(path)
                except FileExistsError:  # another process was faster
                    number += 1
        except OSError as error:
            raise OutputError(
                f"cannot write to the output folder '{parent}': {error.strerror or error}"
            ) from error

    def write_run(self, facts: Mapping[str, Any]) -> None:
        """Write run.json."""
        data = {"schema_version": SCHEMA_VERSION, **facts}
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        self._write(RUN, lambda path: path.write_text(text, encoding="utf-8"))

    def write_tasks(self, records: Iterable[TaskRecord]) -> None:
        """Write tasks.csv; floats keep all their digits."""
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                key: "" if isinstance(value, float) and math.isnan(value) else value
                for key, value in asdict(record).items()
            }
            for record in records
        )
        self._write(TASKS, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))

    def write_curves(self, figure: "Figure") -> None:
        """Write curves.png."""
        self._write(CURVES, lambda path: figure.savefig(path, format="png"))

    def read_run(self) -> dict[str, Any]:
        """Return run.json's content.

        Raises:
            DataError: the folder holds no run, or one of a later schema.
        """
        try:
            facts: dict[str, Any] = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"'{self.path}' holds no run: {RUN} cannot be read ({error})") from error
        version = facts.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise DataError(
                f"'{self.path}' has schema version {version!r}, this clbench knows {SCHEMA_VERSION}: upgrade clbench"
            )
        return facts

    def read_tasks(self) -> list[TaskRecord]:
        """Return tasks.csv as records."""
        kinds: dict[str, Callable[[str], Any]] = {"agent": str, "seed": int, "task": int, "steps": int}
        with (self.path / TASKS).open(newline="", encoding="utf-8") as file:
            return [
                TaskRecord(
                    **{key: kinds.get(key, _float)(value) for key, value in row.items() if key in COLUMNS}
                )
                for row in csv.DictReader(file)
            ]

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        partial = self.path / f".{name}.partial"
        try:
            write(partial)
            os.replace(partial, self.path / name)
        except OSError as error:
            raise WriteError(f"cannot write '{self.path / name}': {error.strerror or error}") from error


def _float(text: str) -> float:
    return float(text) if text else float("nan")


def frame(records: Iterable[TaskRecord]) -> "pd.DataFrame":
    """Return records as a pandas frame with the columns of tasks.csv."""
    import pandas as pd

    return pd.DataFrame([asdict(record) for record in records], columns=COLUMNS)

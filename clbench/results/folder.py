"""A run's folder: run.json, tables, figures, and while it runs the states of its jobs."""

import contextlib
import csv
import io
import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from clbench.errors import DataError, InUseError, OutputError, WriteError
from clbench.places import recorded, recorded_in
from clbench.records import SCHEMA_VERSION, IndicatorRecord, ProfileRecord, TaskRecord
from clbench.results.files import write_whole
from clbench.results.older import modernized
from clbench.results.states import States

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

RUN, TASKS, INDICATORS, PROFILE, STATE = "run.json", "tasks.csv", "indicators.csv", "profile.csv", "state"
LOG = "failures.log"
Record = TaskRecord | IndicatorRecord | ProfileRecord
AnyRecord = TypeVar("AnyRecord", TaskRecord, IndicatorRecord)


class RunFolder:
    """A folder that holds one run: run.json, tasks.csv, indicators.csv, figures."""

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
        """Write run.json, with paths as `clbench.places` has them."""
        data = {"schema_version": SCHEMA_VERSION, **recorded_in(facts)}
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        self._write(RUN, lambda path: path.write_text(text, encoding="utf-8"), lasting=True)

    def write_tasks(self, records: Iterable[TaskRecord]) -> None:
        """Write tasks.csv; floats keep all their digits."""
        self._write_csv(TASKS, TaskRecord, (asdict(record) for record in records))

    def write_indicators(self, records: Iterable[IndicatorRecord]) -> None:
        """Write indicators.csv; nine digits are all that a float32 has. NaN is an empty cell."""
        rows = (
            {**asdict(record), "value": "" if math.isnan(record.value) else f"{record.value:.9g}"}
            for record in records
        )
        self._write_csv(INDICATORS, IndicatorRecord, rows)

    def write_profile(self, records: Iterable[ProfileRecord]) -> None:
        """Write profile.csv."""
        self._write_csv(PROFILE, ProfileRecord, (asdict(record) for record in records))

    def _write_csv(self, name: str, kind: type[Record], rows: Iterable[Mapping[str, Any]]) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, columns(kind), lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {
                key: "" if isinstance(value, float) and math.isnan(value) else value
                for key, value in row.items()
            }
            for row in rows
        )
        self._write(name, lambda path: path.write_text(text.getvalue(), encoding="utf-8"))

    def write_figure(self, name: str, figure: "Figure") -> None:
        """Write a figure as `name`.png."""
        self._write(f"{name}.png", lambda path: figure.savefig(path, format="png"))

    def has_begun(self) -> bool:
        """Tell whether the folder has a run.json, by which its run can be resumed."""
        return (self.path / RUN).exists()

    def read_run(self) -> dict[str, Any]:
        """Return run.json's content.

        Raises:
            DataError: the folder holds no run, or one of a later schema.
        """
        try:
            facts: dict[str, Any] = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(f"'{self.path}' holds no run: there is no {RUN}") from error
        except (OSError, ValueError) as error:
            raise DataError(f"'{self.path}': {RUN} cannot be read ({error})") from error
        if not isinstance(facts, dict):
            raise DataError(f"'{self.path}' holds no run: {RUN} is no table of facts")
        version = facts.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise DataError(
                f"'{self.path}' has schema version {version!r}, this clbench knows {SCHEMA_VERSION}: upgrade clbench"
            )
        return facts

    def read_tasks(self) -> list[TaskRecord]:
        """Return tasks.csv as records.

        Raises:
            DataError: the file is missing or damaged; says in which line.
        """
        return self._read_csv(TASKS, TaskRecord)

    def read_indicators(self) -> list[IndicatorRecord]:
        """Return indicators.csv as records, those of old runs as they are written today; none if the run has none.

        Raises:
            DataError: the file is damaged, which says in which line; or run.json is.
        """
        if not (self.path / INDICATORS).exists():
            return []
        records = self._read_csv(INDICATORS, IndicatorRecord)
        return modernized(records, self.read_run()) if self.has_begun() else records

    def _read_csv(self, name: str, kind: type[AnyRecord]) -> list[AnyRecord]:
        path = self.path / name
        try:
            with path.open(newline="", encoding="utf-8") as file:
                return list(_records(path, file, kind))
        except OSError as error:
            raise DataError(f"cannot read '{path}': {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"'{path}' is damaged: it is no text in UTF-8") from error

    def write_log(self, text: str) -> None:
        """Write why the run failed, with tracebacks; "" for a run that did not."""
        if text:
            own = recorded(text)
            self._write(LOG, lambda path: path.write_text(own, encoding="utf-8"))
        else:
            (self.path / LOG).unlink(missing_ok=True)

    def _write(self, name: str, write: Callable[[Path], object], lasting: bool = False) -> None:
        write_whole(self.path / name, write, lasting)

    @contextlib.contextmanager
    def in_use(self, patience: float = 0.0) -> Iterator[None]:
        """Hold the folder for this process; the system lets go of it however the process ends.

        Args:
            patience: seconds to wait for another process that holds it.

        Raises:
            InUseError: another process holds it.
            WriteError: the folder cannot be written.
        """
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / STATE / "lock", thread_local=False)  # the process holds it, not a thread
        try:
            (self.path / STATE).mkdir(exist_ok=True)
            lock.acquire(timeout=patience)
        except Timeout:
            raise InUseError(f"'{self.path}' is in use by another process") from None
        except OSError as error:
            raise WriteError(f"cannot write '{self.path}': {error.strerror or error}") from error
        try:
            yield
        finally:
            lock.release()

    def states(self, job: int) -> States:
        """Return where the states of job number `job` are kept."""
        return States(self.path / STATE / f"job-{job}")

    def has_states(self) -> bool:
        """Tell whether there is any state to go on from."""
        return any((self.path / STATE).glob("job-*/*"))

    def keep(self, name: str, data: Mapping[str, Any]) -> None:
        """Keep JSON data under a name beside the states, as long as they are kept.

        Raises:
            WriteError: it cannot be written.
        """
        self._write(f"{STATE}/{name}.json", lambda path: path.write_text(json.dumps(data), encoding="utf-8"))

    def kept(self, name: str) -> dict[str, Any]:
        """Return what is kept under a name; nothing if nothing is."""
        path = self.path / STATE / f"{name}.json"
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return data

    def forget_kept(self) -> None:
        """Delete what is kept under names; states stay, and so does the lock."""
        for path in (self.path / STATE).glob("*.json"):
            path.unlink(missing_ok=True)

    def forget_states(self) -> None:
        """Delete all states and what is beside them: the run is complete, and whoever holds it keeps holding it."""
        shutil.rmtree(self.path / STATE, ignore_errors=True)


def _float(text: str) -> float:
    return float(text) if text else float("nan")


CONVERTERS: Mapping[str, Callable[[str], Any]] = {
    str(kind): convert for kind, convert in ((str, str), (int, int), (float, _float))
}


def _records(path: Path, file: Iterable[str], kind: type[AnyRecord]) -> Iterator[AnyRecord]:
    """Yield a record per row; columns that this version does not know are left out."""
    wanted = {item.name: CONVERTERS[str(item.type)] for item in fields(kind)}
    rows = csv.reader(file)
    try:
        header: list[str] = next(rows, [])
        if missing := [name for name in wanted if name not in header]:
            raise DataError(f"'{path}' is damaged: line 1 has no column '{missing[0]}'")
        places = [(header.index(name), name, convert) for name, convert in wanted.items()]
        for row in filter(None, rows):
            if len(row) != len(header):
                raise DataError(
                    f"'{path}' is damaged: line {rows.line_num} has {len(row)} cells instead of {len(header)}"
                )
            values: dict[str, Any] = {}
            for place, name, convert in places:
                try:
                    values[name] = convert(row[place])
                except ValueError:
                    raise DataError(
                        f"'{path}' is damaged: line {rows.line_num} has {name} '{row[place]}', not a number"
                    ) from None
            yield kind(**values)
    except csv.Error as error:
        raise DataError(f"'{path}' is damaged: line {rows.line_num}: {error}") from error


def columns(kind: type[Record]) -> list[str]:
    """Return the columns of a kind of record's file."""
    return [item.name for item in fields(kind)]


def frame(records: Iterable[Record], kind: type[Record] = TaskRecord) -> "pd.DataFrame":
    """Return records of one kind as a pandas frame with the columns of their file."""
    import pandas as pd

    rows = map(attrgetter(*columns(kind)), records)
    return pd.DataFrame(list(rows), columns=columns(kind))

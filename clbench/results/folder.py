"""A run's folder: run.json, tables, figures, and while it runs the checkpoints of its jobs."""

import contextlib
import json
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clbench.config import RunConfig
from clbench.errors import DataError, InUseError, OutputError, WriteError
from clbench.places import READ, recorded, recorded_in
from clbench.records import IndicatorRecord, ProfileRecord, TaskRecord
from clbench.results.checkpoints import Checkpoints
from clbench.results.files import write_text_whole, write_whole
from clbench.results.manifest import SCHEMA_VERSION, RunManifest, Status
from clbench.results.older import convert_indicators, upgrade
from clbench.results.tables import read_csv, to_csv

if TYPE_CHECKING:
    from filelock import BaseFileLock
    from matplotlib.figure import Figure

RUN, TASKS, INDICATORS, PROFILE, STATE = "run.json", "tasks.csv", "indicators.csv", "profile.csv", "state"
LOG = "failures.log"
PATHS = "paths"  # private file with this machine's paths, which run.json does not have
LOCK = "lock"  # in STATE
HOLDER = "holder"  # private file that names the machine whose process has the lock
PATIENCE = 0.2  # seconds: a reader that probes the lock has it for a moment
LONGEST_NAME = 120


class RunFolder:
    """A folder that holds a run: run.json, tables, figures, and while it runs the checkpoints of its jobs.

    The runs of several agents share a group folder, which holds a run folder for each, and figures of all of them.
    Every file is written whole or not at all.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        try:
            parent.mkdir(parents=True, exist_ok=True)
            taken = (re.fullmatch(re.escape(name) + r"-(\d+)", path.name) for path in parent.iterdir())
            number = 1 + max((int(match[1]) for match in taken if match), default=0)
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

    def create_runs(self, agents: Sequence[str]) -> list["RunFolder"]:
        """Create a run folder for each of the agents: this one for a single agent, else a new folder in this one."""
        if len(agents) == 1:
            return [self]
        folders: dict[str, RunFolder] = {}
        for agent in agents:
            name, base, number = safe_name(agent), safe_name(agent), 2
            while name.lower() in folders:  # some file systems ignore case
                name, number = f"{base}-{number}", number + 1
            folders[name.lower()] = RunFolder(self.path / name)
        try:
            for folder in folders.values():
                folder.path.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write to '{self.path}': {error.strerror or error}") from error
        return list(folders.values())

    # run.json

    def has_run(self) -> bool:
        return (self.path / RUN).is_file()

    def has_older_run(self) -> bool:
        """Tell whether run.json is of an earlier schema: such a run can be read, not resumed."""
        return bool(self._read_json()["schema_version"] < SCHEMA_VERSION)

    def write_manifest(self, manifest: RunManifest) -> None:
        """Write run.json, with paths as `clbench.places` records them.

        Until the run is complete, the paths that run.json does not have are stored with its checkpoints.
        """
        config, data = manifest.config.to_json(), recorded_in(manifest.to_json())
        location = manifest.config.agent.location
        private = {"config": config, "location": location, "env": manifest.env}
        public = {"config": data["config"], "location": "", "env": data["env"]}
        if manifest.status != "complete" and private != public:
            self.write_private(PATHS, {"recorded": data["config"], **private})
        text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
        write_text_whole(self.path / RUN, text, lasting=True)

    def read_manifest(self, private_paths: bool = False) -> RunManifest:
        """Return the manifest in run.json.

        Args:
            private_paths: restore the paths of this machine where they are known, to resume the run; they
                must not be shown.

        Raises:
            DataError: the folder does not hold the run of one agent.
        """
        manifests = self.read_manifests()
        if len(manifests) > 1:
            names = ", ".join(manifest.config.agent.name for manifest in manifests)
            raise DataError(f"'{self.path}' contains runs of several agents: {names}")
        manifest, private = manifests[0], self.read_private(PATHS) if private_paths else {}
        if private.get("recorded") != manifest.config.to_json():  # there are none, or run.json was edited
            return manifest
        private["config"]["agent"]["location"] = private["location"]
        env = private.get("env", manifest.env)
        return replace(manifest, config=RunConfig.from_json(private["config"]), env=env)

    def read_manifests(self) -> list[RunManifest]:
        """Return the manifest of each agent in run.json: one, or several before schema 2."""
        data = self._read_json()
        try:
            manifests = upgrade(data) if data["schema_version"] == 1 else [data]
            return [RunManifest.from_json(manifest) for manifest in manifests]
        except KeyError as error:
            raise DataError(f"'{self.path}' contains a damaged run: {RUN} lacks {error}") from error
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise DataError(f"'{self.path}' contains a damaged run: {RUN}: {error}") from error

    def _read_json(self) -> dict[str, Any]:
        try:
            data: dict[str, Any] = json.loads((self.path / RUN).read_text(encoding=READ))
        except FileNotFoundError as error:
            raise DataError(f"'{self.path}' contains no run: {RUN} is missing") from error
        except (OSError, ValueError) as error:
            raise DataError(f"'{self.path}': {RUN} cannot be read ({error})") from error
        if not isinstance(data, dict):
            raise DataError(f"'{self.path}' contains no run: {RUN} is not a JSON object")
        version = data.get("schema_version")
        if not isinstance(version, int) or version > SCHEMA_VERSION:
            raise DataError(
                f"'{self.path}' has schema version {version!r}, this clbench knows {SCHEMA_VERSION}: upgrade clbench"
            )
        return data

    # Tables, figures and the log

    def write_tasks(self, records: Iterable[TaskRecord]) -> None:
        write_text_whole(self.path / TASKS, to_csv(records, TaskRecord))

    def write_indicators(self, records: Iterable[IndicatorRecord]) -> None:
        write_text_whole(self.path / INDICATORS, to_csv(records, IndicatorRecord))

    def write_profile(self, records: Iterable[ProfileRecord]) -> None:
        write_text_whole(self.path / PROFILE, to_csv(records, ProfileRecord))

    def write_figure(self, name: str, figure: "Figure", kind: str = "png") -> None:
        """Write a figure as `name`.`kind`: png, pdf or svg."""
        write_whole(self.path / f"{name}.{kind}", lambda path: figure.savefig(path, format=kind))

    def write_log(self, text: str) -> None:
        """Write why the run failed, with tracebacks; "" deletes the log of an earlier session."""
        if text:
            write_text_whole(self.path / LOG, recorded(text))
        else:
            (self.path / LOG).unlink(missing_ok=True)

    def read_tasks(self) -> list[TaskRecord]:
        return read_csv(self.path / TASKS, TaskRecord)

    def read_indicators(self) -> list[IndicatorRecord]:
        """Return the records in indicators.csv, of all agents, as they are recorded today; none without the file."""
        if not (self.path / INDICATORS).exists():
            return []
        records = read_csv(self.path / INDICATORS, IndicatorRecord)
        if not self.has_run():
            return records
        manifests = self.read_manifests()
        unbiased = [
            agent.name
            for agent in (item.config.agent for item in manifests)
            if agent.arguments.get("unbiased")
        ]
        return convert_indicators(records, manifests[0].indicator_definitions, unbiased)

    def read_profile(self) -> list[ProfileRecord]:
        return read_csv(self.path / PROFILE, ProfileRecord) if (self.path / PROFILE).exists() else []

    # While it runs: the lock, checkpoints, private files

    @contextlib.contextmanager
    def in_use(self, patience: float = PATIENCE) -> Iterator[None]:
        """Lock the folder for this process, waiting for another one at most `patience` seconds."""
        from filelock import Timeout

        lock = self._lock()
        try:
            (self.path / STATE).mkdir(exist_ok=True)
            try:
                lock.acquire(timeout=patience)
            except FileNotFoundError:  # whoever had it has completed the run meanwhile, and deleted its state
                (self.path / STATE).mkdir(exist_ok=True)
                lock.acquire(timeout=patience)
        except Timeout:
            raise InUseError(f"'{self.path}' is in use by another process") from None
        except OSError as error:
            raise WriteError(f"cannot write '{self.path}': {error.strerror or error}") from error
        try:
            self.write_private(HOLDER, {"host": platform.node()})
            yield
        finally:
            lock.release()

    def current_status(self, manifest: RunManifest) -> Status:
        """Return the status of a manifest; "interrupted" for a run that no process carries out any more.

        Of a run on another machine, whose locks may not be seen from here, it is what run.json says.
        """
        if manifest.status != "running" or not (self.path / STATE / LOCK).exists():
            return manifest.status
        with contextlib.suppress(OSError, ValueError):  # it is being written or deleted, or nobody can tell
            if self.read_private(HOLDER).get("host", platform.node()) == platform.node():
                with self._lock().acquire(timeout=0):  # filelock's Timeout is an OSError
                    return "interrupted"
        return "running"

    def _lock(self) -> "BaseFileLock":
        from filelock import FileLock

        return FileLock(self.path / STATE / LOCK, thread_local=False)  # the process holds it, not a thread

    def checkpoints(self, job: int) -> Checkpoints:
        return Checkpoints(self.path / STATE / f"job-{job}")

    def has_checkpoints(self) -> bool:
        return any((self.path / STATE).glob("job-*/*"))

    def delete_checkpoints(self) -> None:
        """Delete all checkpoints, and keep private files and the lock."""
        for path in (self.path / STATE).glob("job-*"):
            shutil.rmtree(path, ignore_errors=True)

    def delete_state(self) -> None:
        """Delete all checkpoints and private files of a complete run; a lock stays locked."""
        shutil.rmtree(self.path / STATE, ignore_errors=True)

    def write_private(self, name: str, data: Mapping[str, Any]) -> None:
        """Write JSON data that lasts as long as the checkpoints and is not part of the results."""
        with contextlib.suppress(OSError):  # whatever is wrong shows when the file is written
            (self.path / STATE).mkdir(exist_ok=True)
        write_text_whole(self.path / f"{STATE}/{name}.json", json.dumps(data))

    def read_private(self, name: str) -> dict[str, Any]:
        path = self.path / STATE / f"{name}.json"
        data: dict[str, Any] = json.loads(path.read_text(encoding=READ)) if path.exists() else {}
        return data


def group_of(path: Path, agent: str) -> Path:
    """Return the group folder that an agent's run folder is in; the run's folder if it is in none."""
    return path.parent if path.name == safe_name(agent) else path


def safe_name(text: str) -> str:
    """Return a text as a file name.

    >>> safe_name("mine.py:Agent (2)"), safe_name("..")
    ('mine.py_Agent_2_', '_')
    """
    return re.sub(r"[^A-Za-z0-9._=+-]+|^\.+$", "_", text)[:LONGEST_NAME]

"""A run's `run.json`: what was run, where, when, and how it ended."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from clbench.config import RunConfig
from clbench.jsondata import JSON, from_json, to_json

SCHEMA_VERSION = 2
"""Version of run.json; `clbench.results.older` reads earlier ones."""

NUMERICS = 1
"""Which numerics make the results: raised when the same config gives other numbers."""

FIGURES = ("png",)
"""Formats of figures unless others are chosen."""

Status = Literal["running", "complete", "failed", "interrupted"]
Recorded = Literal["evaluate", "by hand"]


@dataclass(frozen=True, kw_only=True)
class CodeSource:
    """Where a class is defined.

    Attributes:
        class_: "module:Class".
        file: as `clbench.places` records it; None for a class without one, such as a notebook's.
        package_sha256: of all files of the package that the file is in, if any.
        neighbours: SHA-256 of the files beside it that it imports, directly or through each other, by their paths
            relative to the folder that its imports start from.
    """

    class_: str = ""
    file: str | None = None
    sha256: str | None = None
    package_sha256: str | None = None
    neighbours: Mapping[str, str] = field(default_factory=dict)

    @property
    def checksum(self) -> str | None:
        return self.package_sha256 or self.sha256

    def changed(self, now: "CodeSource") -> list[str]:
        """Return the files that are not as recorded; older runs recorded no neighbours."""
        own = [] if self.checksum == now.checksum else [self.file or self.class_]
        return own + [name for name, digest in self.neighbours.items() if now.neighbours.get(name) != digest]


@dataclass(frozen=True, kw_only=True)
class DataSource:
    """The data that tasks are made from; `num_classes` is None in runs recorded before it was."""

    source: str = ""
    size: int = 0
    num_classes: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """When, where and how a session of a run was started.

    Attributes:
        started: ISO 8601, UTC; None if unknown.
        versions: of Python and packages.
        hardware: platform, processor, cores, accelerator.
        git: commit of the working folder and whether it was dirty; None outside a repository.
    """

    command: tuple[str, ...] = ()
    started: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    hardware: Mapping[str, str | int] = field(default_factory=dict)
    git: Mapping[str, str | bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Session(Circumstances):
    """A session that resumed a run: the steps of jobs with a checkpoint, and what had changed since the run began."""

    steps: Mapping[str, int] = field(default_factory=dict)
    indicator_definitions: int | None = None
    accepted_changes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Wall time of all sessions, and updates of single seeds' learners per second, None if no task is finished."""

    seconds: float = 0.0
    steps_per_second: float | None = None


@dataclass(frozen=True, kw_only=True)
class Failure:
    seeds: tuple[int, ...]
    error: str


@dataclass(frozen=True, kw_only=True)
class SweepCell:
    """The sweep that a run belongs to.

    Attributes:
        varied: settings that differ between its runs, such as "arguments.step_size".
        numbered: texts for settings that would be recorded as another run's are, such as files of the same name.
    """

    name: str
    varied: tuple[str, ...] = ()
    numbered: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunManifest(Circumstances):
    """Everything that `run.json` records; the circumstances are those of the first session.

    Facts that older runs did not record are None, empty or the default.

    Attributes:
        env: the stream as the user typed it.
        position: place among the runs of a group folder, from 0.
        recorded: "by hand" if clbench did not run the loop: such a run cannot be verified.
        numerics: which numerics made the results, see `NUMERICS`.
        indicator_definitions: which definitions of indicators the run began with.
        workers: processes at a time.
        jobs: how many jobs the seeds were divided among.
        batched_runs: runs that were trained as one batch, including this one.
        log: experiment trackers.
        chance_level: accuracy of guessing, as the stream states it; None in runs recorded before that.
        figures: formats of figures.
        resumed: later sessions.
        undefined_indicators: why an indicator could not be measured, by name.
    """

    status: Status
    config: RunConfig
    env: str = ""
    position: int = 0
    recorded: Recorded = "evaluate"
    numerics: int = NUMERICS
    indicator_definitions: int = 1
    workers: int = 1
    jobs: int = 1
    batched_runs: int = 1
    profile: bool = False
    log: tuple[str, ...] = ()
    figures: tuple[str, ...] = FIGURES
    agent_source: CodeSource = field(default_factory=CodeSource)
    stream_source: CodeSource = field(default_factory=CodeSource)
    data: DataSource = field(default_factory=DataSource)
    chance_level: float | None = None
    sweep: SweepCell | None = None
    resumed: tuple[Session, ...] = ()
    timing: Timing = field(default_factory=Timing)
    failures: tuple[Failure, ...] = ()
    undefined_indicators: Mapping[str, str] = field(default_factory=dict)

    @property
    def chance(self) -> float:
        """Accuracy of guessing; NaN if unknown."""
        if self.chance_level is not None:
            return self.chance_level
        return 1 / self.data.num_classes if self.data.num_classes else math.nan

    def describe(self, with_seeds: bool = True) -> str:
        """Return stream, protocol, size and data in one line."""
        return self.config.describe(self.data.source, with_seeds)

    def setting(self, name: str) -> JSON:
        """Return the value of "arguments.NAME" or "options.NAME"; None if the run has no such setting."""
        if self.sweep is not None and name in self.sweep.numbered:
            return self.sweep.numbered[name]
        table, _, key = name.partition(".")
        values = self.config.stream.options if table == "options" else self.config.agent.arguments
        return values.get(key)

    def to_json(self) -> dict[str, Any]:
        first = dict.fromkeys(("schema_version", "status", "config"))
        return {**first, **to_json(self), "schema_version": SCHEMA_VERSION}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "RunManifest":
        """Return the manifest that `to_json` returned as `data`; `ValueError` names a missing or impossible field."""
        return from_json(cls, {**data, "config": RunConfig.from_json(data.get("config", {}))})

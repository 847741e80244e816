"""What a run's manifest says when it starts, and when it resumes."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from clbench import machine
from clbench.data import LabelledData
from clbench.engine.checkpointing import VERSION, records_in
from clbench.engine.events import Recorded
from clbench.engine.job import Job
from clbench.engine.run import Run
from clbench.errors import DataError, ResumeError
from clbench.jsondata import from_json
from clbench.loading import load_indicator
from clbench.observing import DEFINITIONS
from clbench.provenance import checksums_of, source_of
from clbench.records import IndicatorRecord, TaskRecord, least_seconds
from clbench.references import split_reference
from clbench.results import RunFolder, RunManifest
from clbench.results.manifest import CodeSource, DataSource, Session
from clbench.results.older import convert_indicators

ACCEPT = "pass --accept-changes to resume anyway"
COMMANDS = ("evaluate", "sweep", "reproduce", "resume")


@dataclass(frozen=True)
class Earlier:
    """What earlier sessions have done of a job.

    Attributes:
        records: tasks and indicators.
        steps: completed lockstep steps.
        checkpoint: file to resume from.
    """

    records: tuple[Recorded, ...]
    steps: int
    checkpoint: str


@dataclass(frozen=True)
class Start:
    """How a run starts or resumes.

    Attributes:
        run: as it is carried out.
        manifest: to write first.
        earlier: what earlier sessions have done, by job.
        notes: what the user should know.
    """

    run: Run
    manifest: RunManifest
    earlier: dict[int, Earlier]
    notes: tuple[str, ...] = ()


def new_manifest(run: Run, data: LabelledData) -> RunManifest:
    """Return everything that is needed to repeat a run, and when and where it is made."""
    return RunManifest(
        status="running",
        config=run.config,
        env=run.env,
        position=run.position,
        batched_runs=run.batched_runs,
        indicator_definitions=DEFINITIONS,
        workers=run.parallelism.workers,
        jobs=run.jobs_count,
        profile=run.profile,
        log=run.log,
        figures=run.figures,
        sweep=run.sweep,
        **circumstances(run.config.device),
        **_sources(run, data),
    )


def _sources(run: Run, data: LabelledData) -> dict[str, Any]:
    return {
        "agent_source": code(run.agent),
        "stream_source": code(run.stream_class),
        "data": data_source(data),
        "chance_level": run.stream_class.chance(run.config.stream),
    }


def data_source(data: LabelledData) -> DataSource:
    """Return what run.json says of the data that tasks are made from."""
    return DataSource(source=data.source, size=len(data), num_classes=data.num_classes, sha256=data.checksum)


def code(owner: type) -> CodeSource:
    """Return where a class is defined."""
    source: CodeSource = from_json(CodeSource, source_of(owner))
    return source


def circumstances(device: str) -> dict[str, Any]:
    """Return the fields of `Circumstances` for this session."""
    return {
        "command": tuple(_command()),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "hardware": machine.hardware(device),
        "git": machine.git_state(Path.cwd()),
    }


def _command() -> list[str]:
    """Return the command line as one would type it."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    started = ["python", "-m", f"clbench.{name}"] if name in COMMANDS else [program.name]
    return [*started, *sys.argv[1:]]


def checksums(manifest: RunManifest) -> dict[str, str | None]:
    """Return the checksums of what a run is made from."""
    return {
        "agent": manifest.agent_source.checksum,
        "stream": manifest.stream_source.sha256,
        "data": manifest.data.sha256,
    }


def jobs(run: Run, manifest: RunManifest, folder: RunFolder, data: str = "") -> list[Job]:
    """Return a run's jobs, which save their checkpoints in its folder."""
    return [
        replace(job, checkpoints=str(folder.checkpoints(index).folder.resolve()))
        for index, job in enumerate(run.jobs(data, checksums(manifest)))
    ]


def resume(run: Run, manifest: RunManifest, folder: RunFolder, data: LabelledData, accept: bool) -> Start:
    """Return how an unfinished run resumes: on the same machine it ends as if it had never been interrupted.

    Args:
        run: with its stream resolved.
        manifest: in the folder.
        folder: of the run.
        data: of its stream.
        accept: resume although something has changed.

    Raises:
        ResumeError: agent, stream or manifest have changed.
        DataError: the data has.
    """
    config = replace(run.config, device=manifest.config.device, threads=manifest.config.threads)
    parallelism = replace(run.parallelism, shards=manifest.jobs, threads=config.threads)
    run = replace(run, config=config, parallelism=parallelism)
    now = replace(manifest, config=config, env=run.env, **_sources(run, data))
    files = _changed_files(manifest, now)
    changed = {name for name in files if files[name]}
    if not accept:
        _refuse(files, manifest)
    earlier: dict[int, Earlier] = {}
    for index, job in enumerate(jobs(run, now, folder)):
        newest = folder.checkpoints(index).newest()
        if newest is None:
            continue
        path, checkpoint = newest
        if checkpoint.get("version") != VERSION:
            raise ResumeError(f"'{folder.path}' was made by another version of clbench: start a new run")
        identity = checkpoint["job"]
        differing = [name for name, value in job.identity().items() if identity.get(name) != value]
        if differing and not accept:
            raise ResumeError(
                f"'{folder.path}': {differing[0]} in run.json is not that of the checkpoints: "
                f"put it back, or {ACCEPT}"
            )
        changed |= {f"{name} of job {index}" for name in differing if name != "sources"}
        done = checkpoint["steps"] == job.total_steps
        if "seeds" not in differing and (checkpoint["loop"] is not None or done):
            records = _as_of_today(records_in(checkpoint), manifest)
            earlier[index] = Earlier(records, checkpoint["steps"], str(path.resolve()))
    session = Session(
        **circumstances(config.device),
        steps={str(index): job.steps for index, job in earlier.items()},
        indicator_definitions=None if manifest.indicator_definitions == DEFINITIONS else DEFINITIONS,
        accepted_changes=tuple(sorted(changed)) if accept else (),
    )
    # Of a session that was killed, no other time is known.
    tasks = [record for job in earlier.values() for record in job.records if isinstance(record, TaskRecord)]
    seconds = max(manifest.timing.seconds, least_seconds(tasks))
    now = replace(
        now,
        status="running",
        workers=run.parallelism.workers,
        batched_runs=run.batched_runs,
        profile=run.profile,
        log=run.log,
        figures=run.figures,
        resumed=(*manifest.resumed, session),
        timing=replace(manifest.timing, seconds=seconds),
        failures=(),
        undefined_indicators={},
    )
    return Start(run, now, earlier, _notes(manifest, session))


def _as_of_today(records: Sequence[Recorded], manifest: RunManifest) -> tuple[Recorded, ...]:
    """Return a checkpoint's records with indicators of the definitions of today."""
    agent = manifest.config.agent
    measured = [record for record in records if isinstance(record, IndicatorRecord)]
    unbiased = [agent.name] if agent.arguments.get("unbiased") else []
    converted = iter(convert_indicators(measured, manifest.indicator_definitions, unbiased))
    return tuple(next(converted) if isinstance(record, IndicatorRecord) else record for record in records)


def _changed_files(manifest: RunManifest, now: RunManifest) -> dict[str, list[str]]:
    """Return, of the data and of what code a run uses, the files that have changed."""
    indicators = {
        f"indicator '{name}'": []
        if checksum in checksums_of(load_indicator(name))
        else [split_reference(name)[0]]
        for name, checksum in now.config.indicator_sources.items()
    }
    return {
        "data": [] if manifest.data.sha256 == now.data.sha256 else [manifest.data.source],
        "agent": manifest.agent_source.changed(now.agent_source),
        "stream": manifest.stream_source.changed(now.stream_source),
        **indicators,
    }


def _refuse(changed: Mapping[str, list[str]], manifest: RunManifest) -> None:
    if changed["data"]:
        checksum = (manifest.data.sha256 or "")[:8]
        raise DataError(
            f"the images differ from those the run started with ({manifest.data.source}, sha256 {checksum}...): "
            "name their folder with --data-dir"
        )
    for name, files in changed.items():
        if files:
            what = (
                f"the code of {manifest.config.agent.name}" if name == "agent" else f"the code of the {name}"
            )
            raise ResumeError(
                f"{what} has changed since the run started ({', '.join(files)}): restore it, or {ACCEPT}"
            )


def _notes(manifest: RunManifest, session: Session) -> tuple[str, ...]:
    """Return what the user should know of a run that resumes on another machine, or with other versions."""
    notes = []
    changes = [
        f"{name} was {before.get(name)}, now it is {now.get(name)}"
        for before, now, names in (
            (manifest.versions, session.versions, ("clbench", "torch", "numpy")),
            (manifest.hardware, session.hardware, ("processor", "accelerator")),
        )
        for name in names
        if before.get(name) != now.get(name)
    ]
    if changes:
        notes.append(f"remaining tasks may round differently: {'; '.join(changes)}")
    if session.indicator_definitions is not None and manifest.config.indicators:
        notes.append(
            f"remaining tasks use other definitions of indicators, {DEFINITIONS} instead of "
            f"{manifest.indicator_definitions}: see the changelog"
        )
    return tuple(notes)

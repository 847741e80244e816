"""Carrying out a plan in a run folder, from its start or from where an earlier session got."""

import contextlib
import hashlib
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from clbench import machine
from clbench.data import LabelledData
from clbench.data.sources import CACHE
from clbench.errors import WriteError
from clbench.evaluation.interrupting import Interrupted, Interruption, interruptible
from clbench.evaluation.jobs import Job, can_resume, cannot_resume
from clbench.evaluation.plan import Plan
from clbench.evaluation.pool import make_pool, run_inline
from clbench.evaluation.progress import Display, describe
from clbench.evaluation.watch import Before, Watch
from clbench.loading import source_of
from clbench.observing import DEFINITIONS
from clbench.places import private_in, recorded_in
from clbench.plotting import curves, indicator_figures
from clbench.registration import lookup
from clbench.results import RunFolder
from clbench.specs import RunSpec
from clbench.tracking import Trackers

PLACES = "places"


@dataclass(frozen=True)
class Session:
    """A plan, the folder that it is carried out in, and what is there already.

    Attributes:
        plan: what to run.
        folder: held by this process.
        facts: run.json's content but for status and outcome.
        before: what earlier sessions kept, by job.
        seconds: that they took.
        notes: what people should know before it goes on.
    """

    plan: Plan
    folder: RunFolder
    facts: Mapping[str, Any]
    before: Mapping[int, Before] = field(default_factory=dict)
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


def load_data(plan: Plan) -> tuple[Plan, LabelledData, bool]:
    """Return the plan with its stream settled for the data, the data, and whether it was loaded before."""
    stream_class, stream = lookup(plan.spec.stream.id).load(), plan.spec.stream
    held = stream_class.data_key(stream) in CACHE
    data = stream_class.shared_data(stream)
    spec = replace(plan.spec, stream=stream_class.resolve(stream))
    return replace(plan, spec=spec), data, held


def run_session(session: Session, display: Display, data: LabelledData, held: bool) -> Watch:
    """Run what is left; finished tasks are in the run folder at every moment, and stay there whatever happens.

    Args:
        session: what and where.
        display: shows how jobs get on.
        data: the stream's.
        held: whether this process needs the data for other things, too.

    Raises:
        Interrupted: by a signal, with all states kept.
        WriteError: the folder cannot be written.
    """
    plan, folder, chance = session.plan, session.folder, 1 / data.num_classes
    with (
        _scratch(folder.path) as scratch,
        _shown(display, plan),
        under_way(session, display, "" if plan.inline else str(scratch), chance) as (watch, left),
    ):
        if not plan.inline:
            data.save(scratch)
            if not held:
                CACHE.drop(data)  # the workers map it; here it would only take memory
                del data
        for text in (*session.notes, *who_cannot_resume(plan)):
            display.note(text)
        run = _run_inline if plan.inline else _run_in_processes
        interruption = run(plan, left, watch)
        if plan.profile:
            folder.write_profile(watch.profiles)
        if interruption.signal is not None:
            raise Interrupted(how_to_go_on(folder.path), interruption.signal)
    return watch


@contextlib.contextmanager
def _shown(display: Display, plan: Plan) -> Iterator[None]:
    display.begin(plan.spec)
    with contextlib.closing(display):
        yield


@contextlib.contextmanager
def under_way(
    session: Session, display: Display, data: str, chance: float
) -> Iterator[tuple[Watch, dict[int, Job]]]:
    """Open a session: give what follows its jobs, and those that are left to run, by number.

    At the end of the block figures are drawn; run.json says how it ended, whatever ended it.

    Args:
        session: what and where.
        display: shows how jobs get on.
        data: folder that workers map the stream's data from, "" for jobs of this process.
        chance: accuracy of guessing.
    """
    plan, folder, facts = session.plan, session.folder, session.facts
    status, started = "interrupted", time.perf_counter()
    jobs = _jobs(session, data)
    if any((places := places_of(plan.spec)).values()):
        # As long as states are, and before run.json, which cannot be resumed without.
        folder.keep(PLACES, places)
    folder.write_run({"status": "running", **facts})
    trackers = Trackers(plan.log, folder, plan.spec, recorded_in(facts), display.note)
    watch = Watch(jobs, plan.division.workers, folder, display, session.before, trackers)
    finished = {index for index, kept in session.before.items() if kept.done}
    try:
        watch.write()
        yield watch, {index: job for index, job in enumerate(jobs) if index not in finished}
        _draw(watch, plan, folder, chance)
        status = "failed" if watch.failures else "complete"
    except Exception:
        status = "failed"
        raise
    finally:
        outcome = {
            "timing": {
                "seconds": round(session.seconds + time.perf_counter() - started, 3),
                "steps_per_second": {name: round(rate, 1) for name, rate in watch.rates().items()},
            },
            "failures": [
                {"agent": one.agent, "seeds": one.seeds, "error": one.error} for one in watch.failures
            ],
            "undefined_indicators": watch.undefined,
        }
        try:
            # A disk that is full is what ended the run: its error is the one to be seen.
            with contextlib.suppress(WriteError) if sys.exc_info()[0] else contextlib.nullcontext():
                folder.write_run({"status": status, **facts, **outcome})
        finally:
            trackers.end(status)
    if status == "complete":
        folder.forget_states()


def places_of(spec: RunSpec) -> dict[str, Any]:
    """Return which folders of this machine a run needs, which run.json does not say: of agents, and in the spec."""
    agents = {agent.name: agent.place for agent in spec.agents if agent.place}
    return {"agents": agents, "spec": private_in(spec.to_json())}


def _draw(watch: Watch, plan: Plan, folder: RunFolder, chance: float) -> None:
    names, title = [agent.name for agent in plan.spec.agents], describe(plan.spec)
    records, indicators = watch.sorted_records(), watch.sorted_indicators()
    folder.write_figure("curves", curves(records, names, title, chance))
    for name, figure in indicator_figures(indicators, records, names, title).items():
        folder.write_figure(name, figure)


def how_to_go_on(folder: Path) -> str:
    """Return the command that goes on with a run."""
    return (
        f"finished tasks are kept; go on with: python -m clbench.evaluate --resume {shlex.quote(str(folder))}"
    )


def _jobs(session: Session, data: str) -> list[Job]:
    jobs = []
    for index, job in enumerate(jobs_of(session.plan, session.facts, data)):
        kept = session.before.get(index)
        states = str(session.folder.states(index).folder.resolve())
        jobs.append(replace(job, states=states, resume=kept.path if kept else ""))
    return jobs


def jobs_of(plan: Plan, facts: Mapping[str, Any], data: str = "") -> list[Job]:
    """Return a plan's jobs, with the checksums that run.json has of what they run."""
    sources = sources_of(facts)
    shared = {name: sources[name] for name in ("stream", "data")}
    return [replace(job, sources={"agent": sources[job.agent.name], **shared}) for job in plan.jobs(data)]


def sources_of(facts: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the checksums that run.json has, of each agent, "stream" and "data"."""
    own = {name: code_of(one) for name, one in facts["agents"].items()}
    return {**own, "stream": facts["stream"]["sha256"], "data": facts["data"]["sha256"]}


def code_of(source: Mapping[str, Any]) -> str | None:
    """Return the checksum of an agent's code, or of its package's, in what `clbench.loading.source_of` says."""
    checksum: str | None = source.get("package_sha256") or source["sha256"]
    return checksum


def _run_inline(plan: Plan, jobs: Mapping[int, Job], watch: Watch) -> Interruption:
    with interruptible() as interruption:
        news = run_inline(plan.groups(jobs), plan.classes, lambda: interruption.signal is not None)
        with contextlib.closing(news):
            watch.follow(news)
    return interruption


def _run_in_processes(plan: Plan, jobs: Mapping[int, Job], watch: Watch) -> Interruption:
    pool = make_pool(plan.groups(jobs), plan.division.workers)
    with contextlib.closing(pool), interruptible(pool.stop) as interruption:
        watch.follow(pool.messages())
    return interruption


def who_cannot_resume(plan: Plan) -> list[str]:
    """Return notes on the agents whose states cannot be kept."""
    return [
        cannot_resume(f"{name}: a seed", "it has no state_dict and load_state_dict")
        for name, owner in plan.classes.items()
        if not can_resume(owner)
    ]


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a folder for what workers share; one that a killed session has left is taken over."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    path = Path(tempfile.gettempdir()) / f"clbench-{name}"
    shutil.rmtree(path, ignore_errors=True)
    try:
        path.mkdir(mode=0o700)
    except OSError as error:
        raise WriteError(f"cannot write {path} for the workers: {error.strerror or error}") from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def gather_facts(plan: Plan, data: LabelledData) -> dict[str, Any]:
    """Return everything that is needed to repeat a run, and when and where it was made."""
    return {
        **what_runs(plan, data),
        "env": plan.env,
        "profile": plan.profile,
        "log": plan.log,
        "division": vars(plan.division),
        "indicator_definitions": DEFINITIONS,
        **circumstances(plan.spec.device),
    }


def what_runs(plan: Plan, data: LabelledData) -> dict[str, Any]:
    """Return what run.json says of spec, agents, stream and data, with their checksums."""
    return {
        "spec": plan.spec.to_json(),
        "agents": {name: source_of(owner) for name, owner in plan.classes.items()},
        "data": {
            "source": data.source,
            "size": len(data),
            "num_classes": data.num_classes,
            "sha256": data.checksum,
        },
        "stream": source_of(lookup(plan.spec.stream.id).load()),
    }


def circumstances(device: str) -> dict[str, Any]:
    """Return command, time, versions, hardware and commit of this session."""
    return {
        "command": _command(),
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": machine.versions(),
        "hardware": machine.hardware(device),
        "git": machine.git_state(Path.cwd()),
    }


def _command() -> list[str]:
    """Return the command line as one would type it."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.stem
    ours = name in ("evaluate", "sweep", "reproduce")
    started = ["python", "-m", f"clbench.{name}"] if ours else [program.name]
    return [*started, *sys.argv[1:]]

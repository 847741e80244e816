"""From the folder of a run that was broken off to the session that goes on with it."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from clbench.data import LabelledData
from clbench.errors import DataError, ResumeError
from clbench.evaluation.jobs import Division, Message
from clbench.evaluation.plan import Plan, plan_of
from clbench.evaluation.session import (
    PLACES,
    Session,
    circumstances,
    jobs_of,
    load_data,
    places_of,
    sources_of,
    what_runs,
)
from clbench.evaluation.watch import Before
from clbench.loading import check_agent, load_agent
from clbench.observing import DEFINITIONS
from clbench.places import DATA_DIR_VARIABLE, folder_of, put_back
from clbench.records import IndicatorRecord, TaskRecord, least_seconds
from clbench.results import RunFolder
from clbench.results.older import definitions_of, modernized
from clbench.specs import RunSpec, StreamSpec, check_count

ACCEPT = "--accept-changes goes on all the same"


def take_up(
    folder: RunFolder,
    classes: Sequence[type],
    workers: int | None,
    data_dir: str | None,
    accept_changes: bool,
    asked: RunSpec | None = None,
) -> tuple[Session, LabelledData, bool]:
    """Return the session that goes on with a run, its data, and whether the data was loaded before.

    Args:
        folder: the run's.
        classes: of agents that cannot be imported by their names.
        workers: processes at a time; None for as many as before.
        data_dir: where the images are now, if the user says.
        accept_changes: go on although something has changed.
        asked: the run as it is asked for again; what it says of folders helps where the run's own folder does not.

    Raises:
        ResumeError: the run is finished, is too old, or something has changed and `accept_changes` is not set.
    """
    facts = folder.read_run()
    if facts["status"] == "complete":
        raise ResumeError(f"'{folder.path}' is complete: there is nothing to go on with")
    if "division" not in facts:
        raise ResumeError(f"'{folder.path}' was made by a clbench that kept no states: start it anew")
    plan, data, held = load_data(_plan(_spec(folder, facts, asked), facts, classes, workers, data_dir))
    now = {**facts, **what_runs(plan, data)}
    if not accept_changes:
        _refuse_changes(facts, now)
    before: dict[int, Before] = {}
    accepted = set(_changed(facts, now))
    for index, job in enumerate(jobs_of(plan, now)):
        found = folder.states(index).newest()
        if found is None:
            continue
        path, state = found
        other = _differences(state["job"], job.identity())
        if other and not accept_changes:
            raise ResumeError(
                f"'{folder.path}': run.json says other {other[0]} than the states were made with: "
                f"put it back, or {ACCEPT}"
            )
        accepted |= {f"{name} of job {index}" for name in other if name != "sources"}
        done = state["steps"] == job.total_steps
        if "seeds" in other or (state["loop"] is None and not done):
            continue  # it is of no use: the job starts anew
        before[index] = Before(_records(state, facts), state["steps"], done, str(path.resolve()))
    session = {
        **circumstances(plan.spec.device),
        "steps": {str(index): one.steps for index, one in before.items()},
    }
    if definitions_of(facts) != DEFINITIONS:
        session["indicator_definitions"] = DEFINITIONS
    if accept_changes:
        session["accepted_changes"] = sorted(accepted)
    now["resumed"] = [*facts.get("resumed", []), session]
    for name in ("status", "timing", "failures", "undefined_indicators"):
        now.pop(name, None)
    tasks = [
        TaskRecord(**{name: value for name, value in message.items() if name != "kind"})
        for kept in before.values()
        for message in kept.records
        if message["kind"] == "task"
    ]  # of a session that was killed no other time is known
    seconds = max(facts.get("timing", {}).get("seconds", 0.0), least_seconds(tasks))
    return Session(plan, folder, now, before, seconds, _notes(facts, session)), data, held


def _records(state: Mapping[str, Any], facts: Mapping[str, Any]) -> list[Message]:
    """Return the messages in a state, indicators as they are recorded today."""
    measured = (
        IndicatorRecord(**{name: value for name, value in message.items() if name != "kind"})
        for message in state["records"]
        if message["kind"] == "indicator"
    )
    today = iter(modernized(measured, facts))
    return [
        {**message, "value": next(today).value} if message["kind"] == "indicator" else message
        for message in state["records"]
    ]


def _notes(facts: Mapping[str, Any], session: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what people should know of a run that goes on elsewhere, or later."""
    notes = []
    changes = [
        f"{name} was {facts[kind].get(name)}, now it is {session[kind].get(name)}"
        for kind, names in (
            ("versions", ("clbench", "torch", "numpy")),
            ("hardware", ("processor", "accelerator")),
        )
        for name in names
        if facts[kind].get(name) != session[kind].get(name)
    ]
    if changes:
        notes.append(f"the rest may be rounded otherwise than before: {'; '.join(changes)}")
    if "indicator_definitions" in session and facts["spec"]["indicators"]:
        notes.append(
            f"indicators of the rest have other definitions than before, {DEFINITIONS} instead of "
            f"{definitions_of(facts)}: the changelog says what differs"
        )
    return tuple(notes)


def _plan(
    spec: RunSpec,
    facts: Mapping[str, Any],
    classes: Sequence[type],
    workers: int | None,
    data_dir: str | None,
) -> Plan:
    spec = replace(spec, stream=with_images(spec.stream, data_dir))
    division = Division(**facts["division"])
    if workers is not None:
        division = replace(division, workers=check_count("workers", workers))
    given = {f"{one.__module__}:{one.__qualname__}": check_agent(one, one.__qualname__) for one in classes}
    agents = {}
    for agent in spec.agents:
        if agent.name.startswith("__main__:") and agent.name not in given:
            raise ResumeError(
                f"'{agent.name}' was not in a module: go on from Python, with clbench.resume(folder, agents=[...])"
            )
        agents[agent.name] = given[agent.name] if agent.name in given else load_agent(agent.reference)
    return plan_of(spec, agents, division, facts["env"])


def _spec(folder: RunFolder, facts: Mapping[str, Any], asked: RunSpec | None) -> RunSpec:
    """Return the spec in run.json, with the folders of this machine if it began here or they are asked for."""
    data = copy.deepcopy(facts["spec"])
    kept, now = folder.kept(PLACES), places_of(asked) if asked else {}
    agents = {**now.get("agents", {}), **kept.get("agents", {})}
    texts = (*now.get("spec", ()), *kept.get("spec", ()))
    private = {(*where, seen): (where, seen, hidden) for where, seen, hidden in texts}  # of two, the kept one
    put_back(data, private.values())
    data["agents"] = [{**agent, "place": agents.get(agent["name"], "")} for agent in data["agents"]]
    return RunSpec.from_json(data)


def with_images(stream: StreamSpec, data_dir: str | None) -> StreamSpec:
    """Return a recorded stream with the folder that its images are in on this machine.

    Args:
        stream: of a run.json.
        data_dir: the folder, if the user names one.

    Raises:
        DataError: it cannot be known.
    """
    known = data_dir if data_dir is not None or stream.data_dir is None else folder_of(stream.data_dir)
    if known is None and stream.data_dir is not None:
        raise DataError(
            f"where the images are is recorded as '{stream.data_dir}' only: "
            f"name the folder by --data-dir, data_dir=... or {DATA_DIR_VARIABLE}"
        )
    return replace(stream, data_dir=known)


def _changed(facts: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = sources_of(facts), sources_of(now)
    return [name for name, checksum in before.items() if after.get(name) != checksum]


def _refuse_changes(facts: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for name in _changed(facts, now):
        if name == "data":
            raise DataError(
                f"the images are not those that the run began with ({facts['data']['source']}, "
                f"sha256 {facts['data']['sha256'][:8]}...): name their folder by --data-dir"
            )
        what = "the stream's file" if name == "stream" else f"the code of {name}"
        raise ResumeError(f"{what} has changed since the run began: put it back, or {ACCEPT}")


def _differences(kept: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Return in what a state's job is another than the one that run.json describes."""
    return [name for name, value in expected.items() if kept.get(name) != value]

"""From a run to a submission's folder."""

import hashlib
import inspect
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from clbench.errors import SubmissionError, UnknownNameError, WriteError, did_you_mean
from clbench.evaluation.resuming import with_images
from clbench.evaluation.session import how_to_go_on
from clbench.leaderboard.checking import SUBMISSIONS, check_entry, refuse_twin
from clbench.leaderboard.cost import relative_cost
from clbench.leaderboard.submission import (
    DATA,
    SUBMISSION_VERSION,
    Entry,
    Submission,
    read_entry,
    scores_as_data,
)
from clbench.leaderboard.texts import check_licence, check_name, check_text, check_url
from clbench.loading import load_agent, parameters
from clbench.places import is_cut, recorded_in
from clbench.records import TaskRecord
from clbench.results import RunFolder
from clbench.scoring import score
from clbench.specs import AgentEntry, RunSpec


def submit(
    run: Path,
    folder: Path,
    name: str,
    *,
    agent: str | None = None,
    paper: str = "",
    code: str = "",
    contact: str = "",
    licence: str = "MIT",
    tuned: str = "",
    data_dir: str | None = None,
    replace_it: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Submission:
    """Make `folder/submissions/name/` from a run; nothing is written unless all is right.

    Args:
        run: a run's folder.
        folder: the leaderboard's.
        name: of the submission.
        agent: which, if the run has several; or its file, if that is not where the run says.
        paper, code: web addresses.
        contact: whom to ask.
        licence: of the agent's source, an SPDX identifier.
        tuned: how hyperparameters were tuned on this stream, if they were.
        data_dir: where the images are, if the run does not say.
        replace_it: an older submission of this name.
        say: is told what takes long.

    Raises:
        SubmissionError: the agent's seeds and tasks are not complete, the run is not by a protocol, or a text is not as
            it must be.
        WriteError: the folder cannot be written.
    """
    check_name(name)
    check_url("--paper", paper)
    check_url("--code", code)
    check_text("--contact", contact)
    check_text("--tuned", tuned, 400)
    check_licence(licence)
    target = folder / SUBMISSIONS / name
    if target.exists() and not replace_it:
        raise SubmissionError(f"'{target}' is there already: choose another name, or --replace it")
    source = RunFolder(run)
    facts = source.read_run()
    spec = RunSpec.from_json(facts["spec"])
    spec = replace(spec, stream=with_images(spec.stream, data_dir))
    if spec.overrides:
        raise SubmissionError(
            f"'{run}' changed the protocol ({', '.join(spec.overrides)}): only whole ones are ranked"
        )
    if any(session.get("accepted_changes") for session in facts.get("resumed", ())):
        raise SubmissionError(f"'{run}' was gone on with after a change (--accept-changes): run it anew")
    entry = _choose(spec.agents, agent, run, facts)
    owner, text, file = _source(entry, facts)
    _refuse_lost_arguments(entry, owner, run)
    reference = Path(_unnumbered(entry.name)).name  # of a file, without the folders that it is in
    records = [replace(one, agent=reference) for one in source.read_tasks() if one.agent == entry.name]
    found = score(reference, records, spec.stream.num_tasks)
    if found is None or found.seeds < len(spec.seeds):
        if facts["status"] == "complete":
            raise SubmissionError(
                f"'{run}' is complete, but its tables are not what the run wrote: run it anew"
            )
        raise SubmissionError(f"'{run}' lacks tasks of {entry.name}; {how_to_go_on(run)}")
    names = facts["agents"][entry.name]
    submission = Submission(
        schema_version=SUBMISSION_VERSION,
        name=name,
        agent={
            "reference": reference,
            "class": f"{Path(file).stem}:{names['class'].rpartition(':')[2]}",
            "arguments": dict(entry.arguments),
            "file": file,
            "sha256": names["sha256"],
        },
        stream=spec.stream.identity(),
        protocol=spec.protocol,
        seeds=list(spec.seeds),
        scores=scores_as_data(found),
        cost={},
        tuned=tuned,
        licence=licence,
        paper=paper,
        code=code,
        contact=contact,
        run=_run_facts(facts, spec),
    )
    refuse_twin(Entry(submission, tuple(records), text), folder)
    say("the run is complete; measuring what a step costs takes about a minute")
    submission = replace(submission, cost=relative_cost(spec, owner, entry.arguments))
    _write(submission, records, text, target)
    return submission


def _unnumbered(name: str) -> str:
    """Return an agent's name without the number that a file has of whose name there are several."""
    return re.sub(r" \(\d+\)$", "", name)


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UnknownNameError(f"cannot read '{path}': {error.strerror or error}") from error


def _refuse_lost_arguments(entry: AgentEntry, owner: type, run: Path) -> None:
    """Refuse an agent that cannot be built again, since a file or folder it was given is known by its name only."""
    defaults = parameters(owner)
    for name, value in entry.arguments.items():
        texts = value if isinstance(value, (list, tuple)) else [value]
        if value != defaults.get(name) and any(isinstance(one, str) and is_cut(one) for one in texts):
            raise SubmissionError(
                f"'{run}': {name}={value!r} was a path elsewhere, by which nobody can build {entry.name} again: "
                f"run it anew without it, or with a path below the working folder"
            )


def _choose(agents: Sequence[AgentEntry], wanted: str | None, run: Path, facts: dict[str, Any]) -> AgentEntry:
    """Return the agent of a name; of a file, that of the file's name, and of several, that of its checksum."""
    names = [agent.name for agent in agents]
    if wanted is None and len(agents) > 1:
        raise SubmissionError(f"'{run}' has several agents, name one by --agent: {', '.join(names)}")
    for agent in agents:
        if wanted in (None, agent.name):
            return agent
    assert wanted is not None
    place, _, own = wanted.rpartition(":") if wanted.rpartition(":")[2].isidentifier() else (wanted, "", "")
    if place.endswith(".py"):
        name = Path(place).name + (f":{own}" if own else "")
        alike = [agent for agent in agents if Path(_unnumbered(agent.name)).name == name]
        digest = _digest(Path(place)) if len(alike) > 1 else ""
        alike.sort(key=lambda agent: facts["agents"][agent.name]["sha256"] != digest)
        if alike:
            return replace(alike[0], place=wanted)
    raise SubmissionError(
        f"'{run}' has no agent '{wanted}'.{did_you_mean(wanted, names)} It has: {', '.join(names)}"
    )


def _source(entry: AgentEntry, facts: dict[str, Any]) -> tuple[type, str, str]:
    """Return an agent's class, the text of its file, and the file's name."""
    try:
        owner = load_agent(entry.reference)
    except UnknownNameError as error:
        raise UnknownNameError(f"{error} Name its file, or the module as it is now, by --agent") from error
    path = inspect.getsourcefile(owner)
    if path is None or not Path(path).is_file():
        raise SubmissionError(f"the source of {entry.name} is not in a file")
    raw = Path(path).read_bytes()
    if hashlib.sha256(raw).hexdigest() != facts["agents"][entry.name]["sha256"]:
        raise SubmissionError(
            f"{entry.name} has changed since the run was made: run it again, or put the file back"
        )
    return owner, raw.decode("utf-8"), Path(path).name


def _run_facts(facts: dict[str, Any], spec: RunSpec) -> dict[str, Any]:
    return {
        "command": recorded_in(facts["command"]),
        "started": facts["started"],
        "versions": facts["versions"],
        "hardware": facts["hardware"],
        "device": spec.device,
        "threads": spec.threads,
        "git": facts["git"],
        "data": {name: facts["data"][name] for name in ("source", "size", "sha256")},
    }


def _write(submission: Submission, records: Sequence[TaskRecord], source: str, target: Path) -> None:
    """Write the folder beside its place, check it as anyone will, and move it there."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as scratch:
            new = RunFolder(Path(scratch) / target.name)
            new.path.mkdir()
            new.write_tasks(records)
            (new.path / DATA).write_text(submission.to_json(), encoding="utf-8")
            (new.path / submission.agent["file"]).write_bytes(source.encode())
            check_entry(read_entry(new.path))
            if target.exists():
                shutil.rmtree(target)
            new.path.rename(target)
    except OSError as error:
        raise WriteError(f"cannot write '{target}': {error.strerror or error}") from error

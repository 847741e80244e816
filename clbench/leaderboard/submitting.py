"""From a run to a submission's folder."""

import shutil
import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from clbench.arguments import parameters
from clbench.config import AgentConfig, RunConfig
from clbench.engine.reopening import with_images
from clbench.engine.store import resume_command
from clbench.engine.timing import step_times
from clbench.errors import AgentError, SubmissionError, WriteError, did_you_mean
from clbench.leaderboard.attaching import Source, find_source, without_number
from clbench.leaderboard.checking import check_about, check_entry, refuse_twin
from clbench.leaderboard.submission import (
    DATA,
    SUBMISSION_VERSION,
    SUBMISSIONS,
    About,
    Cost,
    Entry,
    Submission,
    check_name,
    read_entry,
    write_sources,
)
from clbench.loading import is_vectorized, load_agent
from clbench.machine import threads
from clbench.places import expanded, is_cut
from clbench.provenance import sha256
from clbench.records import TaskRecord
from clbench.registration import BUILT_IN
from clbench.results import RunFolder, RunManifest, StoredRun, find_runs

VANILLA = "agents.vanilla"
ROUNDS = 5


def submit(
    run: Path,
    folder: Path,
    name: str,
    about: About | None = None,
    *,
    agent: str | None = None,
    data_dir: str | None = None,
    replace_it: bool = False,
    say: Callable[[str], None] = lambda text: None,
) -> Submission:
    """Create `folder/submissions/name/` from a run; nothing is written unless everything is right.

    Args:
        run: folder of the run, or of its group.
        folder: of the leaderboard.
        name: of the submission.
        about: licence, addresses and the like; by default the MIT licence.
        agent: name of one of several agents; or its file, if that is not where the run says.
        data_dir: folder with the images, if the run does not say.
        replace_it: replace an older submission with this name.
        say: receives a message before what takes long.

    Raises:
        SubmissionError: seeds or tasks are missing, the run changed the protocol, or a text is not acceptable.
    """
    about, agent = about or About(), agent and expanded(agent)
    check_name(name)
    check_about(about)
    target = folder / SUBMISSIONS / name
    if target.exists() and not replace_it:
        raise SubmissionError(f"'{target}' already exists: choose another name, or use --replace")
    stored, reference = _choose(find_runs(run), agent, run)
    config = stored.manifest.config
    _refuse_changed(stored.manifest, run)
    config = replace(config, stream=with_images(config.stream, data_dir))
    with tempfile.TemporaryDirectory(prefix="clbench-submit-", ignore_cleanup_errors=True) as scratch:
        source = find_source(stored, reference, run)
        agent_class = None if stored.manifest.recorded == "by hand" else source.load(Path(scratch))
        if agent_class is not None:
            _refuse_lost_arguments(config.agent, agent_class, run)
        manifest = _submitted_manifest(stored.manifest, source)
        records = tuple(replace(record, agent=manifest.config.agent.name) for record in stored.read_tasks())
        _check_complete(stored, records, run)
        submission = Submission(
            schema_version=SUBMISSION_VERSION, name=name, run=manifest, cost=None, about=about
        )
        entry = Entry(submission, records, *source.texts())
        refuse_twin(entry, folder)
        if agent_class is not None:
            say("the run is complete; measuring the cost of a step takes about a minute")
            submission = replace(submission, cost=relative_cost(config, agent_class))
        _write(replace(entry, submission=submission), target)
    return submission


def _refuse_changed(manifest: RunManifest, run: Path) -> None:
    stream = manifest.config.stream.id
    if stream not in BUILT_IN:
        raise SubmissionError(
            f"'{run}': {stream} is not a stream of clbench: the leaderboard ranks {', '.join(BUILT_IN)}"
        )
    if changed := ", ".join(manifest.config.overrides):
        raise SubmissionError(f"'{run}' changed the protocol ({changed}): only unchanged ones are ranked")
    if any(session.accepted_changes for session in manifest.resumed):
        raise SubmissionError(f"'{run}' was resumed after a change (--accept-changes): run it again")


def _submitted_manifest(manifest: RunManifest, source: Source) -> RunManifest:
    """Return the manifest with the agent called by its file, wherever that is."""
    config, class_name = manifest.config, manifest.agent_source.class_.rpartition(":")[2]
    name = Path(without_number(config.agent.reference)).name
    agent = replace(config.agent, name=name, label_of="", location="")
    config = replace(config, agent=agent, stream=replace(config.stream, data_dir=None))
    class_ = class_name and f"{source.path.stem}:{class_name}"
    code = replace(manifest.agent_source, class_=class_, file=source.name, neighbours=source.neighbours())
    return replace(manifest, config=config, agent_source=code)


def _choose(runs: Sequence[StoredRun], wanted: str | None, folder: Path) -> tuple[StoredRun, str]:
    # Among files of the same name, the one with the recorded checksum is meant.
    names = ", ".join(run.agent for run in runs)
    if wanted is None:
        if len(runs) > 1:
            raise SubmissionError(f"'{folder}' has several agents, choose one with --agent: {names}")
        return runs[0], _reference(runs[0])
    for run in runs:
        if run.agent == wanted:
            return run, _reference(run)
    path, suffix, _ = wanted.rpartition(".py")
    same = [run for run in runs if suffix and Path(without_number(_reference(run))).name == Path(wanted).name]
    if len(same) > 1:
        digest = sha256(Path(path + suffix))
        same.sort(key=lambda run: run.manifest.agent_source.sha256 != digest)
    if same:
        return same[0], wanted
    hint = did_you_mean(wanted, [run.agent for run in runs])
    raise SubmissionError(f"'{folder}' has no agent '{wanted}'.{hint} It has: {names}")


def _reference(run: StoredRun) -> str:
    return run.manifest.config.agent.reference


def _refuse_lost_arguments(agent: AgentConfig, agent_class: type, run: Path) -> None:
    """Refuse an agent that nobody can construct: a path in its arguments is recorded by its name only."""
    defaults = parameters(agent_class)
    for name, value in agent.arguments.items():
        texts = value if isinstance(value, (list, tuple)) else [value]
        if value != defaults.get(name) and any(isinstance(text, str) and is_cut(text) for text in texts):
            raise SubmissionError(
                f"'{run}': {name}={value!r} was a path outside the working folder, so nobody else can construct "
                f"{agent.name}: run it again without it, or with a path below the working folder"
            )


def _check_complete(run: StoredRun, records: Sequence[TaskRecord], folder: Path) -> None:
    config = run.manifest.config
    tasks = {(record.seed, record.task) for record in records}
    if tasks >= {(seed, task) for seed in config.seeds for task in range(config.stream.num_tasks)}:
        return
    if run.manifest.status == "complete":
        raise SubmissionError(f"'{folder}' is complete, but its tables were changed: run it again")
    raise SubmissionError(f"'{folder}' lacks tasks of {run.agent}; resume it with: {resume_command(folder)}")


def relative_cost(config: RunConfig, agent_class: type) -> Cost:
    """Return the median, over rounds, of an agent's time for 40 steps divided by vanilla's, in turns on one thread."""
    seeds = config.seeds if is_vectorized(agent_class) else config.seeds[:1]
    stream, arguments = config.stream, config.agent.arguments
    try:
        with threads(1):
            times = step_times(stream, agent_class, arguments, seeds, config.device)
            vanilla_times = step_times(stream, load_agent(VANILLA), {}, seeds, config.device)
            next(times), next(vanilla_times)  # warm up
            ratios = [next(times) / next(vanilla_times) for _ in range(ROUNDS)]
    except Exception as error:
        raise AgentError(f"the agent's cost cannot be measured: {type(error).__name__}: {error}") from error
    return Cost(relative_to_vanilla=round(statistics.median(ratios), 3), rounds=ROUNDS)


def _write(entry: Entry, target: Path) -> None:
    """Write a submission that is right; before it is checked, nothing is written among the others."""
    try:
        with tempfile.TemporaryDirectory(prefix="clbench-submit-") as scratch:
            new = RunFolder(Path(scratch) / target.name)
            new.path.mkdir()
            new.write_tasks(entry.records)
            (new.path / DATA).write_text(entry.submission.to_json(), encoding="utf-8")
            write_sources(entry, new.path)
            check_entry(read_entry(new.path))
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as beside:
                shutil.copytree(new.path, Path(beside) / target.name)
                if target.exists():
                    shutil.rmtree(target)
                (Path(beside) / target.name).rename(target)
    except OSError as error:
        raise WriteError(f"cannot write '{target}': {error.strerror or error}") from error

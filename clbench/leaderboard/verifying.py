"""Repeating a part of a submission, in a process of its own."""

import contextlib
import hashlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clbench.checks import check_count
from clbench.envs.vector import check_device
from clbench.errors import DeviceError, SubmissionError, did_you_mean
from clbench.evaluation.jobs import Job
from clbench.evaluation.pool import make_pool
from clbench.leaderboard.checking import SUBMISSIONS, check_entry
from clbench.leaderboard.submission import Entry, read_entry
from clbench.leaderboard.texts import check_name
from clbench.loading import bundled_file
from clbench.registration import lookup
from clbench.specs import AgentEntry, StreamSpec

EARLIER = "clbench_earlier_agents"
CLOSE = 0.01
"""How far a repeated accuracy may be from the recorded one: other machines and versions round otherwise."""


@dataclass(frozen=True)
class Verdict:
    """What a repetition gave.

    Attributes:
        seed: which stream.
        recorded: accuracies of the first tasks in the submission.
        repeated: those found now.
    """

    seed: int
    recorded: tuple[float, ...]
    repeated: tuple[float, ...]

    @property
    def difference(self) -> float:
        """The largest difference between a recorded accuracy and the repeated one."""
        return max(abs(a - b) for a, b in zip(self.recorded, self.repeated, strict=True))

    @property
    def word(self) -> str:
        """One of "identical", "close" (within `CLOSE`) and "different"."""
        if self.difference == 0:
            return "identical"
        return "close" if self.difference <= CLOSE else "different"


def verify(folder: Path, name: str, seed: int = 0, tasks: int = 1, data_dir: str | None = None) -> Verdict:
    """Run the first tasks of one seed of a submission again. This runs the submission's code.

    A learner that comes with clbench is taken from there if its file is the submitted one; else the submitted file
    is run, with what it imports of clbench as that is now.

    Raises:
        SubmissionError: there is no such submission, seed or task, it does not pass its check, or its code fails.
    """
    place = folder / SUBMISSIONS / check_name(name)
    if not place.is_dir():
        there = sorted(path.name for path in place.parent.glob("[!.]*"))
        raise SubmissionError(f"no submission '{name}' in '{place.parent}'.{did_you_mean(name, there)}")
    try:
        entry = read_entry(place)
        check_entry(entry)
    except SubmissionError as error:
        raise SubmissionError(f"{name}: {error}") from error
    data = entry.submission
    if seed not in data.seeds:
        raise SubmissionError(f"'{name}' has no seed {seed}: it has 0 to {len(data.seeds) - 1}")
    spec = StreamSpec(**{**data.stream, "data_dir": data_dir})
    if check_count("tasks", tasks) > spec.num_tasks:
        raise SubmissionError(f"'{name}' has {spec.num_tasks} tasks, not {tasks}")
    with tempfile.TemporaryDirectory(prefix="clbench-verify-", ignore_cleanup_errors=True) as scratch:
        repeated = _repeat(entry, spec, seed, tasks, Path(scratch))
    recorded = [record.accuracy for record in entry.records if record.seed == seed][:tasks]
    return Verdict(seed, tuple(recorded), tuple(repeated))


def _repeat(entry: Entry, spec: StreamSpec, seed: int, tasks: int, scratch: Path) -> list[float]:
    data = entry.submission
    lookup(spec.id).load().shared_data(spec).save(scratch)
    job = Job(
        agent=AgentEntry(_reference(entry, scratch), data.agent["arguments"]),
        vectorized=None,
        seeds=(seed,),
        stream=spec,
        device=_device(data.run["device"]),
        threads=data.run["threads"],
        data=str(scratch),
    )
    found: list[float] = []
    with _on_path(scratch), contextlib.closing(make_pool([{0: job}], workers=1)) as pool:
        for _, message in pool.messages():
            if message["kind"] == "failed":
                raise SubmissionError(
                    f"'{entry.name}' cannot be repeated: {' '.join(message['error'].split())}"
                )
            if message["kind"] == "task":
                found.append(float(message["accuracy"]))
                if len(found) == tasks:
                    return found
    raise SubmissionError(f"'{entry.name}' cannot be repeated: it ended after {len(found)} tasks")


def _device(name: str) -> str:
    """Return the device that a run was made on if this machine has one like it, else the CPU."""
    try:
        return str(check_device(name.partition(":")[0]))
    except DeviceError:
        return "cpu"


def _reference(entry: Entry, scratch: Path) -> str:
    """Return what a worker loads the submitted agent by; nothing of it is loaded here.

    The name of a learner that comes with clbench if that is the same source; of an earlier source of one, a copy among
    the files that it imports; else a copy of the source.
    """
    agent = entry.submission.agent
    path, name = bundled_file(agent["reference"]), agent["class"].rpartition(":")[2]
    if path is None:
        own = scratch / agent["file"]
        own.write_bytes(entry.source.encode())
        return f"{own}:{name}"
    if hashlib.sha256(path.read_bytes()).hexdigest() == agent["sha256"]:
        return str(agent["reference"])
    shutil.copytree(path.parent, scratch / EARLIER, ignore=shutil.ignore_patterns("__pycache__"))
    (scratch / EARLIER / path.name).write_bytes(entry.source.encode())
    return f"{EARLIER}.{path.stem}:{name}"


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let workers, which look for modules where this process does, look in `folder`, too."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))

"""Running a part of a submission again, in a separate process."""

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from clbench.checks import check_count
from clbench.engine.events import Failed
from clbench.engine.job import Job
from clbench.engine.pool import make_pool
from clbench.envs.vector import check_device
from clbench.errors import DeviceError, SubmissionError, did_you_mean
from clbench.leaderboard.checking import check_entry
from clbench.leaderboard.submission import (
    SUBMISSIONS,
    Entry,
    check_name,
    read_entry,
    write_sources,
)
from clbench.provenance import sha256
from clbench.records import TaskRecord
from clbench.references import bundled_file
from clbench.registration import lookup
from clbench.specs import StreamSpec

EARLIER, CODE = "clbench_earlier_agents", "code"
SHOWN = 10
"""Names of submissions that an error lists."""

CLOSE = 0.01
"""How far a repeated accuracy may be from the recorded one: other machines and versions round differently."""


@dataclass(frozen=True)
class Verdict:
    """Accuracies of the first tasks of a seed, as submitted and as repeated."""

    seed: int
    recorded: tuple[float, ...]
    repeated: tuple[float, ...]

    @property
    def difference(self) -> float:
        return max(abs(a - b) for a, b in zip(self.recorded, self.repeated, strict=True))

    @property
    def word(self) -> str:
        """One of "identical", "close" (within `CLOSE`) and "different"."""
        if self.difference == 0:
            return "identical"
        return "close" if self.difference <= CLOSE else "different"


def verify(folder: Path, name: str, seed: int = 0, tasks: int = 1, data_dir: str | None = None) -> Verdict:
    """Run the first tasks of one seed of a submission again. This runs the submission's code.

    A bundled learner is taken from clbench if its file is the submitted one; otherwise the submitted file is run, with
    the current version of whatever it imports from clbench.

    Raises:
        SubmissionError: there is no such submission, seed or task, it was recorded by hand, or it or its code fails.
    """
    path = _existing(folder / SUBMISSIONS, name)
    try:
        entry = read_entry(path)
        check_entry(entry)
    except SubmissionError as error:
        raise SubmissionError(f"{name}: {error}") from error
    data, config = entry.submission, entry.submission.run.config
    if not data.verifiable:
        raise SubmissionError(f"'{name}' was recorded by hand: clbench cannot repeat it")
    if seed not in config.seeds:
        raise SubmissionError(f"'{name}' has no seed {seed}: it has 0 to {len(config.seeds) - 1}")
    stream = replace(config.stream, data_dir=data_dir)
    if check_count("tasks", tasks) > stream.num_tasks:
        raise SubmissionError(f"'{name}' has {stream.num_tasks} tasks, not {tasks}")
    with tempfile.TemporaryDirectory(prefix="clbench-verify-", ignore_cleanup_errors=True) as scratch:
        repeated = _repeat(entry, stream, seed, tasks, Path(scratch))
    recorded = [record.accuracy for record in entry.records if record.seed == seed][:tasks]
    return Verdict(seed, tuple(recorded), tuple(repeated))


def _existing(folder: Path, name: str) -> Path:
    """Return the folder of a submission."""
    names = sorted(other.name for other in folder.glob("[!.]*") if other.is_dir())
    hint = did_you_mean(name.lower(), names)
    try:
        path = folder / check_name(name)
    except SubmissionError as error:
        raise SubmissionError(f"{error}.{hint}") from error
    if not path.is_dir():
        listing = (
            f" There are: {', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}." if names else ""
        )
        raise SubmissionError(f"no submission '{name}' in '{folder}'.{hint}{listing}")
    return path


def _repeat(entry: Entry, stream: StreamSpec, seed: int, tasks: int, scratch: Path) -> list[float]:
    config = entry.submission.run.config
    lookup(stream.id).load().shared_data(stream).save(scratch)
    job = Job(
        config=replace(config, stream=stream, seeds=(seed,), device=_device(config.device), indicators=()),
        reference=_reference(entry, scratch),
        data=str(scratch),
    )
    accuracies: list[float] = []
    with _on_path(scratch), contextlib.closing(make_pool([{0: job}], workers=1)) as pool:
        for _, event in pool.events():
            if isinstance(event, Failed):
                raise SubmissionError(f"'{entry.name}' cannot be repeated: {' '.join(event.error.split())}")
            if isinstance(event, TaskRecord):
                accuracies.append(event.accuracy)
                if len(accuracies) == tasks:
                    return accuracies
    raise SubmissionError(f"'{entry.name}' cannot be repeated: it ended after {len(accuracies)} tasks")


def _device(name: str) -> str:
    try:
        return str(check_device(name.partition(":")[0]))
    except DeviceError:
        return "cpu"


def _reference(entry: Entry, scratch: Path) -> str:
    """Return the reference by which a worker loads the submitted agent; nothing of it is loaded here."""
    data, source = entry.submission, entry.submission.run.agent_source
    bundled, name = bundled_file(data.agent), source.class_.rpartition(":")[2]
    if bundled is None:
        write_sources(entry, scratch / CODE)
        return f"{scratch / CODE / data.file}:{name}"
    if sha256(bundled) == source.sha256:
        return data.agent
    shutil.copytree(bundled.parent, scratch / EARLIER, ignore=shutil.ignore_patterns("__pycache__"))
    (scratch / EARLIER / bundled.name).write_bytes(entry.source.encode())
    return f"{EARLIER}.{bundled.stem}:{name}"


@contextlib.contextmanager
def _on_path(folder: Path) -> Iterator[None]:
    """Let workers, which search this process's module path, find modules in `folder`."""
    sys.path.append(str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))

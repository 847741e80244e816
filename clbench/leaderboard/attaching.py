"""The source of a run's agent: where it is now, unchanged, and whether what is attached is complete."""

import inspect
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from clbench.errors import SubmissionError, UnknownNameError
from clbench.leaderboard.submission import SOURCE_LIMIT
from clbench.loading import load_agent
from clbench.provenance import files_of, sha256
from clbench.references import bundled_file, is_file, split_reference
from clbench.results import StoredRun
from clbench.results.manifest import CodeSource

IMPORT = """
import sys
sys.path.insert(0, sys.argv[1])
from clbench.loading import load_agent
try:
    load_agent(sys.argv[2])
except Exception as error:
    sys.exit(str(error))
"""


@dataclass(frozen=True)
class Source:
    """The files of an agent.

    Attributes:
        reference: by which the agent is loaded if it is attached to nothing: that of a learner of clbench; else "".
        class_name: of the agent.
        files: the agent's, and those that it imports, by their paths in the submission's folder.
    """

    reference: str
    class_name: str
    files: dict[str, Path]

    @property
    def name(self) -> str:
        return next(iter(self.files))

    @property
    def path(self) -> Path:
        return self.files[self.name]

    def neighbours(self) -> dict[str, str]:
        return {name: sha256(path) for name, path in self.files.items() if name != self.name}

    def texts(self) -> tuple[str, dict[str, str]]:
        """Return the text of the agent's file, and those of the others by name."""
        texts = {name: _read(path) for name, path in self.files.items()}
        return texts.pop(self.name), texts

    def load(self, folder: Path) -> type:
        """Return the agent's class, from copies of its files in an empty folder, where another process loads it first.

        Raises:
            SubmissionError: they do not suffice.
        """
        if self.reference:
            return load_agent(self.reference)
        for name, path in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(path.read_bytes())
        reference = f"{folder / self.name}:{self.class_name}"
        if fault := _import_alone(reference):
            raise SubmissionError(
                f"{', '.join(self.files)} cannot be imported without other files of yours: "
                f"{fault.replace(f'{folder}{os.sep}', '')}. Put what they need beside {self.path.name}"
            )
        return load_agent(reference)


def _import_alone(reference: str) -> str:
    """Load an agent in a new process, in an empty folder, and return what is wrong."""
    library = str(Path(__file__).parents[2])
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    with tempfile.TemporaryDirectory(prefix="clbench-empty-") as empty:
        done = subprocess.run(
            [sys.executable, "-c", IMPORT, library, reference],
            cwd=empty,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    return (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1] if done.returncode else ""


def find_source(run: StoredRun, reference: str, folder: Path) -> Source:
    """Return the source of a run's agent, which must be as it was.

    Args:
        run: whose agent it is.
        reference: the agent's name, or its file if that is not where the run says.
        folder: of the run or its group; the run may have been started in any of the folders that it is in.

    Raises:
        UnknownNameError: the file is not known.
        SubmissionError: it, or one that it imports, has changed.
    """
    recorded = run.manifest.agent_source
    bundled = bundled_file(reference) if run.manifest.recorded != "by hand" else None
    candidates = [(bundled, Path.cwd())] if bundled else list(_candidates(recorded, reference, folder))
    faults = []
    for file, here in candidates:
        if sha256(file) == recorded.sha256:
            files = {file.name: file} if bundled else files_of(file, here)
            fault = _change(run.agent, recorded, files)
            if not fault:
                return Source(reference if bundled else "", recorded.class_.rpartition(":")[2], files)
            faults.append(fault)
    if faults:
        raise SubmissionError(faults[0])
    if candidates:
        raise SubmissionError(f"{run.agent} has changed since the run: run it again, or restore the file")
    raise UnknownNameError(f"the source of {run.agent} is not where the run says: give its file with --agent")


def _candidates(recorded: CodeSource, reference: str, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Yield files that may be an agent's, each with the working folder that its run may have had."""
    location = split_reference(without_number(reference))[0]
    here = Path.cwd()
    named = [(Path(location), here)] if is_file(location) else []
    bases = dict.fromkeys([here, *folder.resolve().parents])
    for file, base in [*named, *((base / (recorded.file or ""), base) for base in bases)]:
        if file.is_file():
            yield file.resolve(), base
    if not is_file(location) and recorded.class_:
        try:
            installed = inspect.getsourcefile(load_agent(reference))
        except UnknownNameError:
            return
        if installed is not None:
            yield Path(installed), here


def _change(agent: str, recorded: CodeSource, files: dict[str, Path]) -> str:
    """Return how the files that an agent imports differ from the recorded ones, "" if they do not."""
    for name, digest in recorded.neighbours.items():
        if name not in files or sha256(files[name]) != digest:
            return (
                f"{name}, which {agent} imports, has changed since the run: run it again, or restore the file"
            )
    for name in [*files][1:]:
        if name not in recorded.neighbours:
            return f"{name}, which {agent} imports, was not recorded with the run: run it again"
    return ""


def without_number(name: str) -> str:
    """Return an agent's name without the number that tells it from another of this name."""
    return re.sub(r" \(\d+\)$", "", name)


def _read(path: Path) -> str:
    if path.stat().st_size > SOURCE_LIMIT:
        raise SubmissionError(f"'{path.name}' is too large: at most {SOURCE_LIMIT:,} bytes are allowed")
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise SubmissionError(f"'{path.name}' is not UTF-8: {error}") from error

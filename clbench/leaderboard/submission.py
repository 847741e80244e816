"""A submission's folder: submission.json, tasks.csv and the agent's source, read without trusting them."""

import functools
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from itertools import zip_longest
from pathlib import Path
from typing import Any

from clbench.errors import DataError, SubmissionError
from clbench.jsondata import from_json, to_json
from clbench.places import READ
from clbench.records import TaskRecord
from clbench.results import RunManifest
from clbench.results.tables import read_csv, to_csv
from clbench.scoring import Score, finished, score, scores_by_seed

SUBMISSION_VERSION = 3
"""Version of submission.json; earlier ones are still read. Version 3 holds the run's manifest."""

SUBMISSIONS = "submissions"
DATA, TASKS = "submission.json", "tasks.csv"
LIMITS = {DATA: 64 << 10, TASKS: 4 << 20}
SOURCE_LIMIT = 256 << 10
MOST_FILES, DEEPEST = 32 + 2, 5
"""Files in a submission, sources and the two of data, and folders in each other."""
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class Cost:
    """Time of a step relative to vanilla's, measured side by side, and in how many rounds."""

    relative_to_vanilla: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class About:
    """What a submitter says besides the run; texts but the licence may be "".

    Attributes:
        licence: of the source, an SPDX identifier.
        tuned: how hyperparameters were tuned on this stream; "" if they were not.
        paper, code: web addresses.
    """

    licence: str = "MIT"
    tuned: str = ""
    paper: str = ""
    code: str = ""
    contact: str = ""


@dataclass(frozen=True, kw_only=True)
class Submission:
    """The content of submission.json.

    Attributes:
        run: what was run; the file of `agent_source` is the one in the folder.
        cost: None for a run recorded by hand.
        scores: means that versions 1 and 2 state, by name; all that is shown is computed from the records.
    """

    schema_version: int
    name: str
    run: RunManifest
    cost: Cost | None
    about: About
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def agent(self) -> str:
        return self.run.config.agent.name

    @property
    def file(self) -> str:
        return self.run.agent_source.file or ""

    @property
    def sources(self) -> tuple[str, ...]:
        """The agent's file, and those that it imports."""
        return self.file, *self.run.agent_source.neighbours

    @property
    def verifiable(self) -> bool:
        """Whether the run can be repeated: not if it was recorded by hand."""
        return self.run.recorded == "evaluate"

    def to_json(self) -> str:
        data = {name: value for name, value in to_json(self).items() if name != "scores"}
        return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Entry:
    """A submission with its tables and the texts of its files; `neighbours` are by their paths in the folder."""

    submission: Submission
    records: tuple[TaskRecord, ...]
    source: str
    neighbours: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.submission.name

    @functools.cached_property
    def scores(self) -> Score:
        computed = score(self.submission.agent, self.records, self.submission.run.config.stream.num_tasks)
        if computed is None:
            raise SubmissionError(f"{TASKS}: no seed has all tasks")
        return computed

    @functools.cached_property
    def by_seed(self) -> dict[str, dict[int, float]]:
        num_tasks = self.submission.run.config.stream.num_tasks
        return scores_by_seed(finished(self.submission.agent, self.records, num_tasks))


def read_entry(folder: Path) -> Entry:
    """Return what a submission's folder holds; its form is checked, its claims are not."""
    check_name(folder.name)
    names = _list_files(folder)
    if not {DATA, TASKS} <= set(names):
        raise SubmissionError(f"{DATA} or {TASKS} is missing")
    submission = _parse(_read(folder / DATA, READ))
    if submission.name != folder.name:
        raise SubmissionError(f"{DATA} has the name {ascii(submission.name)[:60]}, which is not the folder's")
    if set(names) != {DATA, TASKS, *submission.sources}:
        raise SubmissionError(f"the folder must contain only {DATA}, {TASKS} and the sources that it names")
    source, *others = (_read(folder / name) for name in submission.sources)
    neighbours = dict(zip(submission.sources[1:], others, strict=True))
    return Entry(submission, _read_tasks(folder / TASKS), source, neighbours)


def write_sources(entry: Entry, folder: Path) -> None:
    """Write the agent's file, and those that it imports, into a folder."""
    for name, text in {entry.submission.file: entry.source, **entry.neighbours}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text.encode())


def check_name(name: str) -> str:
    """Return a submission's name if it is acceptable."""
    if not NAME.fullmatch(name):
        raise SubmissionError(
            f"name {ascii(name)[:60]}: use 1 to 48 of a-z, 0-9 and '-', with a letter or digit at both ends"
        )
    return name


def _list_files(folder: Path) -> list[str]:
    """Return the paths of a few plain files, none too large, in a folder and the folders in it."""
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError("it is not a folder (links are not followed)")
    files: list[str] = []
    left = [folder]
    while left:
        inner = left.pop()
        for path, _ in zip(inner.iterdir(), range(MOST_FILES + 1), strict=False):
            name, facts = path.relative_to(folder), path.lstat()
            if stat.S_ISDIR(facts.st_mode) and "." not in path.name and len(name.parts) < DEEPEST:
                left.append(path)
            else:
                _check_file(name, facts)
                files.append(name.as_posix())
        if len(files) + len(left) > MOST_FILES:
            raise SubmissionError(
                f"the folder must contain only {DATA}, {TASKS} and the sources: at most {MOST_FILES} files"
            )
    return files


def _check_file(name: Path, facts: os.stat_result) -> None:
    shown = ascii(name.as_posix())[:60]
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        raise SubmissionError(f"{shown} is not a plain file: links and special files are refused")
    limit = LIMITS.get(str(name), SOURCE_LIMIT)
    if facts.st_size > limit:
        raise SubmissionError(f"{shown} has {facts.st_size:,} bytes: at most {limit:,} are allowed")


def _read(path: Path, encoding: str = "utf-8") -> str:
    try:
        return path.read_bytes().decode(encoding)
    except (OSError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path.name} cannot be read as UTF-8: {error}") from error


def _parse(text: str) -> Submission:
    """Return submission.json; duplicate keys, NaN, infinities and unknown fields are refused."""
    try:
        data = json.loads(
            text, object_pairs_hook=_unique, parse_constant=_number, parse_float=_number, parse_int=_number
        )
        if not isinstance(data, dict):
            raise ValueError("it must be an object")
        version = data["schema_version"]
        if type(version) is int and version > SUBMISSION_VERSION:
            raise ValueError(
                f"schema_version {version}, this clbench knows {SUBMISSION_VERSION}: upgrade clbench"
            )
        submission: Submission = from_json(
            Submission, data if version == SUBMISSION_VERSION else _upgrade(data), exact=True
        )
    except RecursionError as error:
        raise SubmissionError(f"{DATA} is nested too deeply") from error
    except KeyError as error:
        raise SubmissionError(f"{DATA} lacks {error}") from error
    except (TypeError, ValueError) as error:
        kind = "not JSON: " if isinstance(error, json.JSONDecodeError) else ""
        raise SubmissionError(f"{DATA}: {kind}{str(error)[:200]}") from error
    return submission


def _upgrade(data: Mapping[str, Any]) -> dict[str, Any]:
    agent, run = data["agent"], data["run"]
    config = {
        "agent": {"name": agent["reference"], "arguments": agent["arguments"]},
        **{name: data[name] for name in ("stream", "protocol", "seeds")},
        **{name: run[name] for name in ("device", "threads")},
    }
    manifest = {
        "status": "complete",
        "config": config,
        "agent_source": {name: agent[name] for name in ("class", "file", "sha256")},
        **{name: run[name] for name in ("command", "started", "versions", "hardware", "git", "data")},
    }
    return {
        **{name: data[name] for name in ("schema_version", "name", "cost")},
        "run": manifest,
        "about": {item.name: data[item.name] for item in fields(About)},
        "scores": {name: score["mean"] for name, score in data["scores"].items()},
    }


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a key occurs twice in one object")
    return data


def _number(text: str) -> int | float:
    if not math.isfinite(float(text)):
        raise ValueError(f"{text[:20]} is not finite")
    return int(text) if text.lstrip("-").isdecimal() else float(text)


def _read_tasks(path: Path) -> tuple[TaskRecord, ...]:
    """Return the records; a table that is not to the letter what clbench writes for them is refused."""
    lines = _read(path).split("\n")
    try:
        records = read_csv(path, TaskRecord)
    except DataError as error:
        raise SubmissionError(str(error)) from error
    for number, (line, due) in enumerate(zip_longest(lines, to_csv(records, TaskRecord).split("\n")), 1):
        if line != due:
            raise SubmissionError(
                f"{TASKS}, line {number} is {ascii(line)[:99]}, clbench writes {ascii(due)[:99]}"
            )
    return tuple(records)

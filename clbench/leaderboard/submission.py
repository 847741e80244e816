"""A submission as data: what its folder holds, and how that is read without trusting it."""

import csv
import functools
import io
import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from clbench.checks import plain
from clbench.errors import SubmissionError
from clbench.leaderboard.texts import check_name
from clbench.records import TaskRecord
from clbench.results import columns
from clbench.scoring import SCORES, Score, finished, score, scores_by_seed

SUBMISSION_VERSION = 2
"""Version of submission.json; readers of a later one read all earlier ones. In version 1 the ends of intervals are
percentiles of a bootstrap, and cover too little; whatever the version, those that are shown are computed from records.
"""

DATA, TASKS = "submission.json", "tasks.csv"
LIMITS = {DATA: 64 << 10, TASKS: 4 << 20}
SOURCE_LIMIT = 256 << 10
DEPTH = 8
PARTS = ("mean", "low", "high")


@dataclass(frozen=True)
class Submission:
    """A row of the leaderboard.

    Attributes:
        schema_version: of this format.
        name: of the folder.
        agent: "reference", "class", "arguments", "file" and "sha256" of the source.
        stream: spec of the stream, without where files lie.
        protocol: its name.
        seeds: root seeds.
        scores: name -> "mean", "low", "high"; recomputed at every check.
        cost: "relative_to_vanilla", time per step measured side by side, and "rounds", how often.
        tuned: how hyperparameters were tuned on this stream; "" if they were not.
        licence: of the source, an SPDX identifier.
        paper, code, contact: where to read on and whom to ask; may be "".
        run: "command", "started", "versions", "hardware", "device", "threads", "git", "data".
    """

    schema_version: int
    name: str
    agent: Mapping[str, Any]
    stream: Mapping[str, Any]
    protocol: str
    seeds: Sequence[int]
    scores: Mapping[str, Mapping[str, float]]
    cost: Mapping[str, float]
    tuned: str
    licence: str
    paper: str
    code: str
    contact: str
    run: Mapping[str, Any]

    def to_json(self) -> str:
        """Return the content of submission.json."""
        return json.dumps(plain(self), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


KINDS: Mapping[str, type] = {
    "schema_version": int, "name": str, "agent": dict, "stream": dict, "protocol": str, "seeds": list, "scores": dict,
    "cost": dict, "tuned": str, "licence": str, "paper": str, "code": str, "contact": str, "run": dict,
}  # fmt: skip


@dataclass(frozen=True)
class Entry:
    """A submission's folder as read: data, records and source."""

    submission: Submission
    records: tuple[TaskRecord, ...]
    source: str

    @property
    def name(self) -> str:
        """The submission's name."""
        return self.submission.name

    @functools.cached_property
    def scores(self) -> Score:
        """What the records give, whatever the submission says; ranks and tables are made of it.

        Raises:
            SubmissionError: no seed has all tasks.
        """
        data = self.submission
        found = score(data.agent["reference"], self.records, data.stream["num_tasks"])
        if found is None:
            raise SubmissionError(f"{TASKS}: no seed has all tasks")
        return found

    @functools.cached_property
    def by_seed(self) -> dict[str, dict[int, float]]:
        """Each score by seed, as the records give it."""
        data = self.submission
        return scores_by_seed(finished(data.agent["reference"], self.records, data.stream["num_tasks"]))


def read_entry(folder: Path) -> Entry:
    """Return what a submission's folder holds; its form is checked, what it says is not.

    Raises:
        SubmissionError: a file is missing, too much, too large, a link, or not in the form that it must have.
    """
    check_name(folder.name)
    names = _files(folder)
    for name in (DATA, TASKS):
        if name not in names:
            raise SubmissionError(f"{name} is missing")
    submission = _submission(_read(folder / DATA))
    if submission.name != folder.name:
        raise SubmissionError(f"{DATA} says the name {ascii(submission.name)[:60]}, the folder another")
    file = submission.agent.get("file")
    if not isinstance(file, str) or set(names) != {DATA, TASKS, file}:
        raise SubmissionError(
            f"the folder must hold {DATA}, {TASKS} and the source that it names, nothing else"
        )
    return Entry(submission, tuple(read_records(_read(folder / TASKS))), _read(folder / file))


def _files(folder: Path) -> list[str]:
    """Return the names in a folder, all plain files of bearable size."""
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError("this is no folder (links are not followed)")
    names = []
    with os.scandir(folder) as listing:
        for item in listing:
            names.append(item.name)
            if len(names) > 3:
                raise SubmissionError(
                    f"the folder must hold {DATA}, {TASKS} and one source file, nothing else"
                )
            facts = item.stat(follow_symlinks=False)
            if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
                raise SubmissionError(
                    f"{ascii(item.name)[:60]} is no plain file: links and folders are refused"
                )
            limit = LIMITS.get(item.name, SOURCE_LIMIT)
            if facts.st_size > limit:
                raise SubmissionError(
                    f"{ascii(item.name)[:60]} has {facts.st_size:,} bytes: at most {limit:,}"
                )
    return names


def _read(path: Path) -> str:
    limit = LIMITS.get(path.name, SOURCE_LIMIT)
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)[:limit].decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SubmissionError(f"{path.name} cannot be read as UTF-8: {error}") from error


def parse(text: str) -> Any:
    """Return JSON data; duplicate keys, NaN, infinities, deep nesting and endless numbers are refused."""
    try:
        data = json.loads(
            text, object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_float=_finite
        )
        _check_depth(data, DEPTH)
    except SubmissionError:
        raise
    except (ValueError, RecursionError) as error:
        raise SubmissionError(f"{DATA} is no JSON: {str(error)[:100]}") from error
    return data


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise SubmissionError(f"{DATA} says something twice")
    return found


def _no_constants(name: str) -> Any:
    raise SubmissionError(f"{DATA} holds {name}: numbers must be finite")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise SubmissionError(f"{DATA} holds a number that is not finite")
    return value


def _check_depth(data: Any, left: int) -> None:
    if left == 0:
        raise SubmissionError(f"{DATA} is nested too deeply")
    for item in data.values() if isinstance(data, dict) else data if isinstance(data, list) else ():
        _check_depth(item, left - 1)


def _submission(text: str) -> Submission:
    data = parse(text)
    if not isinstance(data, dict):
        raise SubmissionError(f"{DATA} must be an object")
    version = data.get("schema_version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise SubmissionError(f"{DATA} has no schema_version")
    if version > SUBMISSION_VERSION:
        raise SubmissionError(f"schema_version {version} is later than {SUBMISSION_VERSION}: upgrade clbench")
    known = [item.name for item in fields(Submission)]
    for name in known:
        if name not in data:
            raise SubmissionError(f"{DATA} lacks '{name}'")
        if type(data[name]) is not KINDS[name]:
            raise SubmissionError(f"{DATA}: '{name}' must be a {KINDS[name].__name__}")
    for name in data:
        if name not in known:
            raise SubmissionError(f"{DATA} has {ascii(name)[:60]}, which is nothing that it can have")
    return Submission(**data)


def read_records(text: str) -> list[TaskRecord]:
    """Return the records in tasks.csv, every cell checked.

    Raises:
        SubmissionError: a header, row or cell is not what it must be; says which line.
    """
    rows = csv.reader(io.StringIO(text), strict=True)
    header, records = columns(TaskRecord), []
    try:
        if next(rows, None) != header:
            raise SubmissionError(f"{TASKS} must begin with {','.join(header)}")
        for row in rows:
            where = f"{TASKS}, line {rows.line_num}"
            if len(row) != len(header):
                raise SubmissionError(f"{where}: {len(row)} cells instead of {len(header)}")
            records.append(_record(dict(zip(header, row, strict=True)), where))
    except csv.Error as error:
        raise SubmissionError(f"{TASKS} is no table: {error}") from error
    return records


def _record(row: Mapping[str, str], where: str) -> TaskRecord:
    values: dict[str, Any] = {"agent": row["agent"]}
    for name in ("seed", "task", "steps"):
        if not (row[name].isascii() and row[name].isdigit() and len(row[name]) < 12):
            raise SubmissionError(f"{where}: {name} {ascii(row[name])[:40]} is no whole number")
        values[name] = int(row[name])
    for name, most in (
        ("accuracy", 1.0),
        ("final_epoch_accuracy", 1.0),
        ("loss", math.inf),
        ("seconds", math.inf),
    ):
        cell = row[name]
        if name == "loss" and cell == "":
            values[name] = math.nan
            continue
        try:
            value = float(cell) if cell.isascii() and len(cell) < 40 and cell.strip() == cell else math.nan
        except ValueError:
            value = math.nan
        if not (0 <= value <= most and math.isfinite(value)):
            upper = "1" if most == 1 else "any finite number"
            raise SubmissionError(f"{where}: {name} {ascii(cell)[:40]} is no number from 0 to {upper}")
        values[name] = value
    return TaskRecord(**values)


def scores_as_data(score: Score) -> dict[str, dict[str, float]]:
    """Return a score's estimates as they stand in submission.json."""
    return {name: {part: getattr(getattr(score, name), part) for part in PARTS} for name in SCORES}

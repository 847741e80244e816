"""Whether submissions say what is so: complete, possible, and with the scores that their records give."""

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from clbench.checks import check_choice
from clbench.errors import ClbenchError, SubmissionError
from clbench.evaluation.plan import protocol_settings
from clbench.leaderboard.submission import Entry, read_entry, scores_as_data
from clbench.leaderboard.texts import (
    check_licence,
    check_name,
    check_reference,
    check_source,
    check_source_name,
    check_text,
    check_url,
)
from clbench.records import TaskRecord
from clbench.registration import STREAMS, lookup, resolve
from clbench.specs import PROTOCOLS, StreamSpec, protocol

SUBMISSIONS = "submissions"
AGENT_KEYS = {"reference", "class", "arguments", "file", "sha256"}
RUN_KEYS = {"command", "started", "versions", "hardware", "device", "threads", "git", "data"}
TOLERANCE = 1e-9
DEVICE = re.compile(r"cpu|mps|cuda(:\d{1,3})?")
LIST_CLASSES = """
import ast, sys
for node in ast.parse(sys.stdin.buffer.read()).body:
    if isinstance(node, ast.ClassDef):
        print(node.name if node.name.isascii() else "")
"""
CHECKSUMS: Mapping[str, tuple[int, str]] = MappingProxyType(
    {
        "embedded": (5_000, "1f75c140503b3082c96134f5593303f3133e59989a92e21f060c644c655c3722"),
        "torchvision": (60_000, "d18cfd466eb143ac1097fde604dba9eec4116885869d04cc648b510949f9e88c"),
    }
)
"""How many images each source has, and the SHA-256 of their pixels."""


def read_all(folder: Path) -> Iterator[tuple[str, Entry | ClbenchError]]:
    """Yield every submission under `folder`, by name: checked, or what is wrong with it."""
    places = folder / SUBMISSIONS
    seen: dict[object, str] = {}
    for path in sorted(places.iterdir()) if places.is_dir() else ():
        try:
            entry = read_entry(path)
            check_entry(entry)
            for key in _marks(entry):
                other = seen.setdefault(key, entry.name)
                if other != entry.name:
                    raise SubmissionError(f"it has {key[-2]} that '{other}' has, too: remove one of the two")
            yield entry.name, entry
        except ClbenchError as error:
            yield path.name, error
        except Exception as error:  # a fault of ours must not hide the other submissions
            yield path.name, SubmissionError(f"it cannot be checked: {type(error).__name__}: {error}")


def check_entry(entry: Entry) -> None:
    """Raise `SubmissionError` unless everything that a submission says is possible and agrees."""
    data = entry.submission
    check_name(data.name)
    check_licence(data.licence)
    check_url("paper", data.paper)
    check_url("code", data.code)
    check_text("contact", data.contact)
    check_text("tuned", data.tuned, 400)
    _check_agent(data.agent, entry.source)
    _check_run(data.run)
    spec = _check_spec(data.stream, data.protocol, data.run)
    _check_seeds(data.seeds, protocol(data.protocol).seeds)
    _check_records(entry.records, spec, data.seeds, data.agent["reference"], data.run["device"])
    _check_scores(entry)
    _check_cost(data.cost)


def _check_agent(agent: Mapping[str, Any], source: str) -> None:
    _expect_keys("agent", agent, AGENT_KEYS)
    for name in ("reference", "class", "file", "sha256"):
        if not isinstance(agent[name], str):
            raise SubmissionError(f"agent: '{name}' must be a string")
    check_reference(agent["reference"])
    check_reference(agent["class"])
    check_source_name(agent["file"])
    if hashlib.sha256(source.encode()).hexdigest() != agent["sha256"]:
        raise SubmissionError(
            f"{agent['file']} is not the source that the run was made with: its SHA-256 is another"
        )
    check_source(agent["file"], source)
    arguments = agent["arguments"]
    if not isinstance(arguments, dict) or len(json.dumps(arguments)) > 4_000:
        raise SubmissionError("agent: 'arguments' must be a small object")
    for name, value in arguments.items():
        if not (name.isascii() and name.isidentifier()):
            raise SubmissionError(f"agent: {ascii(name)[:60]} is no argument's name")
        _check_value(f"argument {name}", value)
    wanted = agent["class"].rpartition(":")[2]
    if wanted not in classes_in(source, agent["file"]):
        raise SubmissionError(f"{agent['file']} has no class '{wanted}'")


def classes_in(source: str, file: str) -> list[str]:
    """Return the classes that a source defines, without running it.

    In a process of its own, since a source can be made that a parser crashes on.

    Raises:
        SubmissionError: it is no Python.
    """
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", LIST_CLASSES],
            input=source.encode(),
            capture_output=True,
            timeout=30,
            check=True,
        )
    except subprocess.SubprocessError as error:
        raise SubmissionError(f"{file} is no Python") from error
    return done.stdout.decode().split()


def _check_run(run: Mapping[str, Any]) -> None:
    _expect_keys("run", run, RUN_KEYS)
    _check_value("run", run)
    for name in ("command", "versions", "hardware", "data"):
        kind = list if name == "command" else dict
        if not isinstance(run[name], kind):
            raise SubmissionError(f"run: '{name}' must be a {kind.__name__}")
    if not isinstance(run["device"], str) or not DEVICE.fullmatch(run["device"]):
        raise SubmissionError("run: 'device' must be cpu, mps, cuda or cuda:N")
    if type(run["threads"]) is not int or not 1 <= run["threads"] <= 1_024:
        raise SubmissionError("run: 'threads' must be a whole number from 1 to 1024")
    if not isinstance(run["started"], str):
        raise SubmissionError("run: 'started' must be a string")
    if "torch" not in run["versions"] or "clbench" not in run["versions"]:
        raise SubmissionError("run: 'versions' must have clbench and torch")


def _check_value(what: str, value: Any) -> None:
    """Raise unless plain data holds nothing but safe texts and finite numbers."""
    if isinstance(value, str):
        check_text(what, value.lstrip("-"), 1_000)  # options begin with hyphens
    elif isinstance(value, dict):
        for key, item in value.items():
            check_text(what, key, 100)
            _check_value(what, item)
    elif isinstance(value, list):
        for item in value:
            _check_value(what, item)
    elif isinstance(value, (int, float)) and not abs(value) < 1e300:
        raise SubmissionError(f"{what} holds a number that is not finite")


def _check_spec(stream: Mapping[str, Any], name: str, run: Mapping[str, Any]) -> StreamSpec:
    """Return the stream's spec if it is the protocol's, and its images those that everybody has."""
    if not isinstance(stream.get("id"), str):
        raise SubmissionError("stream: it has no 'id'")
    check_choice("protocol", name, PROTOCOLS)
    check_choice("stream", stream["id"], STREAMS)
    owner, rules = lookup(stream["id"]).load(), protocol(name)
    expected = resolve(stream["id"], protocol_settings(rules, owner.custom_data, {}))
    wanted = expected.identity()
    for key in {**wanted, **stream}:
        if key not in wanted or stream.get(key) != wanted[key]:
            raise SubmissionError(
                f"stream: {ascii(key)[:40]} is {ascii(stream.get(key))[:40]}, "
                f"in the protocol '{name}' it is {wanted.get(key)!r}"
            )
    size, checksum = CHECKSUMS[rules.source]
    data = {"source": rules.source, "size": size, "sha256": checksum}
    if not owner.custom_data and run["data"] != data:
        raise SubmissionError(f"run: the images are not those of the source '{rules.source}'")
    return expected


def _check_seeds(seeds: Sequence[Any], least: int) -> None:
    if any(type(seed) is not int for seed in seeds) or list(seeds) != list(range(len(seeds))):
        raise SubmissionError("seeds must be 0, 1, 2, ...: nobody chooses the best ones")
    if not least <= len(seeds) <= 1_000:
        raise SubmissionError(f"{len(seeds)} seeds: the protocol wants at least {least}")


def _check_records(
    records: Sequence[TaskRecord], spec: StreamSpec, seeds: Sequence[int], agent: str, device: str
) -> None:
    expected = [(seed, task) for seed in seeds for task in range(spec.num_tasks)]
    if [(record.seed, record.task) for record in records] != expected:
        raise SubmissionError(
            f"tasks.csv must have tasks 0 to {spec.num_tasks - 1} of seeds 0 to {len(seeds) - 1}, each once, in order"
        )
    exact = not device.startswith("mps")  # sums are kept in float32 there
    for record in records:
        where = f"tasks.csv, seed {record.seed}, task {record.task}"
        if record.agent != agent:
            raise SubmissionError(f"{where}: the agent is not '{agent}'")
        if record.steps != spec.steps_per_task:
            raise SubmissionError(
                f"{where}: {record.steps} steps, in this protocol it is {spec.steps_per_task}"
            )
        for name, steps in (("accuracy", record.steps), ("final_epoch_accuracy", spec.steps_per_epoch)):
            right = getattr(record, name) * steps * spec.batch_size
            if exact and abs(right - round(right)) > 1e-3:
                raise SubmissionError(
                    f"{where}: {name} {getattr(record, name)} is no share of {steps} x {spec.batch_size} predictions"
                )
        if not record.seconds > 0:
            raise SubmissionError(f"{where}: it took no time")


def _check_scores(entry: Entry) -> None:
    said, found = entry.submission.scores, scores_as_data(entry.scores)
    _expect_keys("scores", said, set(found))
    for name, estimate in found.items():
        _expect_keys(f"scores: {name}", said[name], set(estimate))
        for part, value in estimate.items():
            claimed, least, most = said[name][part], value, value
            if part != "mean" and entry.submission.schema_version == 1:
                # Percentiles of a bootstrap lie between the seeds, around the mean.
                seeds = entry.by_seed[name].values()
                least, most = (
                    (min(seeds), estimate["mean"]) if part == "low" else (estimate["mean"], max(seeds))
                )
            if not _is_number(claimed) or not least - TOLERANCE <= claimed <= most + TOLERANCE:
                raise SubmissionError(
                    f"scores: {name} {part} is said to be {claimed!r}, its records give {value!r}"
                )


def _check_cost(cost: Mapping[str, Any]) -> None:
    _expect_keys("cost", cost, {"relative_to_vanilla", "rounds"})
    if not all(_is_number(value) and 0 < value < 1e6 for value in cost.values()):
        raise SubmissionError("cost: both numbers must be above 0")


def _expect_keys(what: str, data: Any, keys: set[str]) -> None:
    if not isinstance(data, Mapping) or set(data) != keys:
        raise SubmissionError(f"{what} must have {', '.join(sorted(keys))}, and nothing else")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300


def refuse_twin(entry: Entry, folder: Path) -> None:
    """Raise `SubmissionError` if another submission under `folder` is of the same agent or has the same results.

    Those that cannot be read are passed over: `check` tells of them.
    """
    for path in sorted((folder / SUBMISSIONS).glob("[!.]*")):
        try:
            theirs = _marks(read_entry(path)) if path.name != entry.name else []
        except (ClbenchError, KeyError):
            continue
        for key in filter(theirs.__contains__, _marks(entry)):
            raise SubmissionError(f"'{path.name}' has {key[-2]} already, and each is ranked once")


def _marks(entry: Entry) -> list[tuple[Any, ...]]:
    """Return what no two submissions may share: stream, protocol, what it is in words, and itself."""
    data = entry.submission
    place = (data.stream["id"], data.protocol)
    accuracies = tuple(record.accuracy for record in entry.records)
    own = (data.agent["sha256"], data.agent["class"], json.dumps(data.agent["arguments"], sort_keys=True))
    return [(*place, "the results", accuracies), (*place, "the agent and the arguments", own)]

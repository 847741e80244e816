"""What is compared: runs under labels, and how their settings differ."""

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from clbench.checks import check_choice
from clbench.errors import UsageError
from clbench.records import TaskRecord
from clbench.results import RunManifest
from clbench.scoring import finished

NOT_SET = "not set"


@dataclass(frozen=True)
class Entry:
    """A run, or its group, with the finished seeds: each one's records in the order of tasks."""

    label: str
    run: str
    manifest: RunManifest
    seeds: Mapping[int, Sequence[TaskRecord]]

    @classmethod
    def from_records(cls, run: str, manifest: RunManifest, records: Iterable[TaskRecord]) -> "Entry":
        config = manifest.config
        seeds = finished(config.agent.name, records, config.stream.num_tasks)
        return cls(config.agent.name, run, manifest, seeds)

    @property
    def agent(self) -> str:
        return self.manifest.config.agent.name

    @property
    def num_tasks(self) -> int:
        return self.manifest.config.stream.num_tasks


def with_unique_labels(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries whose labels differ: the agent, with the run folder's name or path where necessary."""
    runs = {entry.run for entry in entries}
    names = {run: PurePath(run).name for run in runs}
    for suffixes in (names, {run: _shortest_path(run, runs) for run in runs}):
        labels = [entry.label for entry in entries]
        entries = [
            replace(entry, label=f"{entry.agent} ({suffixes[entry.run]})")
            if labels.count(entry.label) > 1
            else entry
            for entry in entries
        ]
    return list(entries)


def _shortest_path(run: str, runs: Collection[str]) -> str:
    """Return a run's path; if any is absolute, relative to the folder that holds them all, as figures are published."""
    if not any(map(os.path.isabs, runs)):
        return run
    parent = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in runs])
    return Path(os.path.relpath(run, parent)).as_posix()


def choose_entries(entries: Sequence[Entry], agents: Sequence[str], reference: str | None) -> list[Entry]:
    """Return the entries of some agents, or all, and the reference even if it is of another agent."""
    for name in agents:
        check_choice("agent in these runs", name, dict.fromkeys(entry.agent for entry in entries))
    chosen = [entry for entry in entries if not agents or entry.agent in agents]
    if reference is not None and not _matching(chosen, reference):
        chosen += _matching(entries, reference)
    return chosen


def find_references(entries: Sequence[Entry], name: str | None) -> list[Entry]:
    """Return the finished entries with a label, agent, run folder or folder name; None means the first.

    They are several only if they are one agent in several runs, which have others, too.

    Raises:
        UsageError: there is none, or it is not clear which is meant.
    """
    done = [entry for entry in entries if entry.seeds]
    if name is None:
        return done[:1]
    matching, labels = _matching(done, name), [entry.label for entry in done]
    if len(matching) == 1 or ({entry.agent for entry in matching} == {name} and len(matching) < len(done)):
        return matching
    if matching:
        which = ", ".join(f"'{entry.label}'" for entry in matching)
        raise UsageError(f"reference '{name}' is ambiguous: give one of the labels {which}")
    if not _matching(entries, name):
        check_choice("reference", name, labels)
    raise UsageError(f"reference '{name}' has no finished seed; choose one of: {', '.join(labels)}")


def _matching(entries: Iterable[Entry], name: str) -> list[Entry]:
    folder = PurePath(name).as_posix()
    return [entry for entry in entries if entry.label == name] or [
        entry for entry in entries if entry.agent == name or folder in (entry.run, PurePath(entry.run).name)
    ]


def settings(manifest: RunManifest) -> dict[str, str]:
    """Return what must be equal for runs to be comparable, by name: stream, data and protocol."""
    stream = manifest.config.stream.identity()
    options, id = stream.pop("options"), stream.pop("id")
    told = {"boundaries": manifest.config.stream.boundaries}
    values = {"stream": id, "protocol": manifest.config.protocol, **stream, **told, **options}
    return as_texts({**values, "data checksum": manifest.data.sha256})


def as_texts(values: Mapping[str, object]) -> dict[str, str]:
    return {
        name: NOT_SET if value is None else value if isinstance(value, str) else json.dumps(value)
        for name, value in values.items()
    }


def differences(entries: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the distinct values, in order, of each setting that is not the same for all entries."""
    names = dict.fromkeys(name for values in entries for name in values)
    distinct = {name: list(dict.fromkeys(values.get(name, NOT_SET) for values in entries)) for name in names}
    return {name: values for name, values in distinct.items() if len(values) > 1}


def list_settings(values: Mapping[str, Sequence[str]]) -> str:
    """Return settings with their values in words, checksums cut short.

    >>> list_settings({"num_tasks": ["10", "15"], "data checksum": ["a1" * 32]})
    'num_tasks 10 / 15, data checksum a1a1a1a1a1a1'
    """

    def short(text: str) -> str:
        return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text

    return ", ".join(f"{name} {' / '.join(map(short, texts))}" for name, texts in values.items())


def list_seeds(seeds: Iterable[int]) -> str:
    """Return seeds in words.

    >>> list_seeds([2, 0]), list_seeds([1])
    ('seeds 0, 2', 'seed 1')
    """
    numbers = sorted(seeds)
    return f"seed{'s' if len(numbers) != 1 else ''} {', '.join(map(str, numbers))}"

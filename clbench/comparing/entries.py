"""What is compared: an agent of a run, under a label."""

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from clbench.errors import UsageError
from clbench.records import TaskRecord
from clbench.scoring import finished
from clbench.specs import check_choice


@dataclass(frozen=True)
class Entry:
    """An agent of a run.

    Attributes:
        label: what it is called in a comparison.
        run: path of the run folder.
        agent: the agent's name.
        facts: run.json's content.
        seeds: records in the order of tasks, of each seed that finished all tasks.
    """

    label: str
    run: str
    agent: str
    facts: Mapping[str, Any]
    seeds: Mapping[int, Sequence[TaskRecord]]

    @property
    def num_tasks(self) -> int:
        """Tasks in the stream."""
        return int(self.facts["spec"]["stream"]["num_tasks"])


def entries_of(run: str, facts: Mapping[str, Any], records: Iterable[TaskRecord]) -> list[Entry]:
    """Return the entries of a run, labelled with their agents' names.

    Args:
        run: path of the run folder.
        facts: run.json's content.
        records: tasks.csv's.
    """
    records, names = list(records), [agent["name"] for agent in facts["spec"]["agents"]]
    tasks = facts["spec"]["stream"]["num_tasks"]
    return [Entry(name, run, name, facts, finished(name, records, tasks)) for name in names]


def labelled(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries under labels of their own: the agent, and the run folder's name or path if need be."""
    runs = {entry.run for entry in entries}
    for more in (
        lambda entry: f" ({PurePath(entry.run).name})",
        lambda entry: f" ({_apart(entry.run, runs)})",
    ):
        taken = [entry.label for entry in entries]
        entries = [
            replace(entry, label=entry.agent + more(entry)) if taken.count(entry.label) > 1 else entry
            for entry in entries
        ]
    return list(entries)


def _apart(run: str, runs: Collection[str]) -> str:
    """Return a run's path; if any is absolute, from the folder that all runs are in: figures are shown to others."""
    if not any(map(os.path.isabs, runs)):
        return run
    above = os.path.commonpath([os.path.dirname(os.path.abspath(one)) for one in runs])
    return Path(os.path.relpath(run, above)).as_posix()


def chosen(entries: Sequence[Entry], agents: Sequence[str], reference: str | None) -> list[Entry]:
    """Return the entries of the agents asked for, or all, and the reference even if it is not one of them.

    Raises:
        UnknownNameError: no entry has such an agent.
    """
    for name in agents:
        check_choice("agent in these runs", name, dict.fromkeys(entry.agent for entry in entries))
    own = [entry for entry in entries if not agents or entry.agent in agents]
    if reference is not None and not _meant(own, reference):
        own += _meant(entries, reference)
    return own


def reference_of(entries: Sequence[Entry], name: str | None) -> Entry:
    """Return the finished entry that a label, an agent, a run folder or its name means; None means the first.

    Raises:
        UsageError: several may be meant, or one that has no finished seed.
        UnknownNameError: none is.
    """
    done = [entry for entry in entries if entry.seeds]
    if name is None:
        return done[0]
    meant, labels = _meant(done, name), [entry.label for entry in done]
    if len(meant) == 1:
        return meant[0]
    if meant:
        which = ", ".join(f"'{entry.label}'" for entry in meant)
        raise UsageError(f"reference '{name}' may be any of {which}: give one of these labels")
    if _meant(entries, name):
        raise UsageError(f"reference '{name}' has no finished seed; there are: {', '.join(labels)}")
    check_choice("reference", name, labels)
    raise AssertionError(name)


def _meant(entries: Iterable[Entry], name: str) -> list[Entry]:
    """Return the entries that a label, an agent, a run folder or its name may mean; a label is the surest."""
    folder = PurePath(name).as_posix()
    return [entry for entry in entries if entry.label == name] or [
        entry for entry in entries if entry.agent == name or folder in (entry.run, PurePath(entry.run).name)
    ]

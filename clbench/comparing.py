"""Differences between agents, in one run or in several, seed by seed. Pure: nothing is read or written."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from clbench.errors import UnknownNameError, UsageError, did_you_mean
from clbench.records import TaskRecord
from clbench.results import fact
from clbench.scoring import SCORES, Estimate, estimate, finished, seed_scores

BESIDE = ("last_tenth", "slope")  # compared whatever the score is
NOT_SET = "not set"


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


@dataclass(frozen=True)
class Row:
    """An entry beside the reference.

    Attributes:
        entry: the entry.
        seeds: those that both finished, on which differences are taken.
        scores: of the entry, over all its finished seeds.
        differences: the entry's score minus the reference's, seed by seed; by score.
        by_task: the same of task accuracy, a number per seed; by task.
    """

    entry: Entry
    seeds: tuple[int, ...]
    scores: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    by_task: Mapping[int, Sequence[float]]


@dataclass(frozen=True)
class Comparison:
    """Entries beside a reference.

    Attributes:
        rows: in the order of the entries; the reference is among them.
        reference: the entry that others are compared with.
        scores: what is compared; the first is the one asked for.
        num_tasks: tasks that all entries have.
        not_the_same: what differs between runs, such as "num_tasks 10 / 15"; "" for comparable ones.
        notes: a line each on what else a reader should know.
    """

    rows: tuple[Row, ...]
    reference: Entry
    scores: tuple[str, ...]
    num_tasks: int
    not_the_same: str
    notes: tuple[str, ...]

    @property
    def title(self) -> str:
        """What was run, in one line; marked if it is not the same for all."""
        spec = self.reference.facts["spec"]
        stream, tasks = spec["stream"], self.reference.num_tasks
        changed = f" (changed: {', '.join(spec['overrides'])})" if spec.get("overrides") else ""
        what = (
            f"{stream['id']} · {spec['protocol']}{changed} · "
            f"{tasks} task{'s' if tasks != 1 else ''} x {stream['epochs_per_task']} epochs · "
            f"{stream['num_samples']:,} {stream['source']} images"
        )
        return f"not the same: {self.not_the_same} · reference: {what}" if self.not_the_same else what


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


def compare(
    entries: Sequence[Entry],
    reference: str | None = None,
    score: str = "average_task_accuracy",
    agents: Sequence[str] = (),
    mix: bool = False,
) -> Comparison:
    """Compare entries with a reference: per seed that both finished, one score minus the other.

    A root seed makes the same stream for every agent, so that differences are paired: what streams have in
    common drops out. Intervals are 95 % bootstrap intervals over seeds, see `clbench.scoring.estimate`.

    Args:
        entries: of all runs, see `entries_of`; those without a finished seed are left out.
        reference: label, agent, run folder or its name; by default the first entry.
        score: a name in `clbench.scoring.SCORES`; the last 10 % of tasks and the slope are always compared.
        agents: names to take; by default all.
        mix: compare runs of different streams, data or protocols, over the tasks that all have.

    Raises:
        UsageError: nothing to compare, runs that are not the same, or no seed in common.
        UnknownNameError: no such agent or reference.
    """
    _check("score", score, SCORES)
    chosen = labelled(_chosen(entries, agents, reference))
    done = [entry for entry in chosen if entry.seeds]
    notes = [
        f"{entry.label} is left out: no seed finished all {entry.num_tasks} tasks ({entry.facts['status']})"
        for entry in chosen
        if not entry.seeds
    ]
    if len(done) < 2:
        there = f"{done[0].label} only" if done else "none"
        raise UsageError("; ".join([f"nothing to compare: of finished entries there is {there}", *notes]))
    base = _reference(done, chosen, reference)
    differing = _differing([settings(entry.facts) for entry in done])
    if differing and not mix:
        raise UsageError(_refusal(done))
    num_tasks = min(entry.num_tasks for entry in done)
    if len({entry.num_tasks for entry in done}) > 1:
        notes.append(f"scores are over the first {num_tasks} tasks, which all have")
        done = [_cut(entry, num_tasks) for entry in done]
        base = next(entry for entry in done if entry.label == base.label)
    scores = tuple(dict.fromkeys((score, *BESIDE)))
    rows = tuple(_row(entry, base, scores) for entry in done)
    notes += [*_seed_notes(rows, base), *_circumstances(done)]
    return Comparison(rows, base, scores, num_tasks, _listed(differing), tuple(notes))


def labelled(entries: Sequence[Entry]) -> list[Entry]:
    """Return entries under labels of their own: the agent, and the run folder's name or path if need be."""
    for more in (
        lambda entry: f" ({PurePath(entry.run).name})",
        lambda entry: f" ({entry.run})",
    ):
        taken = [entry.label for entry in entries]
        entries = [
            replace(entry, label=entry.agent + more(entry)) if taken.count(entry.label) > 1 else entry
            for entry in entries
        ]
    return list(entries)


def settings(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return what must be equal for runs to be comparable, by name: stream, data and protocol."""
    spec = facts["spec"]
    stream = {key: value for key, value in spec["stream"].items() if key not in ("data_dir", "options")}
    values = {
        "stream": stream.pop("id"),
        "protocol": spec["protocol"],
        **stream,
        **(spec["stream"].get("options") or {}),
        "data checksum": fact(facts, "data", "sha256", default=NOT_SET),
    }
    return {name: _text(value) for name, value in values.items()}


def _check(what: str, name: str, known: Iterable[str]) -> None:
    known = list(dict.fromkeys(known))
    if name not in known:
        raise UnknownNameError(
            f"no {what} '{name}'.{did_you_mean(name, known)} There are: {', '.join(known)}."
        )


def _chosen(entries: Sequence[Entry], agents: Sequence[str], reference: str | None) -> list[Entry]:
    """Return the entries of the agents asked for, and the reference if it is not one of them."""
    for name in agents:
        _check("agent in these runs", name, (entry.agent for entry in entries))
    own = [entry for entry in entries if not agents or entry.agent in agents]
    if reference is not None and not _meant(labelled(own), reference):
        own += [entry for entry in _meant(labelled(entries), reference) if entry not in own]
    return own


def _meant(entries: Iterable[Entry], name: str) -> list[Entry]:
    """Return the entries that a label, an agent, a run folder or its name may mean; a label is the surest."""
    folder = PurePath(name).as_posix()
    return [entry for entry in entries if entry.label == name] or [
        entry for entry in entries if entry.agent == name or folder in (entry.run, PurePath(entry.run).name)
    ]


def _reference(done: Sequence[Entry], chosen: Sequence[Entry], name: str | None) -> Entry:
    if name is None:
        return done[0]
    meant, labels = _meant(done, name), [entry.label for entry in done]
    if len(meant) == 1:
        return meant[0]
    if meant:
        which = ", ".join(f"'{entry.label}'" for entry in meant)
        raise UsageError(f"reference '{name}' may be any of {which}: give one of these labels")
    if _meant(chosen, name):
        raise UsageError(f"reference '{name}' has no finished seed; there are: {', '.join(labels)}")
    _check("reference", name, labels)
    raise AssertionError(name)


def _differing(all_settings: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Return the distinct values, in order, of each name that has more than one."""
    names = dict.fromkeys(name for own in all_settings for name in own)
    values = {name: list(dict.fromkeys(own.get(name, NOT_SET) for own in all_settings)) for name in names}
    return {name: found for name, found in values.items() if len(found) > 1}


def _listed(differing: Mapping[str, Sequence[str]]) -> str:
    return ", ".join(f"{name} {' / '.join(map(_short, values))}" for name, values in differing.items())


def _refusal(entries: Sequence[Entry]) -> str:
    first = entries[0]
    other, differing = next(
        (entry, found)
        for entry in entries
        if (found := _differing([settings(first.facts), settings(entry.facts)]))
    )
    return f"'{first.run}' and '{other.run}' are not the same: {_listed(differing)}; --mix compares them all the same"


def _cut(entry: Entry, num_tasks: int) -> Entry:
    return replace(entry, seeds={seed: tasks[:num_tasks] for seed, tasks in entry.seeds.items()})


def _row(entry: Entry, base: Entry, scores: Sequence[str]) -> Row:
    common = tuple(sorted(entry.seeds.keys() & base.seeds.keys()))
    if not common:
        raise UsageError(
            f"{entry.label} and {base.label} have no finished seed in common: "
            f"{_seeds(entry.seeds)} and {_seeds(base.seeds)}"
        )
    own, others = ([one.seeds[seed] for seed in common] for one in (entry, base))
    ours, theirs = seed_scores(own), seed_scores(others)
    every = seed_scores(entry.seeds.values())
    return Row(
        entry=entry,
        seeds=common,
        scores={name: estimate(every[name]) for name in scores},
        differences={name: estimate(ours[name] - theirs[name]) for name in scores},
        by_task={
            task: [mine[task].accuracy - its[task].accuracy for mine, its in zip(own, others, strict=True)]
            for task in range(len(own[0]))
        },
    )


def _seed_notes(rows: Sequence[Row], base: Entry) -> list[str]:
    notes = []
    for row in rows:
        planned = len(row.entry.facts["spec"]["seeds"])
        if len(row.entry.seeds) < planned:
            notes.append(f"{row.entry.label}: {len(row.entry.seeds)} of {planned} seeds finished")
        if set(row.entry.seeds) != set(base.seeds):
            notes.append(
                f"{row.entry.label} is compared on {_seeds(row.seeds)}: "
                f"it has {_seeds(row.entry.seeds)}, {base.label} {_seeds(base.seeds)}"
            )
    return notes


def _circumstances(entries: Sequence[Entry]) -> list[str]:
    """Say what differs and is no reason to refuse: machines and versions, and an agent under one name."""
    machines = _differing([_machine(entry.facts) for entry in entries])
    notes = [f"made under different circumstances: {_listed(machines)}"] if machines else []
    for name in dict.fromkeys(entry.agent for entry in entries):
        differing = _differing([_agent(entry) for entry in entries if entry.agent == name])
        if differing:
            notes.append(f"{name} is not the same in all runs: {_listed(differing)}")
    return notes


def _machine(facts: Mapping[str, Any]) -> dict[str, str]:
    found = {
        "device": fact(facts, "spec", "device"),
        "threads": fact(facts, "spec", "threads"),
        "torch": fact(facts, "versions", "torch"),
        "clbench": fact(facts, "versions", "clbench"),
        "processor": fact(facts, "hardware", "processor"),
    }
    return {name: _text(value) for name, value in found.items()}


def _agent(entry: Entry) -> dict[str, str]:
    (own,) = [one for one in entry.facts["spec"]["agents"] if one["name"] == entry.agent]
    code = fact(entry.facts, "agents", entry.agent, "sha256")
    return {name: _text(value) for name, value in {**own["arguments"], "code checksum": code}.items()}


def _text(value: Any) -> str:
    return NOT_SET if value is None else value if isinstance(value, str) else json.dumps(value)


def _short(text: str) -> str:
    """A checksum's first digits tell it from others."""
    return text[:12] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text


def _seeds(seeds: Iterable[int]) -> str:
    """Return the seeds in words.

    >>> _seeds([2, 0]), _seeds([1])
    ('seeds 0, 2', 'seed 1')
    """
    numbers = sorted(seeds)
    return f"seed{'s' if len(numbers) != 1 else ''} {', '.join(map(str, numbers))}"

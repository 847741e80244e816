"""Entries compared with a reference, seed by seed."""

import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from clbench.checks import check_choice
from clbench.comparing.entries import (
    Entry,
    as_texts,
    choose_entries,
    differences,
    find_references,
    list_seeds,
    list_settings,
    settings,
    with_unique_labels,
)
from clbench.errors import UsageError
from clbench.intervals import how_compared, paired_on
from clbench.scoring import SCORES, Estimate, difference, estimate, scores_by_seed

ALWAYS_COMPARED = ("last_tenth", "slope")
SAME_TASKS = {"num_tasks", "protocol", "boundaries"}
"""Settings that may differ where the first tasks of a seed are the same."""


@dataclass(frozen=True)
class Row:
    """An entry compared with its reference.

    Attributes:
        reference: the reference in the entry's run, else the one with most seeds in common; itself for a reference.
        seeds: the entry's seeds on which differences are taken: all that both finished, or all that it finished.
        how: "paired, n = 3" or "Welch, n = 3 and 5", see `clbench.scoring.difference`.
        scores: of the entry, over all its finished seeds, by name.
        differences, by_task: the entry's less the reference's, by name of the score and by task.
    """

    entry: Entry
    reference: Entry
    seeds: tuple[int, ...]
    how: str
    scores: Mapping[str, Estimate]
    differences: Mapping[str, Estimate]
    by_task: Mapping[int, Estimate]


@dataclass(frozen=True)
class Comparison:
    """Entries compared with a reference, which is among the rows.

    Attributes:
        reference: the first, if several runs have it.
        scores: the compared scores; the first is the one asked for.
        num_tasks: tasks that all entries have.
        mismatch: settings that differ between runs, such as "num_tasks 10 / 15"; "" for comparable ones.
        notes: what else a reader should know, a line each.
    """

    rows: tuple[Row, ...]
    reference: Entry
    scores: tuple[str, ...]
    num_tasks: int
    mismatch: str
    notes: tuple[str, ...]

    @property
    def others(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.entry.label != row.reference.label)

    @property
    def reference_name(self) -> str:
        """The reference's label; the agent if several runs have it."""
        several = len(self.rows) - len(self.others) > 1
        return self.reference.agent if several else self.reference.label

    def __repr__(self) -> str:
        from clbench.plotting.showing import as_text

        name = self.scores[0]
        lines = [f"{row.entry.label}  {name} {row.scores[name]}" for row in self.rows]
        return as_text(f"Comparison with {self.reference.label}: {self.title}", lines)

    @property
    def title(self) -> str:
        what = self.reference.manifest.describe(with_seeds=False)
        return f"not the same: {self.mismatch} · reference: {what}" if self.mismatch else what


def compare(
    entries: Sequence[Entry],
    reference: str | None = None,
    score: str = "average_task_accuracy",
    agents: Sequence[str] = (),
    mix: bool = False,
    named: Collection[str] = (),
) -> Comparison:
    """Compare entries with a reference: differences of scores, with intervals, see `clbench.scoring.difference`.

    Args:
        entries: from any runs; those without a finished seed are left out.
        reference: label, agent, run folder or its name; by default the first entry. Of an agent in several runs, an
            entry is compared with the one in its own run, else with the one with most seeds in common.
        score: a name in `clbench.scoring.SCORES`; the last 10 % of tasks and the slope are always compared.
        agents: names to compare; by default all.
        mix: compare runs of different streams, data or protocols, over the tasks that all have; pairs of seeds only
            where the tasks are the same.
        named: runs that were asked for; of others, those with a different stream, data or protocol are left out.

    Raises:
        UsageError: there is nothing to compare, or the runs are not comparable.
    """
    check_choice("score", score, SCORES)
    chosen = choose_entries(with_unique_labels(entries), agents, reference)
    done = [entry for entry in chosen if entry.seeds]
    notes = [
        f"{entry.label} is left out: no seed has all {entry.num_tasks} tasks (run's status: {entry.manifest.status})"
        for entry in chosen
        if not entry.seeds
    ]
    if len(done) < 2:
        only = f"only {done[0].label} has a finished seed" if done else "no entry has a finished seed"
        raise UsageError("; ".join([f"nothing to compare: {only}", *notes]))
    references = find_references(chosen, reference)
    if not mix:
        done, odd = _of_one_kind(done, references if reference else done, named)
        notes += odd
        references = [entry for entry in references if entry in done] or done[:1]
    base = references[0]
    mismatch = differences([settings(entry.manifest) for entry in done])
    num_tasks = min(entry.num_tasks for entry in done)
    if len({entry.num_tasks for entry in done}) > 1:
        notes.append(f"scores cover the first {num_tasks} tasks, which all have")
    scores = tuple(dict.fromkeys((score, *ALWAYS_COMPARED)))
    short = {entry.label: _shorten(entry, num_tasks) for entry in done}
    rows = tuple(
        _row(short[entry.label], short[_reference_of(entry, references).label], scores) for entry in done
    )
    notes += [*_seed_notes(rows), *_circumstance_notes(done)]
    return Comparison(rows, base, scores, num_tasks, list_settings(mismatch), tuple(notes))


def _of_one_kind(
    entries: Sequence[Entry], leading: Sequence[Entry], named: Collection[str]
) -> tuple[list[Entry], list[str]]:
    """Return the entries of the stream, data and protocol that most of the leading ones have, and notes on the others.

    Raises:
        UsageError: one of the others was asked for, or nothing is left to compare.
    """
    kinds = {entry.label: json.dumps(settings(entry.manifest)) for entry in entries}
    most = Counter(kinds[entry.label] for entry in leading).most_common(1)[0][0]
    kept = [entry for entry in entries if kinds[entry.label] == most]
    others = [entry for entry in entries if kinds[entry.label] != most]
    if others and (len(kept) < 2 or any(entry.run in named for entry in others)):
        raise UsageError(_describe_mismatch(entries))
    notes = []
    for entry in others:
        odd = differences([settings(kept[0].manifest), settings(entry.manifest)])
        notes.append(f"{entry.label} is left out: {list_settings(odd)}; --mix compares it anyway")
    return kept, notes


def _reference_of(entry: Entry, references: Sequence[Entry]) -> Entry:
    return max(
        references,
        key=lambda other: (
            other is entry,
            other.run == entry.run,
            len(other.seeds.keys() & entry.seeds.keys()),
        ),
    )


def _shorten(entry: Entry, num_tasks: int) -> Entry:
    return replace(entry, seeds={seed: tasks[:num_tasks] for seed, tasks in entry.seeds.items()})


def _row(entry: Entry, base: Entry, scores: Sequence[str]) -> Row:
    ours, theirs = scores_by_seed(entry.seeds), scores_by_seed(base.seeds)
    odd = differences([settings(entry.manifest), settings(base.manifest)])
    same = odd.keys() <= SAME_TASKS
    return Row(
        entry=entry,
        reference=base,
        seeds=paired_on(entry.seeds, base.seeds, same) or tuple(sorted(entry.seeds)),
        how=how_compared(entry.seeds, base.seeds, same),
        scores={name: estimate(list(ours[name].values())) for name in scores},
        differences={name: difference(ours[name], theirs[name], same) for name in scores},
        by_task={
            task: difference(_accuracies(entry, task), _accuracies(base, task), same)
            for task in range(min(map(len, entry.seeds.values())))
        },
    )


def _accuracies(entry: Entry, task: int) -> dict[int, float]:
    return {seed: tasks[task].accuracy for seed, tasks in entry.seeds.items()}


def _describe_mismatch(entries: Sequence[Entry]) -> str:
    first = entries[0]
    for other in entries:
        if mismatch := differences([settings(first.manifest), settings(other.manifest)]):
            break
    return f"'{first.run}' and '{other.run}' are not the same: {list_settings(mismatch)}; --mix compares them anyway"


def _seed_notes(rows: Sequence[Row]) -> list[str]:
    notes = []
    for row in rows:
        entry, base, planned = row.entry, row.reference, len(row.entry.manifest.config.seeds)
        if len(entry.seeds) < planned:
            notes.append(f"{entry.label}: {len(entry.seeds)} of {planned} seeds finished")
        if set(entry.seeds) != set(base.seeds):
            how = f"on {list_seeds(row.seeds)}" if row.how.startswith("paired") else "by Welch's interval"
            has = f"it has {list_seeds(entry.seeds)}, {base.label} {list_seeds(base.seeds)}"
            notes.append(f"{entry.label} is compared {how}: {has}")
    return notes


def _circumstance_notes(entries: Sequence[Entry]) -> list[str]:
    """Return notes on differences that do not make runs incomparable: machines, versions, agents with one name."""
    machines = differences(
        [
            as_texts(
                {
                    "device": manifest.config.device,
                    "threads": manifest.config.threads,
                    "torch": manifest.versions.get("torch"),
                    "clbench": manifest.versions.get("clbench"),
                    "processor": manifest.hardware.get("processor"),
                    "stream's code": manifest.stream_source.sha256,
                }
            )
            for manifest in (entry.manifest for entry in entries)
        ]
    )
    notes = [f"run under different circumstances: {list_settings(machines)}"] if machines else []
    agents: dict[str, list[dict[str, str]]] = {}
    for entry in entries:
        values = {
            **entry.manifest.config.agent.arguments,
            "code checksum": entry.manifest.agent_source.sha256,
        }
        agents.setdefault(entry.agent, []).append(as_texts(values))
    for name, alternatives in agents.items():
        if mismatch := differences(alternatives):
            notes.append(f"{name} is not the same in all runs: {list_settings(mismatch)}")
    return notes

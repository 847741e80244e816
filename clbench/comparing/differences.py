"""Differences to a reference, seed by seed."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from clbench.comparing.entries import Entry, chosen, labelled, reference_of
from clbench.comparing.sameness import circumstances, differing, listed, refusal, settings
from clbench.errors import UsageError
from clbench.scoring import SCORES, Estimate, estimate, seed_scores
from clbench.specs import check_choice

BESIDE = ("last_tenth", "slope")  # compared whatever the score is


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
    def others(self) -> tuple[Row, ...]:
        """The rows but for the reference's."""
        return tuple(row for row in self.rows if row.entry.label != self.reference.label)

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
    check_choice("score", score, SCORES)
    picked = chosen(labelled(entries), agents, reference)
    done = [entry for entry in picked if entry.seeds]
    notes = [
        f"{entry.label} is left out: no seed has all {entry.num_tasks} tasks (run's status: {entry.facts['status']})"
        for entry in picked
        if not entry.seeds
    ]
    if len(done) < 2:
        there = f"{done[0].label} only" if done else "none"
        raise UsageError("; ".join([f"nothing to compare: of finished entries there is {there}", *notes]))
    base = reference_of(picked, reference)
    values = differing([settings(entry.facts) for entry in done])
    if values and not mix:
        raise UsageError(refusal(done))
    num_tasks = min(entry.num_tasks for entry in done)
    if len({entry.num_tasks for entry in done}) > 1:
        notes.append(f"scores are over the tasks that all have, the first {num_tasks}")
    scores = tuple(dict.fromkeys((score, *BESIDE)))
    rows = tuple(_row(_cut(entry, num_tasks), _cut(base, num_tasks), scores) for entry in done)
    notes += [*_seed_notes(rows, base), *circumstances(done)]
    return Comparison(rows, base, scores, num_tasks, listed(values), tuple(notes))


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


def _seeds(seeds: Iterable[int]) -> str:
    """Return the seeds in words.

    >>> _seeds([2, 0]), _seeds([1])
    ('seeds 0, 2', 'seed 1')
    """
    numbers = sorted(seeds)
    return f"seed{'s' if len(numbers) != 1 else ''} {', '.join(map(str, numbers))}"
